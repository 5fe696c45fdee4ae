"""Adapters: what a node of the standard domain needs at a version at which its operator changed.

An operator whose new version only takes more types, or more attributes that default to the old meaning, needs none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.errors import UnsupportedError
from anybit.graph.constants import constant, new_initializer
from anybit.graph.names import Names
from anybit.graph.walk import label, shape_of

_FLOAT_MAX = float(np.finfo(np.float32).max)
_REDUCTIONS = "L1 L2 LogSum LogSumExp Max Mean Min Prod SumSquare".split()


@dataclass(frozen=True)
class Site:
    """A node under conversion.

    Attributes:
        node: The node; adapters change it in place, so that names and annotations stay.
        graph: The outermost graph, which holds constants; None in a model-local function.
        names: Names of tensors that are taken around it.
    """

    node: ir.Node
    graph: ir.Graph | None
    names: Names

    def refuse(self, problem: str, *, got: object = "", expected: object = "", hint: str = "") -> NoReturn:
        """Raises: the node cannot be converted."""
        raise UnsupportedError(
            f"cannot convert the opset: {problem}", node=label(self.node), got=got, expected=expected, hint=hint
        )

    def input(self, index: int) -> ir.Value | None:
        """An input, None where it is left out."""
        return self.node.inputs[index] if index < len(self.node.inputs) else None

    def set_input(self, index: int, value: ir.Value | None) -> None:
        """Replaces an input, or adds it."""
        self.node.resize_inputs(max(len(self.node.inputs), index + 1))
        self.node.replace_input_with(index, value)

    def attribute(self, name: str, default: Any = None) -> Any:
        """The value of an attribute."""
        found = self.node.attributes.get(name)
        if found is None:
            return default
        if found.is_ref():
            self.refuse(f"attribute '{name}' is an argument of the function")
        return found.value

    def set_attribute(self, name: str, value: Any) -> None:
        """Sets an attribute; None removes it."""
        if value is None:
            self.node.attributes.pop(name, None)
        else:
            self.node.attributes[name] = ir.convenience.convert_attribute(name, value)

    def constant(self, suffix: str, array: Array) -> ir.Value:
        """A new constant, named after the node's output."""
        name = self.names.fresh(f"{self.node.outputs[0].name}_{suffix}")
        if self.graph is not None:
            return new_initializer(self.graph, name, array)
        made = ir.node("Constant", [], {"value": ir.tensor(array)}, outputs=[ir.Value(name=name)])
        self.node.prepend(made)
        return made.outputs[0]

    def before(self, op_type: str, inputs: list[ir.Value | None], attributes: dict[str, Any], suffix: str) -> ir.Value:
        """The output of a new node ahead of this one."""
        name = self.names.fresh(f"{self.node.outputs[0].name}_{suffix}")
        made = ir.node(op_type, inputs, attributes, outputs=[ir.Value(name=name)])
        self.node.prepend(made)
        return made.outputs[0]

    def after(self, op_type: str, inputs: list[ir.Value | None], attributes: dict[str, Any], suffix: str) -> None:
        """A new node between this one's output and all of its uses; it takes over the output's name."""
        old = self.node.outputs[0]
        new = ir.Value(name=old.name, shape=old.shape, type=old.type)
        new.meta.update(old.meta)
        new.metadata_props.update(old.metadata_props)
        old.name = self.names.fresh(f"{new.name}_{suffix}")
        old.meta.clear()
        old.shape = None
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        self.node.append(ir.node(op_type, [old, *inputs], attributes, outputs=[new]))

    def rank(self) -> int | None:
        """Rank of the first input."""
        shape = self.shape()
        return None if shape is None else len(shape)

    def shape(self) -> tuple[int | None, ...] | None:
        """Shape of the first input."""
        first = self.input(0)
        return None if first is None else shape_of(first)

    def dtype(self) -> np.dtype[Any]:
        """Element type of the first input, which must be known."""
        first = self.input(0)
        if first is None or first.dtype is None:
            self.refuse("the type of its input is not known")
        return first.dtype.numpy()


Adapter = Callable[[Site], None]


