"""ToChannelsLast: whole graphs on (N, spatial..., C) in place of (N, C, spatial...)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from anybit.cleanup.infer_shapes import InferShapes
from anybit.errors import Refusal
from anybit.graph.editor import Editor
from anybit.ops.calls import traits_of
from anybit.ops.channels_last.layout import DOMAIN
from anybit.passes.layout.channels_last.axes import RULES
from anybit.passes.layout.channels_last.feature_order import Absorption, absorb, is_flatten, permute
from anybit.passes.layout.channels_last.plan import (
    LAYOUTS,
    Domain,
    LayoutPlan,
    plan_elementwise,
    plan_ours,
    rank_of,
)
from anybit.passes.layout.channels_last.region import Rewriting
from anybit.passes.layout.channels_last.windows import ANCHORS, EXPRESSED, LEFT
from anybit.passes.types.annotate_layouts import AnnotateLayouts


@dataclass(frozen=True)
class ToChannelsLast(ir.passes.InPlacePass):
    """Puts the channels of convolutions, pools and all between them last.

    Before: ``h = Conv(x, w); r = Relu(h); y = MatMul(Flatten(r), v)`` with ``float[1,3,8,8] x, float[4,3,1,1] w``;
    after: ``t = Transpose(x, [0,2,3,1]); h = channels_last.Conv(t, w'); r = Relu(h); y = MatMul(Flatten(r), v')`` with
    ``float[4,1,1,3] w'`` and the rows of v in the order of the new features. Elementwise operators, quantisers,
    MultiThreshold, normalisation, Concat, Split, Slice, Pad, Resize, Softmax, reductions, forks and residuals follow,
    their parameters laid out alike; Transposes of the model melt with those that this needs. What cannot follow stays
    as it is, between two Transposes; subgraphs are left alone. Elements are the same bit for bit, sums along
    channels or positions have the same terms.

    Attributes:
        domain: What stands for convolutions, pools and normalisation.
        keep_input: Keep the shapes of graph inputs, a Transpose behind them; else they get their channels last.
        keep_output: Keep the shapes of graph outputs, likewise.
        annotate: Name the axes of all tensors in the file, as `AnnotateLayouts` does; else those named already change.
    """

    domain: Domain = Domain.CHANNELS_LAST
    keep_input: bool = True
    keep_output: bool = True
    annotate: bool = False

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        InferShapes()(model)
        named = self.annotate and AnnotateLayouts()(model).modified
        with Editor(model, rule="to-channels-last") as edit:
            if named:
                edit.touch()
            plans = {n: p for n in model.graph if (p := self._plan(n, model.opset_imports)) is not None}
            connected = _connected(plans, self._seeds(model, plans))
            region = {n: p for n, p in plans.items() if n in connected}
            for node in model.graph:
                if region and node not in region and _is_left(node, self.domain):
                    edit.leave(node, Refusal(problem="its channels stay the second axis", got=node.op_type))
            region |= _flattened(edit, region)
            if region:
                rewriting = Rewriting(edit, region, keep_input=self.keep_input, keep_output=self.keep_output)
                rewriting.rewrite()
            if any(p.domain == DOMAIN for p in region.values()):
                model.opset_imports.setdefault(DOMAIN, model.opset_imports[""])
        if self.annotate:
            AnnotateLayouts()(model)
        return edit.result()

    def _plan(self, node: ir.Node, opsets: Mapping[str, int]) -> LayoutPlan | None:
        if not node.outputs or any(a.is_ref() for a in node.attributes.values()):
            return None
        rule = RULES.get(node.op_type) or EXPRESSED.get(node.op_type)
        if self.domain is Domain.CHANNELS_LAST:
            rule = rule or ANCHORS.get(node.op_type)
        if traits_of(node, opsets).elementwise:
            plan = plan_elementwise(node, opsets)
        elif node.domain == "":
            plan = None if rule is None or node.inputs[0] is None else rule(node, opsets.get("", 1))
        else:
            plan = plan_ours(node, opsets)
        if plan is None or plan.rank not in LAYOUTS or any(rank_of(node.inputs[i]) is None for i in plan.operands):
            return None
        return plan if not plan.follows or all(rank_of(o) in LAYOUTS for o in node.outputs if o.name) else None

    def _seeds(self, model: ir.Model, plans: Mapping[ir.Node, LayoutPlan]) -> Iterator[ir.Node]:
        """Where the region starts: at the operators of the domain, else beside the standard ones."""
        if self.domain is Domain.CHANNELS_LAST:
            yield from (n for n, p in plans.items() if p.domain == DOMAIN)
            return
        for node in (n for n in model.graph if n.domain == "" and n.op_type in ANCHORS):
            source = None if node.inputs[0] is None else node.inputs[0].producer()
            if source is not None and source in plans and plans[source].follows:
                yield source
            yield from (user for user, index in node.outputs[0].uses() if index in _operands(plans, user))


def _operands(plans: Mapping[ir.Node, LayoutPlan], node: ir.Node) -> Sequence[int]:
    return plans[node].operands if node in plans else ()


def _connected(plans: Mapping[ir.Node, LayoutPlan], seeds: Iterator[ir.Node]) -> set[ir.Node]:
    """The seeds, and what is connected with them by tensors whose channels come last."""
    pending, region, seen = list(seeds), set[ir.Node](), set[ir.Value]()
    while pending:
        node = pending.pop()
        if node in region:
            continue
        region.add(node)
        for value in _linking(node, plans[node]):
            if value not in seen:
                seen.add(value)
                pending += _neighbours(value, plans)
    return region


def _linking(node: ir.Node, plan: LayoutPlan) -> list[ir.Value]:
    inputs = [v for i in plan.operands if (v := node.inputs[i]) is not None and rank_of(v) == plan.rank]
    return [*inputs, *(node.outputs if plan.follows else ())]


def _neighbours(value: ir.Value, plans: Mapping[ir.Node, LayoutPlan]) -> Iterator[ir.Node]:
    """Who makes the tensor and who reads it, where it is made with its channels last."""
    producer = value.producer()
    if producer is None or producer not in plans or not plans[producer].follows:
        return
    yield producer
    yield from (n for n, i in value.uses() if i in _operands(plans, n) and plans[n].rank == rank_of(value))


def _is_left(node: ir.Node, domain: Domain) -> bool:
    if node.domain != "" or rank_of(node.outputs[0]) not in LAYOUTS:
        return False
    return node.op_type in LEFT or (domain is Domain.CHANNELS_LAST and node.op_type in ANCHORS)


def _flattened(edit: Editor, region: Mapping[ir.Node, LayoutPlan]) -> dict[ir.Node, LayoutPlan]:
    """The Flattens behind the region whose users take the features in their new order; those are given it."""
    opsets, found = edit.model.opset_imports, dict[ir.Node, LayoutPlan]()
    made = [o for n, p in region.items() if p.follows for o in n.outputs]
    for value in made:
        for node, index in value.uses():
            if index != 0 or node.graph is not edit.model.graph or not is_flatten(node):
                continue
            result = absorb(node, opsets)
            if isinstance(result, Absorption):
                permute(edit, result, opsets)
                found[node] = LayoutPlan(rank=rank_of(value) or 0, follows=False)
            else:
                edit.leave(node, result)
    return found
