"""Rewriting: the nodes of a region get their channels last, each in its place, and bridges lead to what stays."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from anybit.graph.annotations import annotate_layout, annotated_layout
from anybit.graph.bypass import bypass
from anybit.graph.constants import constant, fed_inputs
from anybit.graph.editor import Editor
from anybit.graph.walk import shape_of
from anybit.ops.channels_last.layout import to_first, to_last
from anybit.passes.layout.channels_last.axes import composed
from anybit.passes.layout.channels_last.plan import LayoutPlan, rank_of

_AXES_ARE_AN_INPUT = 13  # of Unsqueeze


class Rewriting:
    """One rewriting of a region.

    Args:
        edit: What adds nodes and constants.
        plans: How each node of the region follows.
        keep_input: Keep the shapes of graph inputs.
        keep_output: Keep the shapes of graph outputs.
    """

    def __init__(
        self, edit: Editor, plans: Mapping[ir.Node, LayoutPlan], *, keep_input: bool, keep_output: bool
    ) -> None:
        self._edit = edit
        self._plans = plans
        self._keep_input = keep_input
        self._keep_output = keep_output
        self._made = {o for n, p in plans.items() if p.follows for o in n.outputs}
        self._last: dict[tuple[ir.Value, int], ir.Value] = {}

    def rewrite(self) -> None:
        """Rewrites the nodes, then the graph's interface, then drops Transposes that do nothing."""
        for node, plan in self._plans.items():
            self._change(node, plan)
        # Every node is changed by now: orders of axes can be composed whatever the order of the nodes.
        for value in [o for n in self._plans for o in n.outputs if o in self._made]:
            self._bridge(value)
        for node, plan in self._plans.items():
            for index in plan.operands:
                self._convert_operand(node, index, plan.rank)
        if not self._keep_input:
            self._turn_inputs()
        for node in self._plans:
            perm = node.attributes.get_ints("perm") if node.op_type == "Transpose" else None
            if perm is not None and list(perm) == sorted(perm):
                bypass(node)

    def _change(self, node: ir.Node, plan: LayoutPlan) -> None:
        self._edit.touch()
        for name in plan.dropped:
            node.attributes.pop(name, None)
        node.attributes.update(plan.attributes)
        node.op_type, node.domain = plan.op_type or node.op_type, plan.domain or node.domain
        for index, array in plan.constants.items():
            if index >= len(node.inputs):
                node.resize_inputs(index + 1)
            self._edit.rewire(node, index, self._edit.constant(f"{node.outputs[0].name}/input_{index}", array))

    def _is_inside(self, value: ir.Value, node: ir.Node, index: int) -> bool:
        plan = self._plans.get(node)
        return plan is not None and index in plan.operands and plan.rank == rank_of(value)

    def _bridge(self, value: ir.Value) -> None:
        """Puts the tensor's channels last; what stays as it is reads a Transpose of it."""
        outside = [(n, i) for n, i in value.uses() if not self._is_inside(value, n, i)]
        graph, producer = self._edit.model.graph, value.producer()
        exposed = value.is_graph_output() and (self._keep_output or value not in graph.outputs)
        if producer is not None and (outside or exposed):
            first = self._first(value, outside, exposed=exposed)
            self._edit.insert(first, after=producer)
        _turn(value)

    def _first(self, value: ir.Value, outside: list[tuple[ir.Node, int]], *, exposed: bool) -> ir.Node:
        """A Transpose back to channels first, for these uses and for the graph's outputs."""
        rank = rank_of(value) or 0
        node = self._transpose(value, to_first(rank), f"{value.name}/channels_first")
        first = node.outputs[0]
        first.shape = None if value.shape is None else value.shape.copy()
        first.meta.update(value.meta)
        for user, index in outside:
            user.replace_input_with(index, first)
        if exposed:
            outputs = self._edit.model.graph.outputs
            for place in [i for i, v in enumerate(outputs) if v is value]:
                outputs[place] = first
            first.name, value.name = value.name, self._edit.name(f"{value.name}/channels_last")
        return node

    def _convert_operand(self, node: ir.Node, index: int, rank: int) -> None:
        value = node.inputs[index]
        if value is None or (value in self._made and rank_of(value) == rank):
            return
        shape = shape_of(value)
        if shape is not None and all(n == 1 for n in shape):
            return  # one number, wherever its axes stand
        key = (value, rank)
        if key not in self._last:
            self._last[key] = self._converted(value, rank)
        self._edit.rewire(node, index, self._last[key])

    def _converted(self, value: ir.Value, rank: int) -> ir.Value:
        """A tensor that stays as it is, with channels last, for all nodes of the region that read it."""
        array, name = constant(value), f"{value.name}/channels_last"
        if array is not None:
            full = array.reshape((1,) * (rank - array.ndim) + array.shape)
            made = self._edit.constant(name, np.ascontiguousarray(full.transpose(to_last(rank))), like=value)
            annotate_layout(made, None)
            return made
        missing = rank - (rank_of(value) or 0)
        maker = value.producer()
        if missing:
            node = self._unsqueeze(value, missing)
            self._insert(node, value)
            return self._behind(node.outputs[0], to_last(rank), name)
        perm = None if maker is None or maker.domain != "" else _perm(maker, rank)
        if maker is None or perm is None or maker.inputs[0] is None:
            return self._behind(value, to_last(rank), name)
        order = composed(perm, to_last(rank))
        source = maker.inputs[0]
        return source if order == tuple(range(rank)) else self._behind(source, order, name)

    def _behind(self, value: ir.Value, perm: tuple[int, ...], name: str) -> ir.Value:
        node = self._transpose(value, perm, name)
        self._insert(node, value)
        return node.outputs[0]

    def _insert(self, node: ir.Node, source: ir.Value) -> None:
        producer, graph = source.producer(), self._edit.model.graph
        if producer is None:
            graph.insert_before(graph[0], node)
        else:
            self._edit.insert(node, after=producer)

    def _transpose(self, value: ir.Value, perm: tuple[int, ...], name: str) -> ir.Node:
        node = self._edit.node("Transpose", [value], name, attributes={"perm": ir.AttrInt64s("perm", list(perm))})
        node.outputs[0].type = value.type
        node.outputs[0].shape = None if value.shape is None else ir.Shape([value.shape[a] for a in perm])
        return node

    def _unsqueeze(self, value: ir.Value, count: int) -> ir.Node:
        name, axes = f"{value.name}/unsqueezed", list(range(count))
        if self._edit.model.opset_imports.get("", 1) < _AXES_ARE_AN_INPUT:
            node = self._edit.node("Unsqueeze", [value], name, attributes={"axes": ir.AttrInt64s("axes", axes)})
        else:
            constant_axes = self._edit.constant(f"{name}/axes", np.array(axes, np.int64))
            node = self._edit.node("Unsqueeze", [value, constant_axes], name)
        node.outputs[0].type = value.type
        node.outputs[0].shape = None if value.shape is None else ir.Shape([*(1 for _ in axes), *value.shape])
        return node

    def _turn_inputs(self) -> None:
        """Graph inputs that were transposed get their channels last themselves; other uses read a Transpose back."""
        for (value, rank), last in self._last.items():
            node = last.producer()
            is_turned = rank_of(value) == rank and value in fed_inputs(self._edit.model.graph)
            if node is None or not is_turned:
                continue
            outside = [(n, i) for n, i in value.uses() if n is not node]
            if outside or value.is_graph_output():
                self._insert(self._first(value, outside, exposed=value.is_graph_output()), value)
            _turn(value)
            last.replace_all_uses_with(value)
            self._edit.discard(last)


def _perm(node: ir.Node, rank: int) -> tuple[int, ...] | None:
    """The order of axes of a Transpose, None for any other node."""
    if node.op_type != "Transpose":
        return None
    perm = tuple(node.attributes.get_ints("perm", tuple(range(rank))[::-1]))
    return perm if sorted(perm) == list(range(rank)) else None


def _turn(value: ir.Value) -> None:
    """States the shape and the layout that the tensor has with its channels last."""
    order = to_last(rank_of(value) or 0)
    layout = annotated_layout(value)
    if value.shape is not None:
        value.shape = ir.Shape([value.shape[a] for a in order])
    if layout is not None:
        annotate_layout(value, tuple(layout[a] for a in order) if len(layout) == len(order) else None)
