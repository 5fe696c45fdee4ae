"""move, max_pool, concat: the steps that choose among numbers and move them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from anybit.errors import Refusal
from anybit.exact.chain import Chain, chain_of, is_private
from anybit.exact.numbers import Integers
from anybit.formats.thresholds import moves
from anybit.graph.attributes import values_of_attributes
from anybit.graph.walk import label
from anybit.plan.draft import BYTE_VALUES, Draft, source_of
from anybit.plan.geometry import Layout, layout_of, moved_index, sample_shape, window_of
from anybit.plan.held import Held
from anybit.plan.levels import levels_of
from anybit.plan.plan import Element, Join, Pool, PoolKind, Tensor

MAXIMA = frozenset(("MaxPool", "GlobalMaxPool"))


def max_pool(draft: Draft, node: ir.Node) -> Refusal | None:
    """Takes up MaxPool and GlobalMaxPool: of numbers where the function behind them rises, else of its levels."""
    x = node.inputs[0]
    held = None if x is None else draft.held.get(x)
    if x is None or held is None or held.tensor < 0 or len(node.outputs) > 1:
        return Refusal(problem="the largest of what no integers stand for", node=label(node))
    chain = held.chains[0]
    if held.selector is not None or chain.rising is None or (chain.rising < 0).any():
        made = levels_of(draft, x)
        if isinstance(made, Refusal):
            return made
        held = made
    root, shape = held.chains[0].root, sample_shape(node.outputs[0])
    attributes = values_of_attributes(node)
    kernel = held.layout.shape[1:] if node.op_type == "GlobalMaxPool" else attributes["kernel_shape"]
    window = window_of(node, held.layout.shape, kernel, attributes)
    laid = draft.relaid(held, Layout(held.layout.shape, channels_last=True), node)
    if isinstance(window, Refusal):
        return window
    if isinstance(laid, Refusal):
        return laid
    if shape is None or not isinstance(root, Integers):
        return Refusal(problem="a tensor of unknown shape", node=label(node))
    layout = Layout(shape, channels_last=True)
    source = draft.tensors[laid.tensor]
    y = draft.add(replace(source, name=str(node.outputs[0].name), elements=layout.elements))
    draft.steps.append(Pool(laid.tensor, y, PoolKind.MAX, layout.channels, window))
    pooled = replace(held.chains[0], root=replace(root, value=node.outputs[0], mac=None), private=True)
    draft.held[node.outputs[0]] = Held((pooled,), y, layout)
    return None


def move(draft: Draft, node: ir.Node) -> Refusal | None:
    """Takes up an operator that moves elements, of numbers or of reals that stay where they are in memory."""
    x = node.inputs[0]
    held = draft.held_or_real(x)
    if isinstance(held, Refusal):
        return held
    if x is None or any(v in draft.varying for v in node.inputs[1:] if v is not None):
        return Refusal(problem="no step of a plan", node=label(node))
    if held.tensor < 0:
        return _moved_reals(draft, node, held)
    found = levels_of(draft, x) if held.selector is not None or node.op_type == "Pad" else held
    return found if isinstance(found, Refusal) else _moved_numbers(draft, node, found)


def _moved_numbers(draft: Draft, node: ir.Node, held: Held) -> Refusal | None:
    chain = held.chains[0]
    for index, output in enumerate(node.outputs):
        layout = layout_of(output)
        if layout is None:
            return Refusal(problem="a tensor of unknown shape, or an empty one", node=label(node))
        moved = _moved_chain(draft, node, chain, output)
        if isinstance(moved, Refusal):
            return moved
        found = moved_index(node, index, held.layout, layout, draft.opsets)
        if isinstance(found, Refusal):
            return found
        behind_it = Held((moved,), draft.gathered(held.tensor, found, str(output.name)), layout)
        if not behind_it.is_aligned:
            return Refusal(problem="it moves channels away from their axis", node=label(node))
        draft.held[output] = behind_it
    return None


def _moved_reals(draft: Draft, node: ir.Node, held: Held) -> Refusal | None:
    """Real numbers that keep their order in memory are read as they lie."""
    output, chain = node.outputs[0], held.chains[0]
    layout = layout_of(output)
    refusal = Refusal(problem="it moves real numbers", node=label(node), got=str(source_of(held).name))
    if layout is None or len(node.outputs) > 1 or chain.channels > 1 or layout.elements != held.layout.elements:
        return refusal
    before, after = (Layout(part.shape, channels_last=False) for part in (held.layout, layout))
    index = moved_index(node, 0, before, after, draft.opsets)
    if isinstance(index, Refusal) or (index != np.arange(len(index))).any():
        return refusal
    draft.held[output] = Held((replace(chain, axis=None),), -1, layout)
    return None


def _moved_chain(draft: Draft, node: ir.Node, chain: Chain, output: ir.Value) -> Chain | Refusal:
    root = chain.root
    if not isinstance(root, Integers):
        return Refusal(problem="it moves real numbers", node=label(node))
    if chain.channels == 1 and root.axis is None:
        return replace(chain, root=replace(root, value=output, mac=None))
    place = moves.map_of(node, chain.axis, chain.channels, draft.opsets)
    if isinstance(place, Refusal):
        return place
    x = node.inputs[0]
    private = x is not None and is_private(chain, x)
    return moves.moved(chain, root, place, output, zeros=node.op_type == "Pad", private=private)


def concat(draft: Draft, node: ir.Node) -> Refusal | None:
    """Takes up Concat of tensors of levels, along any axis but that of the samples."""
    output = node.outputs[0]
    layout = layout_of(output)
    if layout is None:
        return Refusal(problem="a tensor of unknown shape", node=label(node))
    parts: list[Held] = []
    for value in node.inputs:
        made = levels_of(draft, value)
        laid = (
            made
            if isinstance(made, Refusal)
            else draft.relaid(made, Layout(made.layout.shape, layout.channels_last), node)
        )
        if isinstance(laid, Refusal):
            return replace(laid, node=label(node))
        parts.append(laid)
    bytes_ = [draft.tensors[p.tensor] for p in parts]
    numbers = [p.plain for p in parts]
    known = [n for n in numbers if n is not None]
    if len(known) < len(parts) or any(b.element is not Element.BYTE for b in bytes_):
        return Refusal(problem="it joins what are no levels of a byte", node=label(node))
    joined = moves.joined(node, known, output)
    if isinstance(joined, Refusal):
        return joined
    axis = node.attributes.get_int("axis", 0) % (len(layout.shape) + 1)
    if axis == 0:
        return Refusal(problem="it joins samples", node=label(node))
    place = (len(layout.shape) - 1 if axis == 1 else axis - 2) if layout.channels_last else axis - 1
    zero = max(b.zero for b in bytes_)
    shifts = tuple(zero - b.zero for b in bytes_)
    lo, hi = (
        f(getattr(b, end) + s for b, s in zip(bytes_, shifts, strict=True)) for f, end in ((min, "lo"), (max, "hi"))
    )
    if hi >= BYTE_VALUES:
        return Refusal(problem="more levels than a byte holds", node=label(node))
    y = draft.add(Tensor(str(output.name), layout.elements, Element.BYTE, zero, lo, hi))
    lengths = tuple(_rows(p.layout, place) for p in parts)
    draft.steps.append(Join(tuple(p.tensor for p in parts), y, lengths, shifts))
    return draft.keep(node, Held((chain_of(joined),), y, layout))


def _rows(layout: Layout, place: int) -> int:
    """Elements of one row of a tensor, from an axis of what is stored on."""
    stored = (*layout.shape[1:], layout.shape[0]) if layout.channels_last else layout.shape
    return int(np.prod(stored[place:]))
