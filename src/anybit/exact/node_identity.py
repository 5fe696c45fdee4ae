"""Nodes as they are compared: attributes with defaults, reshapes by what they do, channels of element-wise nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.exact.integer_functions import Function, digest
from anybit.exact.integer_layers import PRODUCTS, IntegerProduct
from anybit.graph.constants import constant
from anybit.graph.walk import graphs_of, shape_of
from anybit.ops.calls import call_of, is_call, operator_of
from anybit.ops.multi_threshold import MULTI_THRESHOLD, channel_axis
from anybit.ops.standard_schemas import standard_schema
from anybit.ops.traits import MOVING, Movement, standard

Ranges = tuple[tuple[int, int, int, int], ...]
"""Axis, first element, number of elements and step, for each axis of which not all elements are taken."""
PAIRWISE = frozenset(("Add", "Div", "Max", "Min", "Mul", "Sub"))
"""Element-wise operators of two tensors."""
RESHAPES = standard(lambda t: t.movement is Movement.ORDER) - {"Identity"}
"""Operators that keep the elements in their order."""
MOVES = MOVING - {"Identity", "Split"}
"""Operators whose only output holds elements of their input: scaling by a positive number commutes with them."""
REARRANGEMENTS = MOVES - standard(lambda t: t.movement is Movement.MAXIMUM)
"""Those of them that choose elements by their place alone: every function of an element commutes with them."""
# Their meaning has been the same in all versions that have the same attributes and inputs.
_TIMELESS = (
    MOVES
    | PAIRWISE
    | PRODUCTS
    | frozenset(
        "Abs BatchNormalization Clip Concat GlobalAveragePool LeakyRelu Neg PRelu Relu Sigmoid Sqrt Tanh".split()
    )
)
_NEUTRAL = {"Add": 0, "Div": 1, "Mul": 1, "Sub": 0}
"""The second operands that change no number."""
_IGNORED = frozenset(("momentum", "spatial", "training_mode", "consumed_inputs"))
_WINDOWED = frozenset(("AveragePool", "Conv", "ConvTranspose", "LpPool", "MaxPool"))
_WEIGHTED = frozenset(("Conv", "ConvTranspose"))
"""Those whose windows have the extents of their weights."""
_BY_AXIS = {"dilations": 1, "output_padding": 0, "pads": 0, "strides": 1}
"""Attributes with an entry for each axis of a window, and what all entries are where the attribute is left out."""


def is_identity(node: ir.Node) -> bool:
    """Whether a node gives its input."""
    if node.domain != "":
        return False
    x, y = node.inputs[0] if node.inputs else None, node.outputs[0]
    same = x is not None and x.dtype is not None and x.dtype == y.dtype
    if node.op_type in RESHAPES and x is not None:
        before, after = shape_of(x), shape_of(y)
        return same and before is not None and before == after and None not in before[1:]
    return node.op_type == "Identity" or (node.op_type == "Cast" and same)


def is_neutral(node: ir.Node, position: int, operand: Array) -> bool:
    """Whether a node of two tensors gives the numbers of the one at `position`, but for the sign of zeros."""
    neutral = _NEUTRAL.get(node.op_type) if node.domain == "" else None
    if neutral is None or (position == 1 and node.op_type not in ("Add", "Mul")):
        return False
    x = node.inputs[position]
    shape = None if x is None else shape_of(x)
    return shape is not None and shape == shape_of(node.outputs[0]) and bool((operand == neutral).all())


def attributes_of(node: ir.Node, opsets: dict[str, int]) -> dict[str, Any] | None:
    """Attributes but graphs by name, defaults filled in, and the version where it matters; None if that is not all."""
    given: dict[str, Any] = {}
    for name, attribute in sorted(node.attributes.items()):
        if attribute.is_ref() or attribute.type == ir.AttributeType.GRAPHS:
            return None
        if attribute.type == ir.AttributeType.GRAPH:
            continue
        is_tensor = attribute.type == ir.AttributeType.TENSOR
        given[name] = digest(attribute.as_tensor().numpy()) if is_tensor else attribute.value
    if node.domain != "":
        operator = operator_of(node, opsets)
        if operator is None:
            return None
        return {"version": operator.since, **call_of(node, operator).attributes}
    schema = standard_schema(node.op_type, opsets.get("", 1))
    if schema is None or node.op_type.startswith(("Random", "Bernoulli", "Multinomial")):
        return None
    if given.get("training_mode", 0):
        return None
    ignored = _IGNORED if node.op_type == "BatchNormalization" else frozenset[str]()
    defaults = {n: ir.from_proto(d).value for n, a in schema.attributes.items() if (d := a.default_value).type}
    known = {n: v for n, v in sorted((defaults | given).items()) if n not in ignored}
    known = {n: tuple(v) if isinstance(v, list) else v for n, v in known.items()}
    if node.op_type in _WINDOWED:
        known = {n: v for n, v in known.items() if not _goes_without_saying(node, n, v)}
    return known if node.op_type in _TIMELESS else {"version": schema.since_version} | known


def _goes_without_saying(node: ir.Node, name: str, given: Any) -> bool:
    """Whether an operator on windows means the same if this attribute is left out."""
    if name in _BY_AXIS:
        return all(entry == _BY_AXIS[name] for entry in given)
    weights = node.inputs[1] if name == "kernel_shape" and node.op_type in _WEIGHTED else None
    shape = None if weights is None else shape_of(weights)
    return shape is not None and shape[2:] == given


def bodies_of(node: ir.Node) -> list[tuple[str, ir.Graph]]:
    """The graphs inside a node, by the name of the attribute."""
    attributes = sorted(node.attributes.items())
    return [(name, body) for name, a in attributes for body in graphs_of(a)]


def keeps_shape(node: ir.Node) -> bool:
    """Whether the output is known to have the shape of an input: then broadcasting enlarges nothing but constants."""
    shape = shape_of(node.outputs[0])
    varying = [v for v in node.inputs if v is not None and constant(v) is None]
    return shape is not None and any(shape_of(v) == shape for v in varying)


def stripped(array: Array) -> Array:
    """Without leading axes of length 1, which broadcasting adds by itself."""
    while array.ndim and array.shape[0] == 1:
        array = array[0]
    return array


def keeps_order(node: ir.Node) -> bool:
    """Whether a node keeps the elements of its first input in their order: a reshape, or a move of axes of length 1."""
    if node.domain != "" or node.op_type not in (*RESHAPES, "Transpose"):
        return False
    x = node.inputs[0]
    shape = None if x is None else shape_of(x)
    if node.op_type in RESHAPES or shape is None:
        return node.op_type in RESHAPES
    order = tuple(node.attributes.get_ints("perm", tuple(range(len(shape)))[::-1]))
    if sorted(order) != list(range(len(shape))):
        return False
    long = [axis for axis in order if shape[axis] != 1]
    return long == sorted(long)


def laid_anew(node: ir.Node, stop: Callable[[ir.Value], bool]) -> tuple[ir.Value, tuple[object, ...]] | None:
    """The tensor whose elements a node, and those before it, only lay out anew, and how; None where that is not known.

    Each step keeps samples apart, or each has shapes that are known in full. All elements stay in their order, so that
    the last shape says where they lie.

    Args:
        node: The last step.
        stop: Whether to look no further than a tensor.
    """
    last, static, apart = node.outputs[0], True, True
    source = last
    while (step := source.producer()) is not None and keeps_order(step) and (source is last or not stop(source)):
        x = step.inputs[0]
        before, after = None if x is None else shape_of(x), shape_of(source)
        is_static = before is not None and after is not None and None not in before + after
        is_apart = _shape_of_sample(before, after) is not None
        if x is None or not ((static and is_static) or (apart and is_apart)):
            break
        static, apart, source = static and is_static, apart and is_apart, x
    whole = shape_of(last)
    if source is last or whole is None:
        return None
    rest = _shape_of_sample(shape_of(source), whole)
    return source, ("reshape of all", whole) if rest is None else ("reshape", rest)


def slice_of(node: ir.Node, operands: Sequence[Array | None]) -> Ranges | None:
    """Which elements a Slice takes; None where that is not known, or a step is negative.

    Args:
        node: A Slice.
        operands: Its inputs, as far as they are known.
    """
    x = node.inputs[0]
    shape = None if x is None else shape_of(x)
    given = [None if o is None else o.reshape(-1).tolist() for o in operands[1:]]
    if len(node.inputs) == 1:  # in old versions
        given = [list(node.attributes.get_ints(name, ())) or None for name in ("starts", "ends", "axes")]
    elif any(v is not None and o is None for v, o in zip(node.inputs[1:], given, strict=True)):
        return None
    starts, ends, axes, steps = (*given, None, None, None, None)[:4]
    if not shape or starts is None or ends is None:
        return None
    axes, steps = axes or list(range(len(starts))), steps or [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        return None
    found: dict[int, tuple[int, int, int]] = {}
    for axis, start, end, step in zip((a % len(shape) for a in axes), starts, ends, steps, strict=True):
        size = shape[axis]
        if size is None or step < 1 or axis in found:
            return None
        taken = range(*slice(start, end, step).indices(size))
        found[axis] = (taken.start, len(taken), step if len(taken) > 1 else 1)
    if any(count == 0 for _, count, _ in found.values()):
        return None
    return tuple((a, *r) for a, r in sorted(found.items()) if r != (0, shape[a], 1))


def parts_of(node: ir.Node) -> list[Ranges] | None:
    """Which elements each output of a Split takes; None where that is not known."""
    x = node.inputs[0]
    shape = None if x is None else shape_of(x)
    if not shape:
        return None
    axis, begin, found = node.attributes.get_int("axis", 0) % len(shape), 0, list[Ranges]()
    for output in node.outputs:
        part = shape_of(output)
        size = None if part is None or len(part) != len(shape) else part[axis]
        if not size:
            return None
        found.append(() if size == shape[axis] else ((axis, begin, size, 1),))
        begin += size
    return found if begin == shape[axis] else None


def _shape_of_sample(
    before: tuple[int | None, ...] | None, after: tuple[int | None, ...] | None
) -> tuple[int | None, ...] | None:
    """What a reshape makes of each sample; None where it is not known to keep samples apart."""
    if not before or not after or None in before[1:] or None in after[1:]:
        return None
    sizes = [int(np.prod([d or 0 for d in s[1:]])) for s in (before, after)]
    return after[1:] if sizes[0] == sizes[1] > 0 else None


def geometry_of(node: ir.Node, product: IntegerProduct) -> tuple[object, ...]:
    """Everything about a Conv but its operands."""
    axes = product.weights.ndim - 2
    given = {n: a.value for n, a in node.attributes.items()}
    pads, auto = tuple(given.get("pads", (0,) * 2 * axes)), given.get("auto_pad", "NOTSET")
    ones = (1,) * axes
    strides, dilations = tuple(given.get("strides", ones)), tuple(given.get("dilations", ones))
    return "conv", strides, dilations, pads, auto, int(given.get("group", 1))


def channels_behind(
    node: ir.Node, position: int, constants: list[Array | None], function: Function
) -> tuple[int, int] | None:
    """Axis and number of the channels behind an element-wise node; None where its parameters vary otherwise."""
    axis, channels = function.axis, function.channels
    for index, array in enumerate(constants):
        if array is None or index == position or array.size == 1:
            continue
        if node.op_type == "BatchNormalization":
            place, size = 1, array.size
        elif is_call(node, MULTI_THRESHOLD):
            if array.shape[0] == 1:
                continue
            layout = node.attributes.get_string("data_layout", "NCHW")
            place, size = channel_axis(layout, function.rank), array.shape[0]
        else:
            long = [i for i, d in enumerate(array.shape) if d != 1]
            if len(long) != 1 or array.ndim > function.rank:
                return None
            place, size = function.rank - array.ndim + long[0], array.size
        if place < 1 or (channels > 1 and (place, size) != (axis, channels)):
            return None
        axis, channels = place, size
    return axis, channels
