"""Conv1dTo2d: one-dimensional convolutions, and what stands between them, as two-dimensional ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.cleanup.infer_shapes import InferShapes
from anybit.errors import Refusal
from anybit.graph.annotations import annotate_layout, annotated_layout
from anybit.graph.constants import constant, has_default, new_initializer
from anybit.graph.editor import Editor
from anybit.graph.names import Names
from anybit.graph.walk import all_nodes
from anybit.passes.layout.conv_1d_rules import Conv1dPlan, Planner, UnitAxis, connected, is_one_dimensional

_AXES_ARE_AN_INPUT = 13


@dataclass(frozen=True)
class Conv1dTo2d(ir.passes.InPlacePass):
    """Turns convolutions and pools on (N, C, L), and all between them that can follow, into ones on (N, C, 1, L).

    Before: ``h = Conv(x, w); y = Relu(h)`` with ``float[1,3,16] x, float[8,3,5] w``; after: ``x_4d = Unsqueeze(x, [2]);
    h = Conv(x_4d, w); y_4d = Relu(h); y = Squeeze(y_4d, [2])`` with ``float[8,3,1,5] w``. Quantisers, elementwise
    operators, normalisation, Concat, Split, Softmax and Pad follow, with their parameters; any other operator stays on
    (N, C, L), between Squeeze and Unsqueeze. Sums have the same terms: the result is the same in real arithmetic.

    Attributes:
        unit: Where the dimension of size 1 stands.
        keep_interface: Keep the shapes of graph inputs and outputs; else those beside the new operators get four.
    """

    unit: UnitAxis = UnitAxis.HEIGHT
    keep_interface: bool = True

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        InferShapes()(model)
        planner = Planner(self.unit)
        plans = {n: p for n in all_nodes(model.graph) if (p := planner.plan(n, model.opset_imports)) is not None}
        with Editor(model, rule="conv-1d-to-2d") as edit:
            for node in (n for n in all_nodes(model.graph) if n not in plans and is_one_dimensional(n)):
                expected = "known ranks, plain attributes, one output"
                edit.leave(node, Refusal(problem="left on three dimensions", expected=expected))
            region = connected(plans)
            if region:
                edit.touch()
                _Rewriting(model, self, {n: p for n, p in plans.items() if n in region}).rewrite()
        return edit.result()


class _Rewriting:
    """Rewrites the nodes of a region, each in its place, and bridges to what stays on three dimensions."""

    def __init__(self, model: ir.Model, options: Conv1dTo2d, plans: Mapping[ir.Node, Conv1dPlan]) -> None:
        self._graph = model.graph
        self._opset = model.opset_imports.get("", 1)
        self._options = options
        self._plans = plans
        self._names = Names.of_tensors(model)
        self._wide: dict[tuple[ir.Value, tuple[int, ...]], ir.Value] = {}
        self._axes: dict[tuple[int, ...], ir.Value] = {}

    def rewrite(self) -> None:
        made = [o for node in self._plans for o in node.outputs if o.name]
        layouts = {v: annotated_layout(v) for v in made}
        for node, plan in self._plans.items():
            for index, axes in plan.slots.items():
                value = node.inputs[index]
                if value is not None and value.producer() not in self._plans:
                    node.replace_input_with(index, self._widened(value, axes))
            node.attributes.update(plan.attributes)
            if plan.pads is not None:
                pads = new_initializer(self._graph, self._names.fresh(f"{node.outputs[0].name}_pads"), plan.pads)
                node.replace_input_with(1, pads)
        for value in made:
            self._bridge(value, layouts[value])
        if not self._options.keep_interface:
            self._widen_inputs()
        self._tidy()

    def _bridge(self, value: ir.Value, layout: tuple[str, ...] | None) -> None:
        """Makes the tensor one of four dimensions; what stays on three reads a Squeeze of it."""
        flat = None if value.shape is None else value.shape.copy()
        outside = [(n, i) for n, i in value.uses() if n not in self._plans or i not in self._plans[n].slots]
        is_output = value.is_graph_output() and (self._options.keep_interface or value.graph is not self._graph)
        producer = value.producer()
        if (outside or is_output) and producer is not None:
            squeezed = self._reshaping("Squeeze", value, (self._options.unit.value,), flat)
            producer.append(_producer(squeezed))
            _redirect(value, squeezed, outside, outputs=is_output)
            if not value.is_graph_output():
                wide = self._names.fresh(f"{value.name}_4d")
                squeezed.name, value.name = value.name, wide
        value.shape = self._widened_shape(flat, (self._options.unit.value,))
        if layout is not None:
            unit = "H" if self._options.unit is UnitAxis.HEIGHT else "W"
            place = self._options.unit.value
            annotate_layout(value, (*layout[:place], unit, *layout[place:]) if len(layout) == 3 else None)

    def _widened(self, value: ir.Value, axes: tuple[int, ...]) -> ir.Value:
        key = (value, axes)
        if key not in self._wide:
            array = constant(value)
            self._wide[key] = self._unsqueezed(value, axes) if array is None else self._constant(value, array, axes)
        return self._wide[key]

    def _constant(self, value: ir.Value, array: Array, axes: tuple[int, ...]) -> ir.Value:
        name = self._names.fresh(f"{value.name}_4d")
        wide = new_initializer(self._graph, name, np.expand_dims(array, axes))
        wide.meta.update(value.meta)
        annotate_layout(wide, None)
        return wide

    def _unsqueezed(self, value: ir.Value, axes: tuple[int, ...]) -> ir.Value:
        wide = self._reshaping("Unsqueeze", value, axes, self._widened_shape(value.shape, axes))
        annotate_layout(wide, None)
        producer, graph = value.producer(), value.graph
        if producer is not None:
            producer.append(_producer(wide))
        elif graph is not None:
            graph.insert_before(graph[0], _producer(wide))
        return wide

    def _reshaping(self, op_type: str, value: ir.Value, axes: tuple[int, ...], shape: ir.Shape | None) -> ir.Value:
        if self._opset < _AXES_ARE_AN_INPUT:
            node = ir.node(op_type, [value], {"axes": axes})
        else:
            if axes not in self._axes:
                name = self._names.fresh(f"axes_{'_'.join(map(str, axes))}")
                self._axes[axes] = new_initializer(self._graph, name, np.array(axes, np.int64))
            node = ir.node(op_type, [value, self._axes[axes]])
        made = node.outputs[0]
        made.name = self._names.fresh(f"{value.name}_{'4d' if op_type == 'Unsqueeze' else '3d'}")
        node.name = f"{op_type}_{made.name}"
        made.type, made.shape = value.type, shape
        made.meta.update(value.meta)
        return made

    def _widened_shape(self, shape: ir.Shape | None, axes: tuple[int, ...]) -> ir.Shape | None:
        if shape is None:
            return None
        dimensions = list(shape)
        for axis in axes:
            dimensions.insert(axis, 1)
        return ir.Shape(dimensions)

    def _widen_inputs(self) -> None:
        """Graph inputs that were unsqueezed get four dimensions themselves; other uses read a Squeeze."""
        for (value, axes), wide in list(self._wide.items()):
            if value.graph is not self._graph or not value.is_graph_input() or has_default(value) or len(axes) > 1:
                continue
            node = _producer(wide)
            others = [(n, i) for n, i in value.uses() if n is not node]
            if others or value.is_graph_output():
                flat = self._reshaping("Squeeze", value, axes, value.shape)
                node.append(_producer(flat))
                _redirect(value, flat, others, outputs=value.is_graph_output())
            value.shape = wide.shape
            annotate_layout(value, None)
            wide.replace_all_uses_with(value)
            self._graph.remove(node, safe=True)

    def _tidy(self) -> None:
        """Drops constants that nothing reads any more; those in their place get their names."""
        for (value, _), wide in self._wide.items():
            if value.is_initializer() and wide.is_initializer() and not value.uses() and not value.is_graph_output():
                name = str(value.name)
                self._graph.initializers.pop(name, None)
                wide.name = name


def _producer(value: ir.Value) -> ir.Node:
    node = value.producer()
    if node is None:
        raise ValueError(f"'{value.name}' is made by no node")
    return node


def _redirect(old: ir.Value, new: ir.Value, uses: Sequence[tuple[ir.Node, int]], *, outputs: bool) -> None:
    for node, index in uses:
        node.replace_input_with(index, new)
    graph = old.graph
    if not outputs or graph is None:
        return
    for place in [i for i, value in enumerate(graph.outputs) if value is old]:
        graph.outputs[place] = new
