"""plan_removal: what else a network loses when it loses output channels of some of its layers."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.errors import InvalidModelError
from anybit.graph.constants import constant
from anybit.graph.walk import all_nodes, label, shape_of
from anybit.ops.calls import is_call, traits_of
from anybit.ops.multi_threshold import MULTI_THRESHOLD, channel_axis
from anybit.ops.traits import Movement, standard
from anybit.passes.lowering.known_weights import read_weight

Cut = dict[int, set[int]]
"""Indices that a tensor loses, by axis."""

_POOLS = frozenset("AveragePool GlobalAveragePool GlobalLpPool GlobalMaxPool LpPool MaxPool".split())
_RESHAPES = standard(lambda t: t.movement is Movement.ORDER)


@dataclass(frozen=True)
class Port:
    """A tensor where a node reads or writes it; `index` counts inputs, and is -1 for outputs."""

    node: ir.Node
    value: ir.Value
    index: int = -1


_Link = Sequence[tuple[Port, int]]
_Covered = set[tuple[Port, int]]


@dataclass
class Removal:
    """What a network loses.

    Attributes:
        values: Indices that computed tensors lose.
        uses: Indices that constants lose, by node and input: another node may read the same constant whole.
        groups: New number of groups of convolutions that lose some.
    """

    values: dict[ir.Value, Cut] = field(default_factory=dict)
    uses: dict[Port, Cut] = field(default_factory=dict)
    groups: dict[ir.Node, int] = field(default_factory=dict)

    @property
    def changes(self) -> bool:
        """Whether any channel or block is removed."""
        return bool(self.values or self.uses)


def weighted_nodes(model: ir.Model) -> dict[ir.Node, int]:
    """The nodes that multiply by a weight, and which axis of their output the weight makes."""
    derived: set[ir.Value] = set()  # weights that are quantised, transposed or the like by nodes

    def known(value: ir.Value | None) -> bool:
        return value is not None and (value in derived or constant(value) is not None)

    found: dict[ir.Node, int] = {}
    for node in all_nodes(model.graph):
        inputs = [known(v) for v in node.inputs if v is not None]
        if inputs and all(inputs):
            derived.update(node.outputs)
        elif node.domain == "" and node.op_type in ("Conv", "ConvTranspose") and known(node.inputs[1]):
            found[node] = 1
        elif node.domain == "" and node.op_type in ("Gemm", "MatMul") and any(inputs[:2]):
            found[node] = -1 if inputs[1] else -2
    return found


def dead_channels(model: ir.Model) -> dict[str, tuple[int, ...]]:
    """Output channels whose weights are all zero, by name of Conv, Gemm or MatMul nodes.

    Such a channel is its bias everywhere. `PruneChannels` drops what that contributes to the layers behind it, so
    outputs stay only where the bias, and what normalisation and activation make of it, is zero.
    """
    found: dict[str, tuple[int, ...]] = {}
    for node in all_nodes(model.graph):
        if node.domain != "" or node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        weight = read_weight(node.inputs[1], model.opset_imports)
        if weight is None or weight.values.ndim < 2:
            continue
        transposed = node.op_type == "Gemm" and "transB" in node.attributes and node.attributes["transB"].as_int()
        axis = 0 if node.op_type == "Conv" or transposed else weight.values.ndim - 1
        others = tuple(k for k in range(weight.values.ndim) if k != axis)
        channels = np.flatnonzero((weight.values == 0).all(axis=others))
        if channels.size:
            found[str(node.name or node.outputs[0].name)] = tuple(int(c) for c in channels)
    return found


def plan_removal(
    model: ir.Model,
    seeds: Mapping[ir.Node, Iterable[int]],
    *,
    extend: bool,
    tensors: Mapping[ir.Value, Mapping[int, Iterable[int]]] | None = None,
    weighted: Mapping[ir.Node, int] | None = None,
) -> Removal:
    """Follows the removal of output channels of weighted nodes, until weights that read them end it.

    Args:
        model: Model with known shapes.
        seeds: Output channels to remove, by nodes that are among `weighted_nodes`.
        extend: Whether other nodes lose channels too where theirs meet removed ones in an Add or the like.
        tensors: Indices to remove by tensor and axis, computed or constant.
        weighted: `weighted_nodes` of the model, where they are known.

    Raises:
        InvalidModelError: A channel cannot be removed, or not alone; the message names the nodes.
    """
    state, weighted = _State(model.opset_imports), weighted_nodes(model) if weighted is None else weighted
    for node, channels in seeds.items():
        port = Port(node, node.outputs[0])
        state.add(port, weighted[node] % state.rank(port), set(channels))
    for value, cut in (tensors or {}).items():
        state.add_to_tensor(value, cut)
    while state.queue:
        state.visit(state.queue.popleft())
    state.finish()
    if not extend:
        _check_alone(state, weighted, seeds, set(tensors or ()))
    return state.removal


def _check_alone(
    state: _State,
    weighted: Mapping[ir.Node, int],
    seeds: Mapping[ir.Node, Iterable[int]],
    named: set[ir.Value],
) -> None:
    faults: list[str] = []
    for value, cut in state.removal.values.items():
        node = value.producer()
        if node is None or node not in weighted or (_groups(node) > 1 and node not in seeds):
            continue
        if value in named or any(v in named for v in node.inputs[1:2]):
            continue
        lost = cut.get(weighted[node] % state.rank(Port(node, value)), set())
        if lost != set(seeds.get(node, ())):
            faults.append(f"{label(node)} {sorted(lost)}")
    if faults:
        raise InvalidModelError(
            "channels cannot be removed without these",
            node=", ".join(sorted(faults)),
            hint="add them to the masks, or use extend=True",
        )


@dataclass
class _State:
    opsets: Mapping[str, int]
    removal: Removal = field(default_factory=Removal)
    queue: deque[ir.Node] = field(default_factory=deque)
    waiting: set[ir.Node] = field(default_factory=set)
    leaves: dict[ir.Value, bool] = field(default_factory=dict)

    def is_leaf(self, value: ir.Value) -> bool:
        """Whether the value is a constant that stands in the file."""
        if value not in self.leaves:
            self.leaves[value] = constant(value) is not None
        return self.leaves[value]

    def ports(self, node: ir.Node) -> list[Port]:
        inputs = [Port(node, v, k) for k, v in enumerate(node.inputs) if v is not None]
        return inputs + [Port(node, v) for v in node.outputs if v.name]

    def input(self, node: ir.Node, index: int) -> Port | None:
        value = node.inputs[index] if index < len(node.inputs) else None
        return None if value is None else Port(node, value, index)

    def shape(self, port: Port) -> tuple[int | None, ...]:
        array = constant(port.value) if self.is_leaf(port.value) else None
        shape = shape_of(port.value) if array is None else array.shape
        if shape is None:
            self.refuse(port.node, f"the shape of '{port.value.name}' is not known")
        return shape or ()

    def rank(self, port: Port) -> int:
        return len(self.shape(port))

    def cut(self, port: Port) -> Cut:
        if self.is_leaf(port.value):
            return self.removal.uses.get(port, {})
        return self.removal.values.get(port.value, {})

    def add(self, port: Port, axis: int, indices: set[int]) -> None:
        """Removes indices along an axis of a tensor, and takes note of the nodes that this concerns."""
        if not indices:
            return
        leaf = self.is_leaf(port.value)
        cut = self.removal.uses.setdefault(port, {}) if leaf else self.removal.values.setdefault(port.value, {})
        known = cut.setdefault(axis, set())
        if indices <= known:
            return
        known |= indices
        if len(known) == self.shape(port)[axis]:
            self.refuse(port.node, f"no channel of '{port.value.name}' would remain")
        if leaf:
            return
        if port.value.is_graph_output() or port.value.is_graph_input():
            kind = "output" if port.value.is_graph_output() else "input"
            self.refuse(port.node, f"{kind} '{port.value.name}' of the graph would lose channels {sorted(known)}")
        producer = port.value.producer()
        for node in (*(u.node for u in port.value.uses()), *(() if producer is None else (producer,))):
            if node not in self.waiting:
                self.waiting.add(node)
                self.queue.append(node)

    def add_to_tensor(self, value: ir.Value, cut: Mapping[int, Iterable[int]]) -> None:
        """Removes indices along axes of a tensor, a constant losing them for all that read it."""
        users = [Port(u.node, value, u.idx) for u in value.uses()]
        producer = value.producer()
        ports = users if self.is_leaf(value) or producer is None else [Port(producer, value)]
        for port in ports:
            for axis, indices in cut.items():
                self.add(port, axis % self.rank(port), set(indices))
            if self.is_leaf(value) and port.node not in self.waiting:
                self.waiting.add(port.node)
                self.queue.append(port.node)

    def link(self, members: _Link) -> None:
        """Makes axes of several tensors lose the same indices."""
        together = set[int]().union(*(self.cut(p).get(a, set()) for p, a in members))
        for port, axis in members:
            self.add(port, axis, together)

    def visit(self, node: ir.Node) -> None:
        self.waiting.discard(node)
        rule = _rule_of(node, self.opsets)
        if rule is None:
            self.refuse(node, "nothing is known about channels of this operator")
            return
        covered = rule(self, node)
        for port in self.ports(node):
            for axis in self.cut(port):
                if (port, axis) not in covered:
                    self.refuse(node, f"it cannot lose indices of axis {axis} of '{port.value.name}'")

    def finish(self) -> None:
        """Checks that what remains of grouped convolutions is one, and counts their groups."""
        nodes = {p for v in self.removal.values for p in (v.producer(), *(u.node for u in v.uses())) if p is not None}
        for node in nodes:
            if node.op_type in ("Conv", "ConvTranspose") and node.domain == "" and _groups(node) > 1:
                self.removal.groups[node] = self._remaining_groups(node)

    def _remaining_groups(self, node: ir.Node) -> int:
        remaining: list[set[int]] = []
        for port in (Port(node, node.inputs[0] or node.outputs[0], 0), Port(node, node.outputs[0])):
            channels, groups = self.shape(port)[1] or 0, _groups(node)
            lost = self.cut(port).get(1, set())
            keep = np.isin(np.arange(channels), sorted(lost), invert=True).reshape(groups, -1).sum(axis=1)
            if len(set(keep[keep > 0].tolist())) > 1 or (
                port.index == 0 and set(keep.tolist()) - {0, channels // groups}
            ):
                self.refuse(node, "groups would differ in size")
            remaining.append(set(np.flatnonzero(keep).tolist()))
        if remaining[0] != remaining[1]:
            self.refuse(node, "a group would keep inputs but no outputs")
        return len(remaining[0])

    def refuse(self, node: ir.Node, problem: str) -> None:
        raise InvalidModelError(f"channels cannot be removed: {problem}", node=label(node))


_Rule = Callable[[_State, ir.Node], _Covered]


def _linked(links: Callable[[_State, ir.Node], Iterable[_Link]]) -> _Rule:
    def rule(state: _State, node: ir.Node) -> _Covered:
        found = [list(members) for members in links(state, node)]
        for members in found:
            state.link(members)
        return {member for members in found for member in members}

    return rule


def _broadcast(state: _State, ports: Sequence[Port], first: int = 1) -> Iterable[_Link]:
    """Axes that numpy's broadcasting lays upon each other, from the `first` last one on."""
    shapes = {p: state.shape(p) for p in ports}
    for offset in range(first, max(map(len, shapes.values()), default=0) + 1):
        yield [(p, len(s) - offset) for p, s in shapes.items() if len(s) >= offset and s[-offset] != 1]


