"""check_dialect: what FINN does not make hardware of in a model of integer products and MultiThreshold.

FINN turns one connected stretch of integer nodes into hardware; what is real before it and behind it runs on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import onnx_ir as ir

from anybit.errors import AnybitError, Finding, Severity
from anybit.formats.thresholds.write import remaining_quantizers
from anybit.graph.annotations import annotated_number_format
from anybit.graph.constants import constant
from anybit.graph.walk import label, reads, shape_of
from anybit.number_formats import BipolarFormat, NumberFormat
from anybit.ops.calls import is_call
from anybit.ops.multi_threshold import MULTI_THRESHOLD
from anybit.targets.finn.pools import streams, windows_of
from anybit.targets.finn.resizes import factors_of
from anybit.targets.finn.windows import sees_padding_alone

MAC = frozenset(("Conv", "Gemm", "MatMul"))
_HARDWARE = frozenset("Add Concat Conv Flatten MatMul MaxPool Mul Reshape Resize Transpose".split()) | {
    MULTI_THRESHOLD.name
}
_WITH_FORMATS = frozenset(("Add", "Conv", "MatMul", "Mul", MULTI_THRESHOLD.name))  # of their constants as well
_MOVES = frozenset(("Flatten", "MaxPool", "Reshape", "Resize", "Transpose"))
_MOST_THRESHOLDS = 255
_MATRIX, _IMAGE = 2, 4
_LAYOUT_CHANGES = ((0, 2, 3, 1), (0, 3, 1, 2))
_WITHOUT_FORM = frozenset(("Softmax", "LogSoftmax", "TopK", "ArgMax"))


def check_dialect(model: ir.Model, reasons: Mapping[str, str]) -> list[Finding]:
    """What stands in the way, and what runs on the host.

    Args:
        model: Written in the dialect.
        reasons: By label of a node, why it was not written.
    """
    findings = [*_shapes(model), *(_left(n, reasons) for n in remaining_quantizers(model)), *_order(model, reasons)]
    for node in model.graph:
        findings += _of_node(node)
    return findings


def format_of(value: ir.Value | None) -> NumberFormat | None:
    """The integer format that is stated for a tensor, if it is one."""
    try:
        stated = None if value is None else annotated_number_format(value)
    except AnybitError:  # the text is no format
        return None
    return stated if stated is not None and stated.is_integer else None


def is_hardware(node: ir.Node) -> bool:
    """Whether all that flows in is of integers."""
    if node.op_type not in _HARDWARE or format_of(node.outputs[0]) is None:
        return False
    read = [v for v in node.inputs if v is not None]
    flowing = [v for v in read if constant(v) is None]
    return all(format_of(v) is not None for v in (read if node.op_type in _WITH_FORMATS else flowing))


def _shapes(model: ir.Model) -> Iterator[Finding]:
    for value in model.graph.inputs:
        shape = shape_of(value)
        if shape is None or None in shape:
            yield Finding(
                rule="dynamic-shape",
                problem="shape of an input",
                node=f"input '{value.name}'",
                got=str(shape),
                expected="known sizes",
                hint="set them with anybit clean --input-shape",
            )


def _left(node: ir.Node, reasons: Mapping[str, str]) -> Finding:
    return Finding(
        rule="quantiser",
        problem="FINN has no form of it",
        node=label(node),
        got=reasons.get(label(node), ""),
        hint="quantise in front of and behind integer layers only, by functions that rise or fall",
    )


def _order(model: ir.Model, reasons: Mapping[str, str]) -> Iterator[Finding]:
    """A real node between integer ones cuts the hardware in two; before and behind, it runs on the host."""
    hardware: set[ir.Value] = set()
    culprits: dict[ir.Value, ir.Node] = {}  # by tensor, the first real node behind hardware that it depends on
    named: set[ir.Node] = set()
    for node in model.graph:
        flowing = [v for v in reads(node) if v in hardware or v in culprits]
        cut = next((culprits[v] for v in flowing if v in culprits), None)
        if is_hardware(node):
            hardware.update(node.outputs)
            if cut is not None and cut not in named:
                named.add(cut)
                yield _between(cut, node, reasons)
        elif flowing:
            culprits.update(dict.fromkeys(node.outputs, cut or node))
            if is_call(node, MULTI_THRESHOLD) and cut is not None and cut not in named:
                named.add(cut)  # FINN makes hardware of it in some versions, and finds the stretch cut in two
                yield _between(cut, node, reasons)
        elif node.op_type in MAC or is_call(node, MULTI_THRESHOLD):
            yield _on_host(node, reasons)
    if not hardware:
        yield Finding(rule="no-hardware", problem="there is no layer of integers", hint="quantise weights and inputs")


def _on_host(node: ir.Node, reasons: Mapping[str, str]) -> Finding:
    return Finding(
        rule="real-input",
        problem="it reads real numbers, and runs on the host",
        node=label(node),
        got=reasons.get(label(node), ""),
        hint="state the integer format of the model's input (--input-type), if it has one",
        severity=Severity.WARNING,
    )


def _between(cut: ir.Node, node: ir.Node, reasons: Mapping[str, str]) -> Finding:
    return Finding(
        rule="real-between",
        problem="a node of real numbers between integer layers",
        node=label(cut),
        got=reasons.get(label(cut), f"{label(node)} reads what it computes"),
        hint="quantise what it computes, so that thresholds can stand for it",
    )


def _of_node(node: ir.Node) -> Iterable[Finding]:
    if is_call(node, MULTI_THRESHOLD):
        yield from _of_rank(node)
    if node.op_type in _WITHOUT_FORM:
        yield Finding(
            rule="no-form",
            problem="FINN has no form of this operator",
            node=label(node),
            hint="cut it off with --logits, and apply it on the host",
        )
    if not is_hardware(node):
        return
    if node.op_type in MAC:
        yield from _of_weights(node)
    if node.op_type in _RULES:
        yield from _RULES[node.op_type](node)


def _of_thresholds(node: ir.Node) -> Iterable[Finding]:
    thresholds = constant(node.inputs[1])
    if thresholds is not None and thresholds.shape[1] > _MOST_THRESHOLDS:
        yield Finding(
            rule="width",
            problem="number of thresholds",
            node=label(node),
            got=str(thresholds.shape[1]),
            expected=f"at most {_MOST_THRESHOLDS}: 8 bits",
            hint="quantise it to 8 bits or fewer",
        )


def _of_rank(node: ir.Node) -> Iterable[Finding]:
    rank = len(shape_of(node.outputs[0]) or ())
    if rank not in (_MATRIX, _IMAGE):
        yield Finding(
            rule="rank",
            problem="axes of a tensor of levels",
            node=label(node),
            got=str(rank),
            expected="2 or 4: FINN has thresholds for matrices and images",
        )


def _of_weights(node: ir.Node) -> Iterable[Finding]:
    weights, rank = constant(node.inputs[1]), len(shape_of(node.outputs[0]) or ())
    if node.op_type != "Conv" and rank != _MATRIX:
        yield Finding(
            rule="rank", problem="axes of a product of matrices", node=label(node), got=str(rank), expected="2"
        )
    if weights is not None and not weights.any():
        yield Finding(
            rule="zero-weights",
            problem="all weights of a product are 0: FINN has no accumulator for it",
            node=label(node),
            hint="take the layer out of the network",
        )


def _of_transpose(node: ir.Node) -> Iterable[Finding]:
    order = tuple(node.attributes.get_ints("perm", ()))
    if order not in _LAYOUT_CHANGES or node.outputs[0].is_graph_output():
        last = ", at the end of the network" if node.outputs[0].is_graph_output() else ""
        yield Finding(
            rule="layout",
            problem="order of axes",
            node=label(node),
            got=f"{list(order)}{last}",
            expected="channels last or first, between layers",
        )


def _of_reshape(node: ir.Node) -> Iterable[Finding]:
    x = node.inputs[0]
    before, after = None if x is None else shape_of(x), shape_of(node.outputs[0])
    kept = before is not None and after is not None and len(after) == _MATRIX and before[0] == after[0]
    if not kept:
        yield Finding(
            rule="reshape",
            problem="a reshape between integer layers",
            node=label(node),
            got=f"{before} to {after}",
            expected="an image to a matrix of one row a sample",
        )
    pixels = before is not None and len(before) == _IMAGE and any(n != 1 for n in before[2:])
    thresholds = [user for user, _ in node.outputs[0].uses() if is_call(user, MULTI_THRESHOLD)]
    if pixels and thresholds:
        yield Finding(
            rule="flatten",
            problem="thresholds by element of an image that was flattened",
            node=label(thresholds[0]),
            got=label(node),
            hint="quantise the image, by one scale, before it is flattened",
        )


def _of_conv(node: ir.Node) -> Iterable[Finding]:
    weights, shape = constant(node.inputs[1]), shape_of(node.outputs[0])
    group = node.attributes.get_int("group", 1)
    if shape is not None and len(shape) != _IMAGE:
        yield Finding(
            rule="rank",
            problem="axes of a convolution",
            node=label(node),
            got=str(len(shape)),
            expected="4",
            hint="anybit apply conv-1d-to-2d",
        )
    if weights is not None and group > 1 and not (weights.shape[0] == group and weights.shape[1] == 1):
        yield Finding(
            rule="group",
            problem="groups of a convolution",
            node=label(node),
            got=f"{group} groups, {weights.shape[0]} output channels",
            expected="1, or one for each input and each output channel",
        )
    if sees_padding_alone(node):
        yield Finding(
            rule="kernel",
            problem="a kernel that is larger than an image of one row or column",
            node=label(node),
            got=f"kernel {list(node.attributes.get_ints('kernel_shape', ()))}",
            expected="one row, or column, without padding along that axis",
        )
    pads = node.attributes.get("pads")
    padded = node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    if isinstance(format_of(node.inputs[0]), BipolarFormat) and (padded or (pads is not None and any(pads.as_ints()))):
        yield Finding(
            rule="bipolar-padding",
            problem="it pads numbers that are -1 or 1 with 0",
            node=label(node),
            hint="quantise its input to two bits",
        )


def _of_add(node: ir.Node) -> Iterable[Finding]:
    formats = [format_of(v) for v in node.inputs]
    if all(constant(v) is None for v in node.inputs) and formats[0] != formats[1]:
        yield Finding(
            rule="add-formats",
            problem="it adds integers of different formats",
            node=label(node),
            got=", ".join(map(str, formats)),
            expected="one format",
            hint="give both quantisers one bit width and signedness",
        )


def _of_concat(node: ir.Node) -> Iterable[Finding]:
    formats = [format_of(v) for v in node.inputs]
    if node.attributes.get_int("axis", 1) != 1:
        yield Finding(
            rule="concat-axis",
            problem="it joins tensors along another axis than the channels",
            node=label(node),
            got=str(node.attributes.get_int("axis", 1)),
            expected="1",
        )
    if any(_sums_of(v) is not None for v in node.inputs):
        yield Finding(
            rule="concat-formats",
            problem="it joins sums, to which FINN gives different formats in the end, by the weights of each",
            node=label(node),
            hint="quantise what is joined",
        )
    if any(f != formats[0] for f in formats):
        yield Finding(
            rule="concat-formats",
            problem="it joins integers of different formats",
            node=label(node),
            got=", ".join(map(str, formats)),
            expected="one format",
            hint="give all quantisers one bit width and signedness",
        )


def _sums_of(value: ir.Value | None) -> ir.Node | None:
    """The product or sum that makes a tensor, behind what moves its elements; None where thresholds do."""
    maker = None if value is None else value.producer()
    while maker is not None and maker.op_type in _MOVES:
        maker = None if maker.inputs[0] is None else maker.inputs[0].producer()
    return maker if maker is not None and maker.op_type in (*MAC, "Add") else None


def _of_pool(node: ir.Node) -> Iterable[Finding]:
    kernel, strides = windows_of(node)
    pads, stated = list(node.attributes.get_ints("pads", ())), format_of(node.inputs[0])
    ceil_mode, dilations = node.attributes.get_int("ceil_mode", 0), node.attributes.get_ints("dilations", ())
    problem = ""
    if ceil_mode or any(d != 1 for d in dilations):
        problem = "windows of a MaxPool that are dilated, or reach beyond the image"
    elif pads[: len(kernel)] != pads[len(kernel) :]:
        problem = "a MaxPool that is padded more on one side than on the other"
    elif not streams(node) and sees_padding_alone(node):
        problem = "windows of a MaxPool that are larger than an image of one row or column"
    elif any(pads) and stated is not None and stated.min < 0:
        problem = "a MaxPool that is padded, of numbers below 0: FINN pads with 0"
    if problem:
        yield Finding(
            rule="pool",
            problem=problem,
            node=label(node),
            got=f"pads {pads}, ceil mode {ceil_mode}, dilations {list(dilations)}, {stated}",
            expected="equal padding of numbers without sign, or none",
        )
    if any(k < s for k, s in zip(kernel, strides, strict=True)):
        yield Finding(
            rule="pool-stride",
            problem="windows of a MaxPool that leave gaps",
            node=label(node),
            got=f"kernel {list(kernel)}, strides {list(strides)}",
            expected="strides of the kernel's size or less",
        )


def _of_resize(node: ir.Node) -> Iterable[Finding]:
    shape, factors = None if node.inputs[0] is None else shape_of(node.inputs[0]), factors_of(node)
    if factors is not None and shape is not None and _is_upsampled(shape[2:], factors):
        return
    yield Finding(
        rule="resize",
        problem="how an image is enlarged",
        node=label(node),
        got=f"{'another sampling' if factors is None else list(factors)} of {list(shape or ())}",
        expected="each pixel repeated as often along both axes of a square image, or along the rows of one column",
    )


def _is_upsampled(size: tuple[int | None, ...], factors: tuple[int, int]) -> bool:
    """Whether FINN has a layer that repeats the pixels of an image of this size."""
    height, width = size
    square = height == width and factors[0] == factors[1]
    column = width == 1 and factors[1] == 1 and height is not None and height > 1
    return square or column


_RULES: Mapping[str, Callable[[ir.Node], Iterable[Finding]]] = {
    "Add": _of_add,
    "Concat": _of_concat,
    "Conv": _of_conv,
    "Flatten": _of_reshape,
    "MaxPool": _of_pool,
    "Reshape": _of_reshape,
    "Resize": _of_resize,
    "Transpose": _of_transpose,
    MULTI_THRESHOLD.name: _of_thresholds,
}