@dataclass(frozen=True)
class _Moved:
    """An attribute that became an input.

    Attributes:
        name: Name of the attribute.
        index: Position of the input.
        kind: Element type of the input, None for that of the first input.
        scalar: Whether the input is a scalar, and the attribute a number.
        one: Whether the input has one element and the attribute is a number.
        default: What an absent attribute means, where an absent input means something else.
        absent: What an absent input means, where an absent attribute means something else.
    """

    name: str
    index: int
    kind: type[np.generic] | None = np.int64
    scalar: bool = False
    one: bool = False
    default: Any = None
    absent: Any = None

    def up(self, site: Site) -> None:
        value = site.attribute(self.name, self.default)
        site.set_attribute(self.name, None)
        if value is None:
            return
        array = np.asarray([value] if self.one else value, site.dtype() if self.kind is None else self.kind)
        site.set_input(self.index, site.constant(self.name, array))

    def down(self, site: Site) -> None:
        value = site.input(self.index)
        if value is None:
            site.set_attribute(self.name, self.absent)
            return
        array = constant(value)
        if array is None:
            site.refuse(
                f"input '{self.name}' must become an attribute", expected="a constant", hint="fold constants first"
            )
        number = array.reshape(-1).tolist()
        site.set_attribute(self.name, number[0] if self.scalar or self.one else number)
        site.node.replace_input_with(self.index, None)
        _trim(site.node)
        _drop_unused(value)


def _trim(node: ir.Node) -> None:
    """Drops inputs left out at the end."""
    while node.inputs and node.inputs[-1] is None:
        node.resize_inputs(len(node.inputs) - 1)


def _drop_unused(value: ir.Value) -> None:
    unread = value.is_initializer() and not (value.uses() or value.is_graph_output() or value.is_graph_input())
    if value.graph is not None and unread:
        del value.graph.initializers[str(value.name)]


def _moves(*moved: _Moved) -> tuple[Adapter, Adapter]:
    def up(site: Site) -> None:
        for one in moved:
            one.up(site)

    def down(site: Site) -> None:
        for one in reversed(moved):
            one.down(site)

    return up, down


def _reduction_down(site: Site) -> None:
    axes = site.input(1)
    array = constant(axes)
    if site.attribute("noop_with_empty_axes", 0) and (axes is None or (array is not None and not array.size)):
        site.refuse("noop_with_empty_axes without axes", expected="an Identity node instead")
    site.set_attribute("noop_with_empty_axes", None)
    _AXES.down(site)
    if site.attribute("axes") == []:
        site.set_attribute("axes", None)


def _softmax_up(site: Site) -> None:
    """From the flattened matrix of all dimensions from `axis` on, to one dimension."""
    axis, shape = site.attribute("axis", 1), site.shape()
    if axis == -1:
        return
    if shape is not None:
        axis %= len(shape) or 1
        wide = [k for k in range(axis, len(shape)) if shape[k] != 1]
        if len(wide) <= 1 or axis == len(shape) - 1:
            site.set_attribute("axis", wide[0] if wide else axis)
            return
    x = site.input(0)
    site.set_input(0, site.before("Flatten", [x], {"axis": axis}, "flat"))
    site.set_attribute("axis", -1)
    site.after("Reshape", [site.before("Shape", [x], {}, "shape")], {}, "rows")


def _softmax_down(site: Site) -> None:
    axis, shape = site.attribute("axis", -1), site.shape()
    if axis == -1 or (shape is not None and axis % len(shape) == len(shape) - 1):
        site.set_attribute("axis", -1)
        return
    if shape is None:
        site.refuse("the rank of its input is not known, and the axis may not be the last")
    axis %= len(shape)
    if all(d == 1 for d in shape[axis + 1 :]):
        site.set_attribute("axis", axis)
        return
    swap = list(range(len(shape)))
    swap[axis], swap[-1] = swap[-1], swap[axis]
    site.set_input(0, site.before("Transpose", [site.input(0)], {"perm": swap}, "swapped"))
    site.set_attribute("axis", -1)
    site.after("Transpose", [], {"perm": swap}, "rows")


def _batch_norm_to_9(site: Site) -> None:
    if site.attribute("spatial", 1) != 1:
        site.refuse("spatial", got=site.attribute("spatial"), expected="1")
    site.set_attribute("spatial", None)


def _one_output(site: Site) -> None:
    if any(o.name and (o.uses() or o.is_graph_output()) for o in site.node.outputs[1:]):
        site.refuse("its further outputs mean something else in the other version")
    site.node.resize_outputs(1)


def _inference_only(site: Site) -> None:
    if any(o.name for o in site.node.outputs[1:]):
        site.refuse("BatchNormalization in training mode")
    site.node.resize_outputs(1)


def _upsample_to_10(site: Site) -> None:
    site.node.op_type = "Resize"


def _resize_to_11(site: Site) -> None:
    """Version 10 has asymmetric coordinates; nearest takes the floor of larger and the ceiling of smaller grids."""
    scales = constant(site.input(1))
    if site.attribute("mode", "nearest") == "nearest":
        if scales is None or ((scales < 1).any() and (scales > 1).any()):
            site.refuse(
                "which neighbour is nearest depends on the scales", expected="constant scales, all up or all down"
            )
        site.set_attribute("nearest_mode", "ceil" if (scales < 1).any() else "floor")
    site.set_attribute("coordinate_transformation_mode", "asymmetric")
    x_scales = site.input(1)
    site.set_input(1, site.constant("roi", np.zeros(0, np.float32)))
    site.set_input(2, x_scales)


