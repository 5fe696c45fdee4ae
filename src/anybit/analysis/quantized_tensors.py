"""quantized_tensors: the tensors of a model that a quantiser makes, and what their statistics need to know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from anybit.analysis.quantizer_kinds import makes_integers, weight_inputs
from anybit.analysis.roles import Role, roles_of
from anybit.analysis.statistics import DEFAULT_BINS, Levels, Tally
from anybit.analysis.values.interpreter import Values
from anybit.analysis.values.tensor_values import IntegerGrid
from anybit.arrays import Array
from anybit.errors import InvalidModelError
from anybit.graph.annotations import annotated_layout
from anybit.graph.constants import constant
from anybit.graph.walk import all_nodes, reads
from anybit.number_formats import BipolarFormat, FixedFormat, FloatFormat
from anybit.ops.calls import call_of, operator_of
from anybit.ops.evaluate import EVALUATION_ERRORS, evaluate_node

_FEATURES_LAST = frozenset(("MatMul", "Gemm", "LayerNormalization"))


@dataclass(frozen=True)
class QuantizedTensor:
    """A tensor on a grid of integers.

    Attributes:
        value: The tensor.
        weights: Whether it depends on no input.
        tally: Counts its integers.
    """

    value: ir.Value
    weights: bool
    tally: Tally


@dataclass(frozen=True)
class LeftOut:
    """A quantised tensor without statistics, and why."""

    name: str
    reason: str


def quantized_tensors(
    values: Values, *, bins: int = DEFAULT_BINS
) -> tuple[tuple[QuantizedTensor, ...], tuple[LeftOut, ...]]:
    """Every tensor that a quantiser makes, weights and activations, in the order of the graph."""
    roles = roles_of(values.model)
    found: list[QuantizedTensor] = []
    left_out: list[LeftOut] = []
    seen: set[ir.Value] = set()
    for value in _candidates(values, roles):
        if value in seen:
            continue
        seen.add(value)
        known = values.tensors.get(value)
        if known is not None and known.grid is not None and isinstance(known.grid.datatype, FloatFormat):
            left_out.append(LeftOut(str(value.name), f"{known.grid.datatype} has no evenly spaced levels"))
        elif known is None or known.grid is None:
            left_out.append(LeftOut(str(value.name), _reason(value, values)))
        elif value.graph is not values.model.graph:
            left_out.append(LeftOut(str(value.name), "it belongs to a subgraph"))
        else:
            weights = not _depends_on_data(value, roles)
            axis = _output_axis(value, known.grid) if weights else _activation_axis(value, known.grid)
            tally = Tally(str(value.name), known.grid, _levels(value, known.grid, values), axis, bins)
            found.append(QuantizedTensor(value, weights, tally))
    return tuple(found), tuple(left_out)


def _depends_on_data(value: ir.Value, roles: Mapping[ir.Value, Role]) -> bool:
    """Whether it is an activation; an output of the model is one where the node that makes it reads one."""
    node = value.producer()
    if node is None or roles[value] is not Role.OUTPUT:
        return roles[value].depends_on_data
    return any(roles[v].depends_on_data for v in reads(node) if v in roles)


def _candidates(values: Values, roles: Mapping[ir.Value, Role]) -> Iterator[ir.Value]:
    for node in all_nodes(values.model.graph):
        places = weight_inputs(node)  # integers that no quantiser makes in the model
        for place, value in enumerate(node.inputs):
            if value is not None and roles.get(value) is Role.INITIALIZER:
                known = values.tensors.get(value)
                declared = known is not None and known.grid is not None and known.grid.datatype is not None
                if declared or place in places:
                    yield value
        if operator_of(node, values.model.opset_imports) is not None or _is_quantizer(node):
            yield from node.outputs[:1]


def _is_quantizer(node: ir.Node) -> bool:
    """Whether a standard operator puts its output on a grid that nothing behind it states again."""
    if (node.domain, node.op_type) == ("", "DequantizeLinear"):
        return True
    readers = {u.op_type for output in node.outputs[:1] for u, _ in output.uses()}
    made = makes_integers(node) or (node.domain, node.op_type) == ("", "QuantizeLinear")
    return made and not (readers and readers <= {"DequantizeLinear", "Clip"})


def _reason(value: ir.Value, values: Values) -> str:
    node = value.producer()
    why = None if node is None else values.unfollowed.get(node)
    return "it is on no grid of integers" + ("" if why is None else f": {why}")


def _levels(value: ir.Value, grid: IntegerGrid, values: Values) -> Levels:
    """The integers that the quantiser can produce: as declared, else those that are proven to occur at most."""
    lo, hi = int(grid.lo.min()), int(grid.hi.max())
    if isinstance(grid.datatype, BipolarFormat):
        return Levels(-1, 1, 2)
    if grid.datatype is not None and not isinstance(grid.datatype, FixedFormat):
        lo, hi = int(grid.datatype.min), int(grid.datatype.max)
    node = value.producer()
    operator = None if node is None else operator_of(node, values.model.opset_imports)
    if node is not None and operator is not None and grid.datatype is not None:
        narrow = bool(call_of(node, operator).attributes.get("narrow", 0))
        lo, hi = (lo + narrow, hi) if lo < 0 else (lo, hi - narrow)
    elif node is not None and node.op_type == "DequantizeLinear" and node.inputs[0] is not None:
        lo, hi = _stored_levels(node.inputs[0], lo, hi)
    return Levels(lo, hi, hi - lo + 1)


def _stored_levels(integers: ir.Value, lo: int, hi: int) -> tuple[int, int]:
    """All integers of the element type, or those that a Clip leaves of them."""
    node = integers.producer()
    if node is not None and node.op_type == "Clip" and len(node.inputs) == 3:
        low, high = map(constant, node.inputs[1:])
        if low is not None and high is not None and low.size == high.size == 1:
            top = int(high.reshape(()))
            return min(int(low.reshape(())), top), top  # the upper bound holds where they contradict each other
    dtype = integers.dtype
    if dtype is None or not dtype.is_integer():
        return lo, hi
    half = 1 << (dtype.bitwidth - dtype.is_signed())
    return (-half, half - 1) if dtype.is_signed() else (0, half - 1)


def _grid_axis(grid: IntegerGrid, rank: int) -> int | None:
    """The axis along which scale or zero point differ."""
    axes = {a + rank - p.ndim for p in (grid.scale, grid.zero_point) for a in range(p.ndim) if p.shape[a] > 1}
    return axes.pop() if len(axes) == 1 else None


def _activation_axis(value: ir.Value, grid: IntegerGrid) -> int | None:
    """The axis of features, as far as layout, scale or the readers tell."""
    try:
        layout = annotated_layout(value)
    except InvalidModelError:
        layout = None  # `check` says what is wrong with it
    if layout is not None and "C" in layout:
        return layout.index("C")
    if value.shape is None:
        return None
    rank = value.shape.rank()
    axis = _grid_axis(grid, rank)
    last = any(u.op_type in _FEATURES_LAST and place == 0 for u, place in value.uses())
    return axis if axis is not None or not last or not rank else rank - 1


def _output_axis(value: ir.Value, grid: IntegerGrid) -> int | None:
    """The axis of a weight that becomes the channels of the node that it goes into, by way of Transpose."""
    if value.shape is None or not value.shape.rank():
        return None
    rank = value.shape.rank()
    orders: list[list[int]] = []
    node, place = next(iter(value.uses()), (None, 0))
    while node is not None and node.op_type == "Transpose" and node.domain == "":
        given = node.attributes.get("perm")
        orders.append(list(range(rank))[::-1] if given is None else list(given.as_ints()))
        node, place = next(iter(node.outputs[0].uses()), (None, 0))
    axis = None if node is None else _channels_of(node, place, rank)
    if axis is None:
        return _grid_axis(grid, rank) or 0
    for order in reversed(orders):
        axis = order[axis]
    return axis


def _channels_of(node: ir.Node, place: int, rank: int) -> int | None:
    match node.op_type:
        case "Conv" | "ConvInteger" | "QLinearConv":
            return 0
        case "ConvTranspose":
            return 1
        case "Gemm" if place == 1:
            transposed = node.attributes.get("transB")
            return 0 if transposed is not None and transposed.as_int() else 1
        case "MatMul" | "MatMulInteger" | "QLinearMatMul":
            return rank - 1 if place else max(rank - 2, 0)
        case _:
            return None


def weight_array(value: ir.Value, values: Values) -> Array | None:
    """A tensor that depends on no input; None where an operator on the way has no reference."""
    arrays: dict[ir.Value, Array | None] = {}
    for node in _dependencies(value):
        inputs = [None if v is None else arrays[v] if v in arrays else constant(v) for v in node.inputs]
        try:
            results = evaluate_node(node, inputs, values.model.opset_imports)
        except EVALUATION_ERRORS:
            return None  # `check` says what is wrong
        arrays.update(zip(node.outputs, results or (None,) * len(node.outputs), strict=False))
    return arrays[value] if value in arrays else constant(value)


def _dependencies(value: ir.Value) -> list[ir.Node]:
    """The nodes that a tensor is computed by, each behind those that it reads."""
    ordered: dict[ir.Node, None] = {}
    pending = [(value.producer(), False)]
    while pending:
        node, is_ready = pending.pop()
        if node is None or node in ordered:
            continue
        if is_ready:
            ordered[node] = None
            continue
        pending.append((node, True))
        pending += [(v.producer(), False) for v in node.inputs if v is not None]
    return list(ordered)
