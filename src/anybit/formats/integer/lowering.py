"""lower: what the writers of integer operators share: find the products, plan, replace, write the quantisers left."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import onnx_ir as ir

from anybit.analysis.values.interpreter import Values, values_of
from anybit.cleanup.convert_opset import ConvertOpset
from anybit.cleanup.infer_shapes import InferShapes
from anybit.errors import Refusal, UnsupportedError
from anybit.exact.integer_layers import PRODUCTS, IntegerProduct, read_product
from anybit.formats.dialect import Approximation, Outcome
from anybit.formats.integer.passthrough import join_integers
from anybit.formats.integer.storage import Bytes, from_zero
from anybit.formats.qdq.write import write_linear
from anybit.formats.zero_signs import Told
from anybit.graph.editor import Editor
from anybit.graph.walk import all_nodes, label, shape_of
from anybit.ops.zero_sign import refusal_where_told, tensors_of_told_zeros

_OPSET = 13  # scales per channel, and Clip and MaxPool of bytes
_WITHOUT_FORM = frozenset(("ConvTranspose", "Einsum"))


class LayerPlan(Protocol):
    """What a product becomes."""

    @property
    def approximation(self) -> Approximation | None:
        """What is not the same."""
        ...

    def apply(self, made: Bytes) -> None:
        """Replaces the product."""
        ...


@dataclass(frozen=True)
class Hub:
    """A hub model, what its tensors can hold, and those of which an operator tells the sign of zeros."""

    model: ir.Model
    values: Values
    told: Told

    @classmethod
    def of(cls, model: ir.Model, values: Values | None = None) -> Hub:
        """The model, analysed as it is now, where what its tensors can hold is not known."""
        return cls(model, values_of(model) if values is None else values, tensors_of_told_zeros(model))


Planner = Callable[[IntegerProduct, Hub], LayerPlan | Refusal]
"""What a product becomes, or why it stays."""


def lower(
    model: ir.Model, plan: Planner, *, approximate: bool, most: bool = False, values: Values | None = None
) -> Outcome:
    """Replaces the products of quantised tensors, in place, and writes all quantisers as QuantizeLinear and the like.

    Args:
        model: Hub model; its opset is raised to 13 if it has such products.
        plan: What a product becomes, or why it stays.
        approximate: Whether a product may stay in float, and quantisers be approximated.
        most: Whether nothing is written unless more products are replaced than convolutions stay.
        values: What its tensors can hold, where that is known.

    Returns:
        For every product of a quantised tensor that stays a refusal; if approximate, an approximation.
    """
    changed = InferShapes()(model).modified
    hub = Hub.of(model, None if changed else values)
    nodes = _candidates(hub)
    if nodes and model.opset_imports.get("", 1) < _OPSET:
        try:
            ConvertOpset(_OPSET)(model)
        except UnsupportedError as error:
            problem, reason = (
                f"it needs opset {_OPSET}, and another node stands in the way",
                " ".join(str(error).split()),
            )
            refusals = tuple(Refusal(problem=problem, node=label(n), hint=reason) for n in nodes)
            return Outcome(refusals) + write_linear(model, from_zero, approximate=approximate)
        InferShapes()(model)
        hub = Hub.of(model)
        nodes = _candidates(hub)
    plans = _most(nodes, hub, plan) if most else [(n, _planned(n, hub, plan)) for n in nodes]
    if plans is None:
        return Outcome((Refusal(problem="most convolutions have to stay in float"),))
    outcome = Outcome()
    with Editor(model, rule="lower") as edit:
        made = Bytes(edit)
        for node, found in plans:
            if isinstance(found, Refusal):
                outcome += _left(replace(found, node=label(node)), approximate=approximate)
                continue
            outcome += Outcome((), () if found.approximation is None else (found.approximation,))
            found.apply(made)
    outcome += write_linear(model, from_zero, approximate=approximate)
    join_integers(model)
    return outcome


def _candidates(hub: Hub) -> list[ir.Node]:
    """The products with a quantised operand."""
    found: list[ir.Node] = []
    for node in all_nodes(hub.model.graph):
        if node.domain == "" and node.op_type in PRODUCTS | _WITHOUT_FORM:
            known = [hub.values.tensors.get(v) for v in node.inputs[:2] if v is not None]
            if any(t is not None and t.grid is not None for t in known):
                found.append(node)
    return found


def _most(nodes: list[ir.Node], hub: Hub, plan: Planner) -> list[tuple[ir.Node, LayerPlan | Refusal]] | None:
    """What each product becomes, those of few weights being looked at first; None once too many convolutions stay."""
    here = [n for n in nodes if n.graph is hub.model.graph]
    replaced = len(here)
    stay = sum(n.op_type == "Conv" and n.domain == "" for n in hub.model.graph) - sum(n.op_type == "Conv" for n in here)
    found: dict[ir.Node, LayerPlan | Refusal] = {}
    for node in sorted(nodes, key=_weights):
        if replaced <= stay:
            return None
        found[node] = _planned(node, hub, plan)
        if isinstance(found[node], Refusal) and node.graph is hub.model.graph:
            replaced, stay = replaced - 1, stay + (node.op_type == "Conv")
    return None if replaced <= stay else [(n, found[n]) for n in nodes]


def _weights(node: ir.Node) -> int:
    shape = None if node.inputs[1] is None else shape_of(node.inputs[1])
    return math.prod(d or 1 for d in shape) if shape else 0


def _planned(node: ir.Node, hub: Hub, plan: Planner) -> LayerPlan | Refusal:
    if node.op_type in _WITHOUT_FORM:
        return Refusal(problem="there is no form of this operator for integers")
    told = refusal_where_told(node.outputs[0], hub.told)
    if told is not None:
        return told
    product = read_product(node, hub.model.opset_imports, hub.values)
    found = product if isinstance(product, Refusal) else plan(product, hub)
    if isinstance(found, Refusal) and found.node not in ("", label(node)):
        return replace(found, got=", ".join(part for part in (found.node, found.got) if part))
    return found


def _left(refusal: Refusal, *, approximate: bool) -> Outcome:
    if not approximate:
        return Outcome((refusal,))
    reason = f"{refusal.problem}: {refusal.got}" if refusal.got else refusal.problem
    return Outcome((), (Approximation(problem="kept in float", node=refusal.node, got=reason),))