def _resize_to_13(site: Site) -> None:
    for index in (1, 2):
        array = constant(site.input(index))
        if array is not None and not array.size:
            site.node.replace_input_with(index, None)


def _resize_to_12(site: Site) -> None:
    for index, name in ((1, "roi"), (2, "scales")):
        if site.input(index) is None:
            site.set_input(index, site.constant(name, np.zeros(0, np.float32)))


def _only(name: str, *allowed: Any) -> Adapter:
    """A down adapter that refuses values of an attribute which older versions do not know."""

    def down(site: Site) -> None:
        value = site.attribute(name)
        if value is not None and value not in allowed:
            site.refuse(f"attribute '{name}'", got=value, expected=", ".join(map(str, allowed)))

    return down


def _renamed(old: dict[str, str]) -> tuple[Adapter, Adapter]:
    new = {b: a for a, b in old.items()}

    def up(site: Site) -> None:
        mode = site.attribute("mode", "bilinear")
        site.set_attribute("mode", old.get(mode, mode))

    def down(site: Site) -> None:
        if site.rank() not in (None, 4):
            site.refuse("volumes", got=f"rank {site.rank()}", expected="rank 4")
        mode = site.attribute("mode", "linear")
        site.set_attribute("mode", new.get(mode, mode))

    return up, down


def _scatter(site: Site) -> None:
    site.node.op_type = "ScatterElements"


