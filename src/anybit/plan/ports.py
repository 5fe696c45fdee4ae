"""expose_outputs: the steps that make real numbers of what the rest of a model reads, or its callers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from anybit.errors import Refusal
from anybit.exact.numbers import Integers
from anybit.graph.walk import reads
from anybit.plan import reals
from anybit.plan.draft import BYTE_VALUES, Draft, named
from anybit.plan.geometry import sample_shape
from anybit.plan.held import Held
from anybit.plan.levels import levels_of
from anybit.plan.plan import Dequantize, Element, LookUp, Port, Softmax, Tensor

_MOST_NUMBERS = 1 << 20  # of a table of reals
_SOFTMAX_BY_AXIS = 13  # version from which on it is over one axis


def expose_outputs(draft: Draft) -> None:
    """Gives out the tensors that the rest of the model reads, or its callers."""
    for value in draft.model.graph.outputs:
        if draft.is_integer(value):
            _expose(draft, value)
    for node in draft.model.graph:
        if node in draft.refusals:
            _expose_inputs(draft, node)
    for node in tuple(draft.refusals):
        if node.domain == "" and node.op_type == "Softmax":
            _softmax(draft, node)


def _softmax(draft: Draft, node: ir.Node) -> None:
    """Takes up a Softmax over the last axis of what the plan makes: most classifiers end with one."""
    x, y = node.inputs[0], node.outputs[0]
    port = None if x is None else draft.outputs.get(x)
    if x is None or port is None or not _is_over_last(node, len(port.shape) + 1, draft.opsets):
        return
    index = draft.add(Tensor(str(y.name), int(np.prod(port.shape)), Element.REAL))
    draft.steps.append(Softmax(port.tensor, index, port.shape[-1]))
    draft.outputs[y] = Port(str(y.name), index, port.shape)
    del draft.refusals[node]
    if {user for user, _ in x.uses()} == {node} and not x.is_graph_output():
        del draft.outputs[x]


def _expose_inputs(draft: Draft, node: ir.Node) -> None:
    for value in dict.fromkeys(reads(node)):
        if draft.is_integer(value) and value not in draft.outputs:
            _expose(draft, value)


def _expose(draft: Draft, value: ir.Value) -> None:
    """Makes a tensor real; where it cannot be, its own node is left to the float part."""
    held, node = draft.held[value], value.producer()
    step = _real(draft, value, held)
    if isinstance(step, Refusal) and node is not None:
        draft.refusals[node] = step
        _expose_inputs(draft, node)
    elif not isinstance(step, Refusal):
        shape = sample_shape(value) or ()
        index = draft.add(Tensor(str(value.name), held.layout.elements, Element.REAL))
        draft.steps.append(replace(step, y=index))
        draft.outputs[value] = Port(str(value.name), index, shape)


def _real(draft: Draft, value: ir.Value, held: Held) -> Dequantize | LookUp | Refusal:
    layout, refusal = held.layout, Refusal(problem="no step makes it real", node=named(value))
    if held.selector is not None:
        made = levels_of(draft, value)
        if isinstance(made, Refusal):
            return refusal
        held = made
    chain, source, root = held.chains[0], draft.tensors[held.tensor], held.root
    if not isinstance(root, Integers):
        return refusal
    steps = reals.arithmetic_of(chain.steps)
    wide = source.element is Element.SUM or chain.channels * BYTE_VALUES > _MOST_NUMBERS
    if steps is not None and wide:
        scale, bias = root.scale.reshape(-1), np.zeros(1) if root.bias is None else root.bias.reshape(-1)
        return Dequantize(
            held.tensor, -1, layout.channels, layout.channels_first, scale, float(root.divisor), bias, steps
        )
    if (source.hi - source.lo + 1) * chain.channels > _MOST_NUMBERS:
        return refusal
    numbers = np.arange(source.lo, source.hi + 1, dtype=np.float64) - source.zero
    table = np.ascontiguousarray(np.broadcast_to(chain(root.reals(numbers[:, None])), (len(numbers), chain.channels)).T)
    return LookUp(held.tensor, -1, layout.channels, layout.channels_first, source.lo, table.astype(np.float32))


def _is_over_last(node: ir.Node, rank: int, opsets: Mapping[str, int]) -> bool:
    """Whether a Softmax is one over each row; before version 13 it is over all axes from its own on."""
    axis = node.attributes.get_int("axis", 1 if opsets.get("", 1) < _SOFTMAX_BY_AXIS else -1)
    return rank > 1 and axis % rank == rank - 1
