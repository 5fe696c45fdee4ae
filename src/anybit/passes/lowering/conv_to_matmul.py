"""ConvToMatMul: convolutions as products of matrices, each window of the image being a row."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from anybit.cleanup.infer_shapes import infer_missing
from anybit.errors import Refusal
from anybit.graph.annotations import annotate_layout, annotate_number_format, has_number_format
from anybit.graph.editor import Editor
from anybit.graph.walk import all_nodes, shape_of
from anybit.number_formats import FLOAT16, FLOAT32
from anybit.ops.channels_last.layout import DOMAIN as CHANNELS_LAST
from anybit.ops.channels_last.layout import to_first, to_last
from anybit.ops.im2col import IM2COL
from anybit.ops.operator import DOMAIN
from anybit.ops.standard.windows import Windows
from anybit.passes.layout.channels_last.plan import rank_of
from anybit.passes.lowering.window_matrix import Kernel, matrix


@dataclass(frozen=True)
class ConvToMatMul(ir.passes.InPlacePass):
    """Replaces two-dimensional convolutions by Im2Col and MatMul.

    Before: ``y = Conv(x, Quant(w, s), b)`` with ``float[8,3,3,3] w, float[8,1,1,1] s``; after: ``t = Transpose(x);
    r = Im2Col(t); p = MatMul(r, Quant(w', s')); y = Transpose(Add(p, b))`` with ``float[27,8] w', float[1,8] s'``. A
    convolution with channels last needs no Transpose, one of single pixels no Im2Col. The weights of groups become
    one matrix with zeros between the groups. Sums have the same terms, and zeros; the bias is added after a rounding.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        with Editor(model, rule="conv-to-matmul") as edit:
            nodes = [n for n in all_nodes(model.graph) if n.op_type == "Conv" and n.domain in ("", CHANNELS_LAST)]
            edit.require_broadcasting(nodes)
            infer_missing(model, [v for n in nodes for v in n.inputs[:2]])
            for node in nodes:
                refusal = _lower(edit, node)
                if refusal is not None:
                    edit.leave(node, refusal)
            if any(n.domain == DOMAIN for n in all_nodes(model.graph)):
                model.opset_imports.setdefault(DOMAIN, 1)
        return edit.result()


def _lower(edit: Editor, node: ir.Node) -> Refusal | None:
    """Replaces the node, or says why not."""
    image, weight = node.inputs[0], node.inputs[1]
    kernel = _kernel(node)
    if isinstance(kernel, Refusal):
        return kernel
    if image is None or weight is None or node.graph is None:
        return Refusal(problem="an input is missing")
    windows = _windows(node, kernel)
    if isinstance(windows, Refusal):
        return windows
    rows = matrix(edit, node, kernel)
    if isinstance(rows, Refusal):
        return rows
    last = image if kernel.channels_last else _transposed(edit, node, image, to_last(4))
    if windows.kernel != (1, 1) or any((*windows.pads_begin, *windows.pads_end)) or windows.strides != (1, 1):
        last = _im2col(edit, node, last, kernel, windows)
    output, bias = edit.successor(node.outputs[0], "convolution"), node.inputs[2] if len(node.inputs) > 2 else None
    steps: list[tuple[str, list[ir.Value], dict[str, ir.Attr]]] = [("MatMul", [rows], {})]
    steps += [] if bias is None else [("Add", [bias], {})]
    steps += [] if kernel.channels_last else [("Transpose", [], {"perm": ir.AttrInt64s("perm", list(to_first(4)))})]
    for position, (op_type, operands, attributes) in enumerate(steps, start=1):
        target = output if position == len(steps) else f"{output.name}/{op_type.lower()}"
        made = edit.node(op_type, [last, *operands], target, attributes=attributes)
        last = made.outputs[0]
        last.type = output.type
        edit.insert(made, before=node)
    edit.remove(node)
    return None


def _kernel(node: ir.Node) -> Kernel | Refusal:
    channels_last = node.domain == CHANNELS_LAST
    shape = None if node.inputs[1] is None else shape_of(node.inputs[1])
    if rank_of(node.inputs[0]) != 4 or shape is None or len(shape) != 4 or None in shape:
        hint = "make it two-dimensional first, and state shapes"
        return Refusal(problem="not a convolution of images", got=str(shape), expected="four axes, known", hint=hint)
    outputs, *others = (n for n in shape if n is not None)
    per_group, spatial = (others[-1], others[:2]) if channels_last else (others[0], others[1:])
    group = node.attributes.get_int("group", 1)
    return Kernel(outputs, per_group, (spatial[0], spatial[1]), group, channels_last)


def _windows(node: ir.Node, kernel: Kernel) -> Windows | Refusal:
    shape = (shape_of(node.inputs[0]) or ()) if node.inputs[0] is not None else ()
    spatial = shape[1:3] if kernel.channels_last else shape[2:]
    attributes = {name: a.value for name, a in node.attributes.items()}
    strides = attributes.get("strides") or (1, 1)
    same = attributes.get("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER")
    if same and any(n is None and s > 1 for n, s in zip(spatial, strides, strict=True)):
        return Refusal(problem="padding depends on the size of the input", got="auto_pad", hint="state its shape")
    return Windows.of([1 if n is None else n for n in spatial], kernel.spatial, attributes)


def _transposed(edit: Editor, node: ir.Node, image: ir.Value, order: tuple[int, ...]) -> ir.Value:
    attributes = {"perm": ir.AttrInt64s("perm", list(order))}
    made = edit.node("Transpose", [image], f"{image.name}/channels_last", attributes=attributes)
    value = made.outputs[0]
    value.type = image.type
    value.shape = None if image.shape is None else ir.Shape([image.shape[a] for a in order])
    _annotate(value, image)
    edit.insert(made, before=node)
    return value


def _im2col(edit: Editor, node: ir.Node, image: ir.Value, kernel: Kernel, windows: Windows) -> ir.Value:
    lists = {
        "stride": windows.strides,
        "kernel_size": windows.kernel,
        "pad_amount": (*windows.pads_begin, *windows.pads_end),
        "dilations": windows.dilations,
    }
    attributes: dict[str, ir.Attr] = {name: ir.AttrInt64s(name, list(values)) for name, values in lists.items()}
    attributes["pad_value"] = ir.AttrInt64("pad_value", 0)
    attributes["depthwise"] = ir.AttrInt64("depthwise", int(kernel.is_depthwise))
    sizes = shape_of(image)
    if sizes is not None and None not in sizes[1:]:  # the tools that read it take one image at a time
        text = ",".join(str(n) for n in (1, *sizes[1:]))
        attributes["input_shape"] = ir.AttrString("input_shape", f"({text})")
    _state_format(image)
    made = edit.node(IM2COL.name, [image], f"{image.name}/rows", domain=DOMAIN, attributes=attributes)
    made.outputs[0].type = image.type
    _annotate(made.outputs[0], image)
    edit.insert(made, before=node)
    return made.outputs[0]


def _state_format(image: ir.Value) -> None:
    """Tools that run Im2Col look the format of its input up, and have none for a tensor of which nothing is stated."""
    if not has_number_format(image):
        annotate_number_format(image, FLOAT16 if image.dtype == ir.DataType.FLOAT16 else FLOAT32)


def _annotate(value: ir.Value, like: ir.Value) -> None:
    """What was stated of the elements of `like` holds of the value; its axes are others."""
    value.meta.update(like.meta)
    if like.meta:
        annotate_layout(value, None)