def _conv_transpose_to_11(site: Site) -> None:
    if site.attribute("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or site.attribute("output_shape") is not None:
        site.refuse("padding that is computed", got="auto_pad or output_shape", expected="pads")


def _roi_align_up(site: Site) -> None:
    site.set_attribute("coordinate_transformation_mode", "output_half_pixel")


def _roi_align_down(site: Site) -> None:
    mode = site.attribute("coordinate_transformation_mode", "half_pixel")
    if mode != "output_half_pixel":
        site.refuse("coordinate_transformation_mode", got=mode, expected="output_half_pixel")
    site.set_attribute("coordinate_transformation_mode", None)


def _split_to_18(site: Site) -> None:
    if site.input(1) is None:
        site.set_attribute("num_outputs", len(site.node.outputs))


def _split_to_17(site: Site) -> None:
    """Version 18 may make the last part smaller; before it the parts are equal, or stated."""
    site.set_attribute("num_outputs", None)
    if site.input(1) is not None:
        return
    shape, axis, parts = site.shape(), site.attribute("axis", 0), len(site.node.outputs)
    size = None if shape is None else shape[axis]
    if size is None:
        site.refuse("the size that it splits is not known, so that parts may be unequal")
    if size % parts:
        each = -(-size // parts)
        sizes = [min(each, max(size - k * each, 0)) for k in range(parts)]
        site.set_input(1, site.constant("split", np.array(sizes, np.int64)))


def _pad_to_17(site: Site) -> None:
    axes, pads = site.input(3), constant(site.input(1))
    if axes is None:
        return
    numbers, rank = constant(axes), site.rank()
    if numbers is None or pads is None or rank is None:
        site.refuse("pads of some axes", expected="constant pads and axes, known rank")
    full = np.zeros((2, rank), np.int64)
    full[:, numbers.reshape(-1) % rank] = pads.reshape(2, -1)
    site.set_input(1, site.constant("pads", full.reshape(-1)))
    site.node.resize_inputs(3)
    _trim(site.node)


def _group_norm_to_21(site: Site) -> None:
    """Scale and bias become those of channels instead of groups."""
    shape, groups = site.shape(), site.attribute("num_groups")
    channels = None if shape is None else shape[1]
    for index, name in ((1, "scale"), (2, "bias")):
        array = constant(site.input(index))
        if array is None or channels is None:
            site.refuse("scale and bias of groups", expected="constants, and a known number of channels")
        site.set_input(index, site.constant(name, np.repeat(array, channels // groups)))


def _quantize_to_20(site: Site) -> None:
    output = site.attribute("output_dtype", 0)
    if output and site.input(2) is None and output != ir.DataType.UINT8.value:
        site.refuse("output_dtype without a zero point")
    site.set_attribute("output_dtype", None)


def _quantize_to_12(site: Site) -> None:
    scale = site.input(1)
    shape = None if scale is None else shape_of(scale)
    if shape is None or shape not in ((), (1,)):
        site.refuse("a scale per channel")
    site.set_attribute("axis", None)


def _reshape_to_13(site: Site) -> None:
    target = constant(site.input(1))
    if site.attribute("allowzero", 0) and target is not None and (target != 0).all():
        site.set_attribute("allowzero", None)


def _constant_to_11(site: Site) -> None:
    array = constant(site.node.outputs[0])
    if "value" in site.node.attributes or "sparse_value" in site.node.attributes:
        return
    if array is None:
        site.refuse("a constant of strings")
    site.node.attributes.clear()
    site.node.attributes["value"] = ir.AttrTensor("value", ir.tensor(array))


def _dropout_to_11(site: Site) -> None:
    training = site.input(2)
    array = constant(training)
    if training is not None and (array is None or array.any()):
        site.refuse("Dropout in training mode")
    _one_output(site)
    if training is not None:
        site.node.resize_inputs(2)
    site.set_attribute("seed", None)
    _RATIO.down(site)


def _dropout_to_12(site: Site) -> None:
    _one_output(site)
    _RATIO.up(site)


def _mod_to_27(site: Site) -> None:
    if not site.attribute("fmod", 0) and site.dtype().kind not in "iu":
        site.refuse("Mod of floats by the floor of the quotient", got="fmod = 0", expected="fmod = 1")


def _nothing(site: Site) -> None:
    del site


def _refused(problem: str) -> Adapter:
    def adapter(site: Site) -> None:
        site.refuse(problem)

    return adapter


_AXES = _Moved("axes", 1)
_RATIO = _Moved("ratio", 1, np.float32, scalar=True, default=0.5, absent=0.5)

# By operator and the version at which it changed: from the version before to it, and from it to the version before.
ADAPTERS: dict[tuple[str, int], tuple[Adapter, Adapter]] = {
    ("BatchNormalization", 9): (_batch_norm_to_9, _nothing),
    ("Scan", 9): (_refused("Scan of version 8 has a batch"), _nothing),
    ("Upsample", 9): _moves(_Moved("scales", 1, np.float32)),
    ("Upsample", 10): (_upsample_to_10, _nothing),
    ("Dropout", 10): (_one_output, _nothing),
    ("Slice", 10): _moves(_Moved("starts", 1), _Moved("ends", 2), _Moved("axes", 3)),
    ("TopK", 10): _moves(_Moved("k", 1, one=True)),
    ("Clip", 11): _moves(
        _Moved("min", 1, None, scalar=True, default=-_FLOAT_MAX),
        _Moved("max", 2, None, scalar=True, default=_FLOAT_MAX),
    ),
    ("ConvTranspose", 11): (_conv_transpose_to_11, _nothing),
    ("Pad", 11): _moves(_Moved("pads", 1), _Moved("value", 2, None, scalar=True)),
    ("Resize", 11): (_resize_to_11, _nothing),
    ("Scatter", 11): (_scatter, _nothing),
    ("Constant", 12): (_nothing, _constant_to_11),
    ("Dropout", 12): (_dropout_to_12, _dropout_to_11),
    **{(op, 13): (_softmax_up, _softmax_down) for op in ("Softmax", "LogSoftmax", "Hardmax")},
    ("ReduceSum", 13): (_AXES.up, _reduction_down),
    **{(op, 13): _moves(_AXES) for op in ("Squeeze", "Unsqueeze")},
    ("Split", 13): _moves(_Moved("split", 1)),
    ("Resize", 13): (_resize_to_13, _resize_to_12),
    **{(op, 13): (_nothing, _quantize_to_12) for op in ("QuantizeLinear", "DequantizeLinear")},
    ("BatchNormalization", 14): (_inference_only, _nothing),
    ("Reshape", 14): (_nothing, _reshape_to_13),
    ("RoiAlign", 16): (_roi_align_up, _roi_align_down),
    **{(f"Reduce{name}", 18): (_AXES.up, _reduction_down) for name in _REDUCTIONS},
    ("Split", 18): (_split_to_18, _split_to_17),
    ("Pad", 18): (_nothing, _pad_to_17),
    **{(f"Scatter{n}", 18): (_nothing, _only("reduction", "none", "add", "mul")) for n in ("Elements", "ND")},
    ("Pad", 19): (_nothing, _only("mode", "constant", "reflect", "edge")),
    ("Resize", 19): (
        _nothing,
        _only(
            "coordinate_transformation_mode",
            *("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize"),
        ),
    ),
    ("DFT", 20): _moves(_Moved("axis", 2, scalar=True, default=1, absent=-2)),
    ("GridSample", 20): _renamed({"bilinear": "linear", "bicubic": "cubic"}),
    ("GroupNormalization", 21): (_group_norm_to_21, _nothing),
    ("QuantizeLinear", 21): (_nothing, _quantize_to_20),
    ("Mod", 28): (_nothing, _mod_to_27),
}