def _elementwise(state: _State, node: ir.Node) -> Iterable[_Link]:
    """Operators that treat each element by itself; what is no operand of a broadcast says nothing of channels."""
    broadcasts = traits_of(node, state.opsets).broadcasting
    return _broadcast(state, [p for p in state.ports(node) if broadcasts or p.index <= 0])


def _per_channel(state: _State, node: ir.Node) -> Iterable[_Link]:
    """BatchNormalization, InstanceNormalization: parameters along axis 1."""
    first, *parameters = (p for p in state.ports(node) if p.index >= 0)
    outputs = [Port(node, v) for v in node.outputs[:1]]
    yield [(first, 1), *((o, 1) for o in outputs), *((p, 0) for p in parameters)]


def _pool(state: _State, node: ir.Node) -> Iterable[_Link]:
    ports = state.ports(node)
    return [[(p, 1) for p in ports]] if len(ports) == 2 else []  # indices of maxima count through all channels


def _linear_quantizer(state: _State, node: ir.Node) -> Iterable[_Link]:
    """QuantizeLinear, DequantizeLinear: scales of one axis."""
    data = [p for p in state.ports(node) if p.index <= 0]
    parameters = [p for p in state.ports(node) if p.index > 0]
    if any(state.rank(p) > 1 for p in parameters):
        return  # blocks
    along = node.attributes["axis"].as_int() if "axis" in node.attributes else 1
    for axis in range(state.rank(data[0])):
        own = axis == along % state.rank(data[0])
        yield [(p, axis) for p in data] + [(p, 0) for p in parameters if own and state.shape(p) not in ((), (1,))]


