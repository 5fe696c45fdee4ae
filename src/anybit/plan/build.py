"""plan_of: the integer plan of a model, from its layers and the step functions behind them."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from anybit.analysis.values.interpreter import values_of
from anybit.arguments import checked
from anybit.cleanup.set_batch import SetBatch
from anybit.errors import Refusal, UnsupportedError
from anybit.exact.integer_layers import PRODUCTS
from anybit.exact.monotone import is_elementwise
from anybit.formats.convert import to_hub
from anybit.formats.thresholds.moves import MOVES
from anybit.graph.walk import label, reads
from anybit.io.load import ModelSource
from anybit.ops.calls import is_call, traits_of
from anybit.ops.multi_threshold import MULTI_THRESHOLD
from anybit.ops.registry import QUANTIZERS
from anybit.plan.draft import Draft, source_of
from anybit.plan.finish import finished
from anybit.plan.geometry import multiplications, sample_shape
from anybit.plan.held import Held, elementwise, paired
from anybit.plan.levels import clipped_levels, levels_of, quantized_levels
from anybit.plan.movement import MAXIMA, concat, max_pool, move
from anybit.plan.plan import Element, Plan, Product
from anybit.plan.ports import expose_outputs
from anybit.plan.sums import AVERAGES, average, product

_NOT_ALL = "too little of the model is carried by integers of a byte"

_RULES: dict[str, Callable[[Draft, ir.Node], Refusal | None]] = {
    **dict.fromkeys(PRODUCTS, product),
    **dict.fromkeys(MOVES, move),
    **dict.fromkeys(AVERAGES, average),
    **dict.fromkeys(MAXIMA, max_pool),
    "Concat": concat,
}
"""How the operators are taken up that are not computed element by element."""


@checked
def plan_of(model: ModelSource) -> Plan:
    """The integer plan of a model: of all of it, or of the part between a float head and a float tail.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``, in any dialect that is read.

    Raises:
        UnsupportedError: No layer of it is carried by integers of 8 bits or less.
    """
    hub, _ = to_hub(model)
    SetBatch("batch")(hub)
    return plan_of_prepared(hub)


def plan_of_prepared(model: ir.Model, *, least: float = 0.0) -> Plan:
    """The same for a hub model without model-local functions whose shapes are known and whose batch is free.

    Args:
        model: The model.
        least: Share of its multiplications that the plan must have; the search ends where it cannot have so many.

    Raises:
        UnsupportedError: As `plan_of`; or the plan has fewer.
    """
    spare = (1 - least) * sum(map(multiplications, model.graph))
    if least:
        _require_steps(model, spare)
    draft = Draft(model, values_of(model))
    _walk(draft, spare)
    expose_outputs(draft)
    return _plan(draft)


def _require_steps(model: ir.Model, spare: float) -> None:
    """Refuses a model that no plan can carry, as its operators tell before anything is known of its values.

    An operator that is no step of a plan ends it: what is behind belongs to the float tail, unless no quantiser is in
    front, where it belongs to the float head.
    """
    known = PRODUCTS | MOVES | AVERAGES | MAXIMA | {"Concat", "Softmax"}
    varying: set[ir.Value] = set(model.graph.inputs)
    quantized: set[ir.Value] = set()
    left: set[ir.Value] = set()
    for node in model.graph:
        read = tuple(reads(node))
        if varying.isdisjoint(read):
            continue
        varying.update(node.outputs)
        is_carried = node.domain != "" or node.op_type in known or _is_elementwise(node, varying, model.opset_imports)
        if not left.isdisjoint(read) or (not is_carried and not quantized.isdisjoint(read)):
            left.update(node.outputs)
            spare -= multiplications(node)
        if spare < 0:
            raise UnsupportedError(_NOT_ALL, node=label(node), got=node.op_type)
        if is_call(node, *QUANTIZERS, MULTI_THRESHOLD) or not quantized.isdisjoint(read):
            quantized.update(node.outputs)


def _is_elementwise(node: ir.Node, varying: set[ir.Value], opset_imports: dict[str, int]) -> bool:
    positions = [i for i, v in enumerate(node.inputs) if v in varying]
    if len(positions) == 2:
        return not _broadcasts(node)
    return len(positions) == 1 and is_elementwise(node, positions[0], opset_imports)


def _broadcasts(node: ir.Node) -> bool:
    """Whether the first two inputs, both of which vary, are of different shapes."""
    first, second = node.inputs[:2]
    return first is None or second is None or sample_shape(first) != sample_shape(second)


def _walk(draft: Draft, spare: float) -> None:
    """Follows every node that depends on an input; so many multiplications may be left to the float parts."""
    for node in draft.model.graph:
        if draft.varying.isdisjoint(reads(node)):
            continue
        draft.varying.update(node.outputs)
        found = _node(draft, node)
        if found is None:
            continue
        spare -= multiplications(node)
        if spare < 0:
            raise UnsupportedError(_NOT_ALL, got=str(found))
        _leave(draft, node, found)


def _leave(draft: Draft, node: ir.Node, refusal: Refusal) -> None:
    """Leaves a node to the float part; what is behind integers as well cannot be an input of the plan."""
    draft.refusals[node] = refusal
    if any(v in draft.behind or draft.is_integer(v) for v in reads(node)):
        draft.behind.update(node.outputs)


def _node(draft: Draft, node: ir.Node) -> Refusal | None:
    if any(o in draft.told for o in node.outputs):
        return Refusal(problem="its zeros are told apart by their sign", node=label(node))
    if is_call(node, *QUANTIZERS, MULTI_THRESHOLD):
        return quantized_levels(draft, node)
    if node.domain != "":
        return Refusal(problem="no step of a plan", node=label(node), got=f"{node.domain}::{node.op_type}")
    if node.op_type == "Clip" and node.inputs[0] in draft.clipped:
        return clipped_levels(draft, node)
    return _RULES.get(node.op_type, _elementwise)(draft, node)


def _elementwise(draft: Draft, node: ir.Node) -> Refusal | None:
    """Takes up an operator that works element by element: the function that stands for its output grows by it."""
    positions = [i for i, v in enumerate(node.inputs) if v is not None and v in draft.varying]
    if len(positions) == 2 and len(node.inputs) == 2 and traits_of(node, draft.opsets).broadcasting:
        return _pair(draft, node)
    if len(positions) != 1 or len(node.outputs) != 1:
        return Refusal(problem="no step of a plan", node=label(node), got=node.op_type)
    held = draft.held_or_real(node.inputs[positions[0]])
    found = held if isinstance(held, Refusal) else elementwise(held, node, positions[0], draft.opsets)
    return draft.keep(node, found)


def _pair(draft: Draft, node: ir.Node) -> Refusal | None:
    """Takes up an operator of two tensors: the levels of one select the function of the other."""
    first, second = node.inputs
    if first is None or second is None or _broadcasts(node):
        return Refusal(problem="it broadcasts one of two tensors", node=label(node))
    for positions in ((0, 1), (1, 0)):
        selector, numbers = (draft.held.get(v) for v in (node.inputs[i] for i in positions) if v is not None)
        if selector is None or numbers is None or numbers.tensor < 0 or numbers.selector is not None:
            continue
        levels = levels_of(draft, node.inputs[positions[0]])
        if isinstance(levels, Held) and draft.tensors[levels.tensor].element is Element.BYTE:
            byte = draft.tensors[levels.tensor]
            numbers = draft.relaid(numbers, levels.layout, node)
            if isinstance(numbers, Refusal):
                return numbers
            found = paired(levels, numbers, node, positions, byte.hi + 1, byte.zero, draft.opsets)
            return draft.keep(node, found)
    return Refusal(problem="neither of two tensors is one of levels", node=label(node), hint="quantise one of them")


def _plan(draft: Draft) -> Plan:
    """The plan, once everything that is read is real.

    Raises:
        UnsupportedError: There is no layer in it.
    """
    left = tuple(draft.refusals.values())
    nodes = tuple(label(n) for n in draft.model.graph if n not in draft.refusals and _covers(draft, n))
    order = {value: i for i, value in enumerate(draft.model.graph.outputs)}
    outputs = sorted(draft.outputs, key=lambda v: order.get(v, len(order)))
    plan = Plan(
        tuple(draft.tensors),
        tuple(draft.steps),
        tuple(draft.inputs.values()),
        tuple(draft.outputs[v] for v in outputs),
        0,
        nodes,
        left,
    )
    made = finished(plan)
    if not any(isinstance(step, Product) for step in made.steps):
        reason = next((r for n, r in draft.refusals.items() if n.op_type in PRODUCTS), None)
        raise UnsupportedError(
            "no layer of the model is carried by integers of a byte", got=str(reason or "no product of levels")
        )
    return made


def _covers(draft: Draft, node: ir.Node) -> bool:
    if any(v in draft.outputs for v in node.outputs):
        return True
    held = [draft.held[v] for v in node.outputs if v in draft.held]
    return any(h.tensor >= 0 or source_of(h) in draft.inputs for h in held)
