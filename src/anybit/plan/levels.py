"""levels_of, quantized_levels: the bytes of a tensor on a grid, and the step that makes them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from anybit.errors import Refusal
from anybit.exact.chain import chain_of, thresholded
from anybit.exact.numbers import Floats, Integers
from anybit.exact.thresholds import steps_of
from anybit.formats.thresholds.rows import is_open
from anybit.graph.walk import label
from anybit.ops.calls import is_call
from anybit.ops.float_quant import FLOAT_QUANT
from anybit.ops.multi_threshold import MULTI_THRESHOLD
from anybit.plan import reals
from anybit.plan.draft import BYTE_VALUES, Draft, named, source_of
from anybit.plan.epilogues import epilogue_of, float_thresholds
from anybit.plan.geometry import Layout, sample_shape
from anybit.plan.held import Held, behind, elementwise, function_of
from anybit.plan.plan import Compare, Element, PairTable, Port, Quantize, Requantize, Table, Tensor

_MOST_TABLE = 1 << 22  # bytes of a table of pairs


def quantized_levels(draft: Draft, node: ir.Node) -> Refusal | None:
    """Takes up a quantiser of integers, or thresholds: its levels are bytes, or a Clip behind it makes them so."""
    if is_call(node, FLOAT_QUANT):
        return Refusal(problem="minifloats are no levels of integers", node=label(node))
    x = node.inputs[0]
    held = draft.held_or_real(x)
    if isinstance(held, Refusal):
        return held
    if held.tensor < 0 and source_of(held) in draft.behind:
        return Refusal(problem="it quantises what is behind a part that is no plan", node=label(node))
    if is_call(node, MULTI_THRESHOLD):
        longer = behind(held, node, lambda chain: thresholded(chain, node, draft.opsets))
    else:
        longer = elementwise(held, node, 0, draft.opsets)
    if isinstance(longer, Held) and _is_clipped(draft, node):
        draft.clipped.add(node.outputs[0])
        return draft.keep(node, longer)
    found = longer if isinstance(longer, Refusal) else levels_behind(draft, node.outputs[0], node, longer)
    return draft.keep(node, found)


def _is_clipped(draft: Draft, node: ir.Node) -> bool:
    """Whether a quantiser has more levels than a byte holds, and a Clip alone reads them."""
    value = node.outputs[0]
    grid, users = draft.values[value].grid, [user for user, _ in value.uses()]
    if grid is None or grid.hi.max() - grid.lo.min() < BYTE_VALUES or value.is_graph_output() or len(users) != 1:
        return False
    return users[0].domain == "" and users[0].op_type == "Clip" and users[0].inputs[0] is value


def clipped_levels(draft: Draft, clip: ir.Node) -> Refusal | None:
    """Takes up a Clip of a tensor of `Draft.clipped`, behind which the levels of its quantiser are those of a byte."""
    held = draft.held_or_real(clip.inputs[0])
    if not isinstance(held, Refusal):
        held = elementwise(held, clip, 0, draft.opsets)
    return draft.keep(clip, held if isinstance(held, Refusal) else levels_behind(draft, clip.outputs[0], clip, held))


def levels_behind(draft: Draft, value: ir.Value, node: ir.Node, held: Held) -> Held | Refusal:
    """Makes the bytes of a tensor on a grid."""
    grid = draft.values[value].grid
    centred = None if grid is None else grid.centred()
    if grid is None or centred is None:
        return Refusal(problem="its levels are no integers", node=label(node), expected="whole zero points")
    scale = centred.scale.reshape(-1)
    if scale.size > 1 and held.channels != scale.size:
        return Refusal(problem="a scale that is not one by channel", node=label(node))
    lo, hi = int(centred.lo.min()), int(centred.hi.max())
    if hi - lo >= BYTE_VALUES:
        return Refusal(problem="more levels than a byte holds", node=label(node), got=str(hi - lo + 1))
    zero = -lo if lo < 0 or hi >= BYTE_VALUES else 0
    y = Tensor(str(value.name), held.layout.elements, Element.BYTE, zero, lo + zero, hi + zero)
    made = _step_to_bytes(draft, held, scale, y, node)
    if isinstance(made, Refusal):
        return made
    step, y = made
    index = draft.add(y)
    draft.steps.append(replace(step, y=index))
    axis = next((c.axis for c in held.chains if c.channels > 1), None) if scale.size > 1 else None
    lo, hi = (np.full(1, float(n - y.zero)) for n in (y.lo, y.hi))
    return Held((chain_of(Integers(value, axis, scale, lo, hi)),), index, held.layout)


def _step_to_bytes(draft: Draft, held: Held, scale: Any, y: Tensor, node: ir.Node) -> tuple[Any, Tensor] | Refusal:
    """The step that makes bytes of reals, of sums or of other bytes, and the bytes."""
    root, channels = held.root, held.layout.channels
    if isinstance(root, Floats):
        return _step_of_reals(draft, held, scale, y, node)
    source = draft.tensors[held.tensor]
    made, selected = function_of(held, scale, node), len(held.chains)
    if source.element is Element.BYTE:
        if (source.hi - source.lo + 1) * made.channels > _MOST_TABLE:
            return Refusal(problem="too large a table", node=label(node))
        levels = np.arange(source.lo, source.hi + 1)
        values = made((levels - source.zero).astype(np.float64)[:, None])
        if np.isnan(values).any():
            return Refusal(problem="a level of no number", node=label(node))
        table = np.full((made.channels // selected, selected, BYTE_VALUES), y.lo, np.uint8)
        stored = np.clip(values + y.zero, y.lo, y.hi).reshape(len(levels), selected, -1)
        table[:, :, source.lo : source.hi + 1] = stored.transpose(2, 1, 0)
        if held.selector is None:
            return Table(held.tensor, -1, channels, np.ascontiguousarray(table[:, 0])), y
        pairs = np.ascontiguousarray(table[:, :, : source.hi + 1])
        return PairTable(held.selector, held.tensor, -1, channels, pairs), y
    steps = steps_of(made)
    if isinstance(steps, Refusal):
        return steps
    if (
        isinstance(root, Integers)
        and not root.is_exact
        and (selected > 1 or is_open(held.chains[0], root, made, np.broadcast_to(scale, made.channels)))
    ):
        return Refusal(
            problem="float rounding before it decides between two levels",
            node=label(node),
            hint="use a scale that is a power of two, or Trunc",
        )
    epilogue = epilogue_of(steps, selected, y, channels, label(node))
    if isinstance(epilogue, Refusal):
        return epilogue
    return Requantize(held.tensor, -1, channels, epilogue, held.selector), y


def _step_of_reals(draft: Draft, held: Held, scale: Any, y: Tensor, node: ir.Node) -> tuple[Any, Tensor] | Refusal:
    """The step that makes bytes of reals: the graph's own arithmetic, or thresholds."""
    source, layout = source_of(held), held.layout
    port = _input(draft, source, layout)
    if isinstance(port, Refusal):
        return port
    found = reals.quantizer_of(held.chains[0], draft.model)
    if found is not None:
        steps, quantizer = found
        lo, hi, zero = (int(n) for n in (quantizer.lo, quantizer.hi, quantizer.zero_point))
        bytes_ = replace(y, zero=zero - lo, lo=0, hi=hi - lo)
        own, zeros = np.asarray(quantizer.scale, np.float32).reshape(-1), np.full(1, zero, np.float32)
        return Quantize(port, -1, layout.channels, layout.channels_first, steps, own, zeros, lo, hi), bytes_
    known = steps_of(function_of(held, scale, node))
    if isinstance(known, Refusal):
        return known
    lo = int(known.first.min())
    hi = int((known.first + np.isfinite(known.thresholds).sum(axis=1)).max())
    if hi - lo >= BYTE_VALUES:
        return Refusal(problem="more levels than a byte holds", node=label(node), got=str(hi - lo + 1))
    zero = -lo if lo < 0 or hi >= BYTE_VALUES else 0  # of all reals: the grid holds those alone that occur
    y = replace(y, zero=zero, lo=lo + zero, hi=hi + zero)
    base, step, thresholds = float_thresholds(known, zero)
    return Compare(port, -1, layout.channels, layout.channels_first, base, step, thresholds), y


def _input(draft: Draft, source: ir.Value, layout: Layout) -> int | Refusal:
    if source not in draft.inputs:
        shape = sample_shape(source)
        if shape is None:
            return Refusal(problem="a tensor of unknown shape", node=named(source))
        index = draft.add(Tensor(str(source.name), layout.elements, Element.REAL))
        draft.inputs[source] = Port(str(source.name), index, shape)
    return draft.inputs[source].tensor


def levels_of(draft: Draft, value: ir.Value | None) -> Held | Refusal:
    """A tensor as plain numbers, made where a function stands behind it."""
    held = None if value is None else draft.held.get(value)
    if value is None or held is None or held.tensor < 0:
        return Refusal(problem="a tensor that no integers stand for", node=named(value))
    if held.plain is not None and held.plain.bias is None:
        return held
    node = value.producer()
    if node is None:
        return Refusal(problem="nothing makes it", node=named(value))
    made = levels_behind(draft, value, node, held)
    if isinstance(made, Held):
        draft.held[value] = made
    return made
