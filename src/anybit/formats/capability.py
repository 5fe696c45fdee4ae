"""compare_formats: the paper's table of formats, decided for one model: what each can carry of it, and what not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import onnx_ir as ir

from anybit.analysis.values.interpreter import Values, values_of
from anybit.errors import Refusal
from anybit.formats.dialect import Approximation, Dialect, Outcome
from anybit.graph.walk import all_nodes, label
from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from anybit.ops.calls import call_of, is_call, operator_of
from anybit.ops.registry import QUANTIZERS
from anybit.ops.traits import MOVING, standard
from anybit.ops.trunc import TRUNC

_PRODUCTS = standard(lambda t: t.sums)
# A quantised tensor stays one behind them.
_MOVEMENT = MOVING | {"Concat", "Pad", "Relu"}
_TYPE_WIDTHS = frozenset((2, 4, 8, 16, 32))
_VARIANTS = frozenset((Dialect.QUANTIZED_OPS, Dialect.INTEGER_OPS))


class Write(Protocol):
    """Writes a hub model in a format, in place; what it cannot carry stays as it is and is refused.

    With what its tensors can hold, where that is known, they need not be analysed once more.
    """

    def __call__(self, model: ir.Model, *, approximate: bool = False, values: Values | None = None) -> Outcome: ...


@dataclass(frozen=True)
class CarriedShare:
    """How many of a model's quantisers or layers of one kind a format carries."""

    carried: int
    of: int

    def __str__(self) -> str:
        return f"{self.carried}/{self.of}" if self.of else "-"


@dataclass(frozen=True)
class DialectCapability:
    """What one format can say of a model.

    Attributes:
        format: The format.
        quantizers: Of all quantisers.
        layers: Of all products (Conv, MatMul and the like) with a quantised operand: those all of whose quantisers
            are carried.
        below_8_bits: Of the quantisers narrower than 8 bits.
        arbitrary_width: Of the quantisers whose integers are not those of an element type: other widths, narrow grids.
        other_rounding: Of the quantisers that do not round half to even, or have a zero point.
        weights_only: Of the layers whose weights alone are quantised.
        high_precision_output: Of the layers whose result goes on unquantised.
        without_variants: Whether operators keep their names, and are not duplicated for integers.
        refusals: The nodes that it does not carry, and why.
        approximations: What would change, where that is allowed.
    """

    format: Dialect
    quantizers: CarriedShare
    layers: CarriedShare
    below_8_bits: CarriedShare
    arbitrary_width: CarriedShare
    other_rounding: CarriedShare
    weights_only: CarriedShare
    high_precision_output: CarriedShare
    without_variants: bool
    refusals: tuple[Refusal, ...]
    approximations: tuple[Approximation, ...]


def compare_formats(
    hub: ir.Model, writers: Mapping[Dialect, Write], *, unread: tuple[Refusal, ...] = ()
) -> tuple[DialectCapability, ...]:
    """One row for each format; the model is only read.

    Args:
        hub: Hub model whose shapes are inferred.
        writers: By format, what writes it, in place.
        unread: What of the source was not understood, which no format carries.
    """
    values = values_of(hub)
    quantizers = [q for n in all_nodes(hub.graph) if (q := _quantizer(n, hub)) is not None]
    layers = _layers(hub, {q.node for q in quantizers})
    copies = {f: hub.clone() for f in writers}
    written = {f: write(copies[f], values=values.of_copy(copies[f])) for f, write in writers.items()}
    return tuple(_row(f, Outcome(unread) + outcome, quantizers, layers) for f, outcome in written.items())


@dataclass(frozen=True)
class _Quantizer:
    node: ir.Node
    bits: int | None
    narrow: bool
    half_even: bool


@dataclass(frozen=True)
class _Layer:
    node: ir.Node
    quantizers: tuple[ir.Node, ...]
    weights_only: bool
    high_precision_output: bool


def _quantizer(node: ir.Node, model: ir.Model) -> _Quantizer | None:
    operator = operator_of(node, model.opset_imports)
    if operator is None or not is_call(node, *QUANTIZERS):
        return None
    call = call_of(node, operator)
    stated = operator.number_format(call)
    mode, zero_point = call.attributes.get("rounding_mode"), call.constants.get("zeropt")
    shifted = zero_point is not None and bool(zero_point.any())
    return _Quantizer(
        node,
        None if stated is None else stated.bits,
        bool(call.attributes.get("narrow", 0)),
        not is_call(node, BIPOLAR_QUANT, TRUNC) and mode in (None, "ROUND") and not shifted,
    )


def _layers(model: ir.Model, quantizers: set[ir.Node]) -> list[_Layer]:
    """The products with a quantised operand; two walks over the nodes, forwards and backwards."""
    nodes = list(all_nodes(model.graph))
    sources: dict[ir.Value, frozenset[ir.Node]] = {}
    for node in nodes:
        moved = node.domain == "" and node.op_type in _MOVEMENT
        known = frozenset((node,)) if node in quantizers else _union(sources, node) if moved else frozenset[ir.Node]()
        sources.update((o, known) for o in node.outputs if known)
    onward: set[ir.Value] = set()
    for node in reversed(nodes):
        for output in node.outputs:
            readers = [u for u, _ in output.uses() if u not in quantizers]
            if output.is_graph_output() or any(_is_product(r) or not onward.isdisjoint(r.outputs) for r in readers):
                onward.add(output)
    products = [n for n in nodes if _is_product(n) and _union(sources, n)]
    return [_layer(n, sources, high_precision=n.outputs[0] in onward) for n in products]


def _layer(node: ir.Node, sources: Mapping[ir.Value, frozenset[ir.Node]], *, high_precision: bool) -> _Layer:
    x, weights = (sources.get(v) if v is not None else None for v in node.inputs[:2])
    used = tuple(dict.fromkeys(q for v in node.inputs if v is not None for q in sources.get(v, ())))
    return _Layer(node, used, not x and bool(weights), high_precision)


def _is_product(node: ir.Node) -> bool:
    return node.domain == "" and node.op_type in _PRODUCTS


def _union(sources: Mapping[ir.Value, frozenset[ir.Node]], node: ir.Node) -> frozenset[ir.Node]:
    known = [sources[v] for v in node.inputs if v is not None and v in sources]
    return frozenset[ir.Node]().union(*known)


def _row(format_: Dialect, outcome: Outcome, quantizers: list[_Quantizer], layers: list[_Layer]) -> DialectCapability:
    refused = {r.node for r in outcome.refusals}

    def of_quantizers(chosen: Iterable[_Quantizer]) -> CarriedShare:
        carried = [label(q.node) not in refused for q in chosen]
        return CarriedShare(sum(carried), len(carried))

    def of_layers(chosen: Iterable[_Layer]) -> CarriedShare:
        carried = [refused.isdisjoint(map(label, (x.node, *x.quantizers))) for x in chosen]
        return CarriedShare(sum(carried), len(carried))

    return DialectCapability(
        format=format_,
        quantizers=of_quantizers(quantizers),
        layers=of_layers(layers),
        below_8_bits=of_quantizers(q for q in quantizers if q.bits is not None and q.bits < 8),
        arbitrary_width=of_quantizers(q for q in quantizers if q.bits not in _TYPE_WIDTHS or q.narrow),
        other_rounding=of_quantizers(q for q in quantizers if not q.half_even),
        weights_only=of_layers(x for x in layers if x.weights_only),
        high_precision_output=of_layers(x for x in layers if x.high_precision_output),
        without_variants=format_ not in _VARIANTS,
        refusals=outcome.refusals,
        approximations=outcome.approximations,
    )