def _thresholds(state: _State, node: ir.Node) -> Iterable[_Link]:
    x, thresholds, y = state.ports(node)
    layout = node.attributes["data_layout"].as_string() if "data_layout" in node.attributes else "NCHW"
    axis = channel_axis(layout, state.rank(x))
    yield [(x, axis), (y, axis), *([(thresholds, 0)] if state.shape(thresholds)[0] != 1 else [])]


def _matmul(state: _State, node: ir.Node) -> Iterable[_Link]:
    a, b, y = state.ports(node)
    ranks = [state.rank(p) for p in (a, b, y)]
    if min(ranks[:2]) < 2:
        state.refuse(node, "it multiplies a vector")
    yield [(a, ranks[0] - 1), (b, ranks[1] - 2)]
    yield [(a, ranks[0] - 2), (y, ranks[2] - 2)]
    yield [(b, ranks[1] - 1), (y, ranks[2] - 1)]
    yield from _broadcast(state, (a, b, y), first=3)


def _gemm(state: _State, node: ir.Node) -> Iterable[_Link]:
    a_flip, b_flip = (n in node.attributes and bool(node.attributes[n].as_int()) for n in ("transA", "transB"))
    a, b, *c, y = state.ports(node)
    yield [(a, 0 if a_flip else 1), (b, 1 if b_flip else 0)]
    shapes = [(p, state.shape(p)) for p in c]
    columns = [(p, len(s) - 1) for p, s in shapes if s and s[-1] != 1]
    rows = [(p, 0) for p, s in shapes if len(s) == 2 and s[0] != 1]
    yield [(b, 0 if b_flip else 1), (y, 1), *columns]
    yield [(a, 1 if a_flip else 0), (y, 0), *rows]


