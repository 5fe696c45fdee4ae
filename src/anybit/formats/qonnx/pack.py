"""pack: weights stored as the integers that their quantisers make of them, w -> (Cast(q) - z) * s."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.cleanup.convert_opset import ConvertOpset
from anybit.errors import AnybitError, Refusal, Severity
from anybit.formats.dialect import Outcome
from anybit.formats.qonnx.functions import embed_functions
from anybit.formats.zero_signs import Told
from anybit.graph.attributes import values_of_attributes
from anybit.graph.constants import constant
from anybit.graph.walk import label
from anybit.io.functions import calls, drop_embedded, embedded
from anybit.io.packed import Packed, Packer, graph_of
from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from anybit.ops.calls import call_of, findings_of, is_call
from anybit.ops.operator import Operator
from anybit.ops.quant import QUANT
from anybit.ops.zero_sign import is_negative_zero, refusal_where_told, tensors_of_told_zeros

_NODES_COST = 1024  # bytes that the nodes of packed weights take, with long names; smaller gains are left


@dataclass(frozen=True)
class _Type:
    """An integer type, and the first opset at which Cast reads it (and arithmetic broadcasts)."""

    dtype: ir.DataType
    lo: int
    hi: int
    opset: int


_TYPES = tuple(
    _Type(ir.DataType[f"{'' if signed else 'U'}INT{bits}"], -signed << bits - 1, (1 << bits - signed) - 1, opset)
    for bits, opset in ((2, 25), (4, 21), (8, 7), (16, 7))
    for signed in (0, 1)
)


@dataclass(frozen=True)
class _PackedWeights:
    """Weights that can be packed.

    Attributes:
        value: The floats.
        width: Bytes of a float.
        integers: What a quantiser makes of them.
        scale: The quantiser's own scale.
        zero_point: The quantiser's own zero point, None where it is 0.
    """

    value: ir.Value
    width: int
    integers: Array
    scale: ir.Value
    zero_point: ir.Value | None

    def type_at(self, opset: int) -> _Type | None:
        """The smallest type that holds the integers, and makes the file smaller."""
        lo, hi = int(self.integers.min()), int(self.integers.max())
        for kind in _TYPES:
            if kind.opset <= opset and kind.lo <= lo and hi <= kind.hi:
                return kind if self._gain(kind) > 0 else None
        return None

    def _gain(self, kind: _Type) -> float:
        return self.integers.size * (self.width - kind.dtype.itemsize) - _NODES_COST


def pack(model: ir.Model) -> Outcome:
    """Stores the weights of Quant and BipolarQuant nodes as integers, in place; `load` makes floats of them again.

    The floats that come back are those on the quantiser's grid, (q - zeropt) * scale: what was below the grid is
    gone, what the model computes is not. That is checked for each element: quantising the floats that come back gives
    what quantising the original floats gave (but for the sign of zero, unless an operator tells it); where it does
    not, which happens with rounding modes other than to nearest, the weights stay float.

    The type is the smallest of (U)INT2, (U)INT4, (U)INT8, (U)INT16 that holds the integers; the opset is raised to
    the 25 or 21 that types below 8 bits need, and where that fails larger types are used. Weights that would not
    become smaller stay as they are.

    Args:
        model: Hub model, see `load`.

    Returns:
        The quantisers whose weights stay float although they would become smaller, and why.
    """
    has_functions = bool(embedded(model))
    drop_embedded(model)
    found: list[_PackedWeights] = []
    refusals: list[Refusal] = []
    told = tensors_of_told_zeros(model)
    for value, quantizers in _weights(model).items():
        weights = _packable(value, quantizers, told)
        if isinstance(weights, Refusal):
            refusals.append(weights)
        elif weights.type_at(_TYPES[0].opset) is not None:
            found.append(weights)
    refusals += _raise_opset(model, found)
    opset = model.opset_imports.get("", 1)
    kinds = [(weights, kind) for weights in found if (kind := weights.type_at(opset)) is not None]
    if kinds:
        writer = Packer(model)
        for weights, kind in kinds:
            writer.write(weights.value, weights.integers.astype(kind.dtype.numpy()), weights.scale, weights.zero_point)
    if has_functions:
        embed_functions(model)
    return Outcome(tuple(refusals))


_Quantizers = Sequence[tuple[ir.Node, Operator]]


def _weights(model: ir.Model) -> dict[ir.Value, list[tuple[ir.Node, Operator]]]:
    """Constants that are large enough to be worth packing, and the calls of our operators that read them as X."""
    found: dict[ir.Value, list[tuple[ir.Node, Operator]]] = {}
    for node, operator in calls(model):
        x = node.inputs[0] if node.inputs else None
        array = constant(x)
        if x is not None and array is not None and array.nbytes > _NODES_COST and array.dtype.kind == "f":
            found.setdefault(x, []).append((node, operator))
    return found


def _packable(value: ir.Value, quantizers: _Quantizers, told: Told) -> _PackedWeights | Refusal:
    """The weights as the integers of the first quantiser from which all of them make what they made before."""
    node = quantizers[0][0]
    if not isinstance(graph_of(value), ir.Graph):
        return Refusal(problem="its weights are inside a model-local function", node=label(node), hint="inline it")
    if value.is_graph_output() or len(value.uses()) > len(quantizers):
        return Refusal(problem="its float weights are read elsewhere as well", node=label(node), got=str(value.name))
    refusal: Refusal | None = None
    for chosen, operator in quantizers:
        weights = _of_quantizer(value, chosen, operator)
        if isinstance(weights, _PackedWeights):
            small = weights.type_at(_TYPES[0].opset) is not None
            departed = _departure(weights, chosen, quantizers, told) if small else None
            if departed is None:
                return weights
            weights = departed
        refusal = refusal or weights
    return refusal or Refusal(problem="nothing quantises the weights", node=label(node))


def _of_quantizer(value: ir.Value, node: ir.Node, operator: Operator) -> _PackedWeights | Refusal:
    where = label(node)
    if not is_call(node, QUANT, BIPOLAR_QUANT):
        return Refusal(problem=f"{operator.name} does not make integers", node=where, expected="Quant or BipolarQuant")
    for finding in findings_of(node, operator):
        if finding.severity is Severity.ERROR:
            return Refusal(problem=finding.problem, node=where, got=finding.got, expected=finding.expected)
    call = call_of(node, operator)
    names = [i.name for i in operator.inputs]
    if set(call.constants) != set(names):
        return Refusal(problem="its parameters are not constant", node=where)
    x = call.constants["X"]
    parameters = {n: v for n, v in zip(names, node.inputs, strict=True) if v is not None and n in ("scale", "zeropt")}
    for name in parameters:
        if call.constants[name].dtype != x.dtype:
            got, expected = str(call.constants[name].dtype), f"{x.dtype}, the type of the weights"
            return Refusal(problem=f"type of {name}", node=where, got=got, expected=expected)
    zero = call.constants.get("zeropt", np.zeros((), x.dtype))
    y = _evaluate(x, node, operator).astype(np.float64)
    with np.errstate(all="ignore"):
        q = np.rint(y / call.constants["scale"].astype(np.float64) + zero.astype(np.float64))
    limit = np.iinfo(np.int32).max
    if not np.isfinite(q).all() or (q.size and np.abs(q).max() > limit):
        problem = "its weights are not all on a grid of 32 bits"
        return Refusal(problem=problem, node=where, hint="check the weights for NaN and infinities")
    integers = q.astype(np.int8 if q.size and np.abs(q).max() <= np.iinfo(np.int8).max else np.int32)
    return _PackedWeights(
        value, x.itemsize, integers, parameters["scale"], parameters["zeropt"] if zero.any() else None
    )


def _departure(weights: _PackedWeights, chosen: ir.Node, quantizers: _Quantizers, told: Told) -> Refusal | None:
    """Why the integers of `chosen` cannot stand for the weights: what makes something else of them."""
    x, scale = constant(weights.value), constant(weights.scale)
    if x is None or scale is None:
        return None
    zero = constant(weights.zero_point)
    packed = Packed(
        ir.tensor(weights.integers),
        ir.tensor(scale),
        None if zero is None else ir.tensor(zero),
        ir.DataType.from_numpy(x.dtype),
    )
    floats = packed.floats()
    for node, operator in quantizers:
        after, before = (_evaluate(v, node, operator) for v in (floats, x))
        moved = (is_negative_zero(after) != is_negative_zero(before)).any()
        refusal = refusal_where_told(node.outputs[0], told) if moved else None
        if refusal is not None:
            return replace(refusal, node=label(node))
        apart = int((after != before).sum())
        if apart:
            alone = node is chosen
            return Refusal(
                problem="quantised again, its weights change" if alone else "shares its weights with another grid",
                node=label(node),
                got=f"{apart} of {x.size} elements",
                expected="none",
                hint="rounding to nearest and a whole zero point keep them"
                if alone
                else "give each quantiser weights of its own",
            )
    return None


def _evaluate(x: Array, node: ir.Node, operator: Operator) -> Array:
    parameters = [c for v in node.inputs[1:] if (c := constant(v)) is not None]
    attributes = values_of_attributes(node)
    return operator.evaluate([x, *parameters], attributes)


def _raise_opset(model: ir.Model, found: Sequence[_PackedWeights]) -> list[Refusal]:
    """Brings the model to the opset that the types of the weights need, or to the nearest that it can be."""
    newest = _TYPES[0].opset
    needed = {kind.opset for w in found if (kind := w.type_at(newest)) is not None}
    targets = sorted({kind.opset for kind in _TYPES if kind.opset <= max(needed, default=0)}, reverse=True)
    refusals: list[Refusal] = []
    for target in targets:
        if model.opset_imports.get("", 1) >= target:
            break
        try:
            ConvertOpset(target)(model)
            break
        except AnybitError as error:
            cause = error.diagnosis
            refusals.append(
                Refusal(
                    problem=f"weights cannot have the types of opset {target}: {cause.problem}",
                    node=cause.node,
                    got=cause.got,
                    expected=cause.expected,
                    hint="larger types are used",
                )
            )
    return refusals