def _groups(node: ir.Node) -> int:
    return node.attributes["group"].as_int() if "group" in node.attributes else 1


def _convolution(state: _State, node: ir.Node) -> _Covered:
    """Weights (outputs, inputs / groups, ...), transposed ones (inputs, outputs / groups, ...)."""
    x, weight, y = Port(node, node.inputs[0] or node.outputs[0], 0), state.input(node, 1), Port(node, node.outputs[0])
    bias = state.input(node, 2)
    if weight is None:
        return set()
    transposed = node.op_type == "ConvTranspose"
    outputs: list[tuple[Port, int]] = [(y, 1), *([] if bias is None else [(bias, 0)])]
    inputs = [(x, 1)]
    grouped = _groups(node) > 1
    if not grouped or not transposed:
        outputs.append((weight, 1 if transposed else 0))
    if not grouped or transposed:
        inputs.append((weight, 0 if transposed else 1))
    if grouped:
        _link_groups(state, node, x, y)
    state.link(outputs)
    state.link(inputs)
    if grouped and transposed and _partial(state, y, _groups(node)):
        state.refuse(node, "groups would lose some of their outputs")
    return {*outputs, *inputs}


def _link_groups(state: _State, node: ir.Node, x: Port, y: Port) -> None:
    """A group that loses all inputs loses its outputs, and the other way round."""
    groups = _groups(node)
    for here, there in ((x, y), (y, x)):
        own, other = (state.shape(p)[1] or 0 for p in (here, there))
        lost = np.isin(np.arange(own), sorted(state.cut(here).get(1, set()))).reshape(groups, -1).all(axis=1)
        state.add(there, 1, set(np.flatnonzero(np.repeat(lost, other // groups)).tolist()))


def _partial(state: _State, port: Port, groups: int) -> bool:
    lost = np.isin(np.arange(state.shape(port)[1] or 0), sorted(state.cut(port).get(1, set()))).reshape(groups, -1)
    return bool((lost.any(axis=1) != lost.all(axis=1)).any())


def _transpose(state: _State, node: ir.Node) -> Iterable[_Link]:
    x, y = state.ports(node)
    rank = state.rank(x)
    perm = node.attributes["perm"].as_ints() if "perm" in node.attributes else range(rank)[::-1]
    return [[(x, source), (y, axis)] for axis, source in enumerate(perm)]


def _concat(state: _State, node: ir.Node) -> _Covered:
    *inputs, y = state.ports(node)
    rank = state.rank(y)
    joined = node.attributes["axis"].as_int() % rank
    covered: _Covered = {(p, joined) for p in (*inputs, y)}
    start = 0
    for port in inputs:
        size = state.shape(port)[joined]
        if size is None:
            state.refuse(node, f"the size of '{port.value.name}' is not known")
            return covered
        state.add(y, joined, {start + i for i in state.cut(port).get(joined, set())})
        state.add(port, joined, {i - start for i in state.cut(y).get(joined, set()) if start <= i < start + size})
        start += size
    for axis in set(range(rank)) - {joined}:
        members = [(p, axis) for p in (*inputs, y)]
        state.link(members)
        covered.update(members)
    return covered


def _reduce(state: _State, node: ir.Node) -> Iterable[_Link]:
    x, y = next(p for p in state.ports(node) if p.index == 0), Port(node, node.outputs[0])
    rank = state.rank(x)
    axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    given = node.attributes["axes"].as_ints() if "axes" in node.attributes else axes
    reduced = {int(a) % rank for a in (range(rank) if given is None else given)}
    keep = "keepdims" not in node.attributes or bool(node.attributes["keepdims"].as_int())
    kept = [a for a in range(rank) if a not in reduced]
    return [[(x, a), (y, a if keep else k)] for k, a in enumerate(kept)]


def _pad(state: _State, node: ir.Node) -> Iterable[_Link]:
    x, y = next(p for p in state.ports(node) if p.index == 0), Port(node, node.outputs[0])
    pads = constant(node.inputs[1]) if len(node.inputs) > 1 else np.array(node.attributes["pads"].as_ints())
    rank = state.rank(x)
    chosen = node.inputs[3] if len(node.inputs) > 3 else None
    axes = np.arange(rank) if chosen is None else constant(chosen)
    if pads is None or axes is None:
        return []
    padded = {int(a) % rank for a, (before, after) in zip(axes, pads.reshape(2, -1).T, strict=True) if before or after}
    return [[(x, a), (y, a)] for a in range(rank) if a not in padded]


def _resize(state: _State, node: ir.Node) -> Iterable[_Link]:
    """Enlargement by scales; sizes would have to be edited."""
    x, y = next(p for p in state.ports(node) if p.index == 0), Port(node, node.outputs[0])
    sizes = node.inputs[3] if len(node.inputs) > 3 else None
    same = state.shape(x)[1] == state.shape(y)[1]
    return [[(x, 1), (y, 1)]] if sizes is None and same else []


def _reshape(state: _State, node: ir.Node) -> _Covered:
    x, y = next(p for p in state.ports(node) if p.index == 0), Port(node, node.outputs[0])
    if (node.op_type == "Reshape" and constant(node.inputs[1]) is None) or _squeezes_any(node):
        return set()  # its target depends on the shape
    shapes = [list(state.shape(p)) for p in (x, y)]
    if all(s and s[0] is None for s in shapes):
        shapes[0][0] = shapes[1][0] = 1  # the batch, which stays the first axis
    covered: _Covered = set()
    known = [[d for d in s if d is not None] for s in shapes]
    if any(len(k) != len(s) for k, s in zip(known, shapes, strict=True)) or math.prod(known[0]) != math.prod(known[1]):
        return covered
    for inner, outer in _segments(known[0], known[1]):
        for here, there, from_axes, to_axes, sizes in ((x, y, inner, outer, known), (y, x, outer, inner, known[::-1])):
            block, target = ([s[a] for a in axes] for s, axes in zip(sizes, (from_axes, to_axes), strict=True))
            for axis in [a for a in from_axes if a in state.cut(here)]:
                found = _moved(state.cut(here)[axis], axis - from_axes[0], block, target)
                if found is None:
                    state.refuse(node, f"removed indices of '{here.value.name}' are none of '{there.value.name}'")
                    return covered
                covered |= {(here, axis), (there, to_axes[0] + found[0])}
                state.add(there, to_axes[0] + found[0], found[1])
    return covered


def _squeezes_any(node: ir.Node) -> bool:
    return node.op_type == "Squeeze" and "axes" not in node.attributes and len(node.inputs) < 2


def _segments(a: Sequence[int], b: Sequence[int]) -> Iterable[tuple[list[int], list[int]]]:
    """Runs of axes of two shapes that hold the same elements, as short as can be."""
    i = j = 0
    while i < len(a) and j < len(b):
        left, right = [i], [j]
        sizes = [a[i], b[j]]
        while sizes[0] != sizes[1] and i < len(a) and j < len(b):
            if sizes[0] < sizes[1]:
                i += 1
                left.append(i)
                sizes[0] *= a[i] if i < len(a) else 1
            else:
                j += 1
                right.append(j)
                sizes[1] *= b[j] if j < len(b) else 1
        yield [k for k in left if k < len(a)], [k for k in right if k < len(b)]
        i, j = i + 1, j + 1


def _moved(lost: set[int], axis: int, block: Sequence[int], target: Sequence[int]) -> tuple[int, set[int]] | None:
    """The axis of a reshaped block, and its indices, that hold exactly the lost elements."""
    mask = np.zeros(block, bool)
    mask[(slice(None),) * axis + (sorted(lost),)] = True
    mask = mask.reshape(target)
    for candidate in range(len(target)):
        others = tuple(k for k in range(len(target)) if k != candidate)
        along = mask.any(axis=others)
        if mask.sum() == along.sum() * math.prod(target) // target[candidate]:
            return candidate, set(np.flatnonzero(along).tolist())
    return None


def new_target(node: ir.Node, removal: Removal) -> Array | None:
    """The target of a Reshape after the removal, None where it stays or there is none."""
    target = constant(node.inputs[1]) if node.op_type == "Reshape" else None
    y, x = node.outputs[0], node.inputs[0]
    old = shape_of(y)
    if target is None or old is None or x is None:
        return None
    changed = target.copy()
    lost_in, lost_out = (removal.values.get(v, {}) for v in (x, y))
    for axis, size in enumerate(old):
        copied = target[axis] == 0
        moved = axis in lost_out and not (copied and axis in lost_in)
        if size is not None and target[axis] != -1 and (moved or (copied and axis in lost_in and axis not in lost_out)):
            changed[axis] = size - len(lost_out.get(axis, ()))
    return None if (changed == target).all() else changed


_RULES: dict[str, _Rule] = {
    **dict.fromkeys(_POOLS, _linked(_pool)),
    **dict.fromkeys(_RESHAPES, _reshape),
    **dict.fromkeys(("BatchNormalization", "InstanceNormalization"), _linked(_per_channel)),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), _linked(_linear_quantizer)),
    **dict.fromkeys(("Conv", "ConvTranspose"), _convolution),
    **{f"Reduce{n}": _linked(_reduce) for n in "L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare".split()},
    "Concat": _concat,
    "Gemm": _linked(_gemm),
    "MatMul": _linked(_matmul),
    "Pad": _linked(_pad),
    "Resize": _linked(_resize),
    "Upsample": _linked(_resize),
    "Transpose": _linked(_transpose),
}


def _rule_of(node: ir.Node, opsets: Mapping[str, int]) -> _Rule | None:
    if traits_of(node, opsets).elementwise:
        return _linked(_elementwise)
    if is_call(node, MULTI_THRESHOLD):
        return _linked(_thresholds)
    return _RULES.get(node.op_type) if node.domain == "" else None
