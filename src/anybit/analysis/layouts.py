"""layouts_of: which axis of a tensor is the batch, which the channels, which are spatial, as far as operators say."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from anybit.errors import AnybitError
from anybit.graph.annotations import annotated_layout
from anybit.graph.constants import constant
from anybit.graph.walk import all_nodes, shape_of
from anybit.ops.calls import call_of, is_call, operator_of, traits_of
from anybit.ops.channels_last.layout import DOMAIN as CHANNELS_LAST
from anybit.ops.finn.max_pool_nhwc import MAX_POOL_NHWC
from anybit.ops.im2col import IM2COL

LayoutNames = tuple[str, ...]
"""One name an axis: N the batch, C channels or features, D, H and W positions, x an axis of size 1 that was added."""

FIRST: Mapping[int, LayoutNames] = {2: ("N", "C"), 3: tuple("NCW"), 4: tuple("NCHW"), 5: tuple("NCDHW")}
"""By rank, the axes of a tensor whose channels come first."""
LAST: Mapping[int, LayoutNames] = {2: ("N", "C"), 3: tuple("NWC"), 4: tuple("NHWC"), 5: tuple("NDHWC")}
"""By rank, the axes of a tensor whose channels come last."""
_ADDED = "x"

_CHANNELS_FIRST = frozenset(
    """AveragePool BatchNormalization Conv ConvInteger ConvTranspose DepthToSpace GlobalAveragePool GlobalLpPool
    GlobalMaxPool GroupNormalization InstanceNormalization LpPool LRN MaxPool QLinearConv SpaceToDepth""".split()
)
_MATRICES = frozenset("Gemm MatMul MatMulInteger QLinearMatMul".split())
_SAME_AXES = frozenset(
    """Compress Concat CumSum DequantizeLinear Expand Hardmax LogSoftmax LpNormalization MeanVarianceNormalization Pad
    QuantizeLinear ReverseSequence Resize Slice Softmax Split Tile TopK Upsample""".split()
)
_REDUCTIONS = frozenset(
    """ArgMax ArgMin ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
    ReduceSumSquare""".split()
)
_WITH_DATA_LAYOUT = "data_layout"


@dataclass(frozen=True)
class _Link:
    """Axis i of `made` is axis axes[i] of `source`; None for one that `source` has not."""

    source: ir.Value
    made: ir.Value
    axes: tuple[int | None, ...]


def layouts_of(model: ir.Model) -> Mapping[ir.Value, LayoutNames]:
    """The names of the axes of each tensor that has such, in one pass over the nodes; shapes must be inferred.

    What the file states is believed. Convolutions, pools and normalisation say which axes theirs are, MultiThreshold
    and QuantAvgPool2d by their attribute; products of matrices have rows N and columns C. From there names spread to
    what is connected by operators that keep axes, move them, take them away or add them, forwards and backwards. Where
    two sources contradict each other the first one in the order of the graph holds.
    """
    known: dict[ir.Value, LayoutNames] = {}
    links: dict[ir.Value, list[_Link]] = {}
    seeds = [*_stated(model)]
    for node in all_nodes(model.graph):
        seeds += _said(node, model.opset_imports)
        for link in _links(node, model.opset_imports):
            links.setdefault(link.source, []).append(link)
            links.setdefault(link.made, []).append(link)
    pending: deque[ir.Value] = deque()
    for value, names in seeds:
        if value not in known:
            known[value] = names
            pending.append(value)
    while pending:
        value = pending.popleft()
        for link in links.get(value, ()):
            other, names = _across(link, value, known[value])
            if names is not None and other not in known:
                known[other] = names
                pending.append(other)
    return known


def _stated(model: ir.Model) -> Iterator[tuple[ir.Value, LayoutNames]]:
    values = [*model.graph.inputs, *(o for n in all_nodes(model.graph) for o in n.outputs)]
    for value in values:
        try:
            names = annotated_layout(value)
        except AnybitError:
            continue  # `check` says what is wrong with it
        if names and len(names) == _rank(value):
            yield value, names


def _said(node: ir.Node, opsets: Mapping[str, int]) -> Iterator[tuple[ir.Value, LayoutNames]]:
    """What the operator says of its first input and output."""
    tensors = [v for v in (*node.inputs[:1], *node.outputs[:1]) if v is not None]
    if node.domain == "" and node.op_type in _CHANNELS_FIRST:
        yield from _of_rank(tensors, FIRST)
    elif node.domain == CHANNELS_LAST or is_call(node, MAX_POOL_NHWC, IM2COL):
        yield from _of_rank(tensors, LAST)
    elif node.domain == "" and node.op_type in _MATRICES:
        yield from ((v, FIRST[2]) for v in tensors if _rank(v) == 2)
    elif node.domain == "" and node.op_type == "Flatten" and node.attributes.get_int("axis", 1) == 1:
        yield node.outputs[0], FIRST[2]
    elif node.domain != "":
        names = _data_layout(node, opsets)
        yield from ((v, names) for v in tensors if names and _rank(v) == len(names))


def _data_layout(node: ir.Node, opsets: Mapping[str, int]) -> LayoutNames:
    """The axes that the attribute of one of our operators names, none where it has no such attribute."""
    operator = operator_of(node, opsets)
    if operator is None or operator.layout is None or operator.layout.attribute != _WITH_DATA_LAYOUT:
        return ()
    return tuple(str(call_of(node, operator).attributes[_WITH_DATA_LAYOUT]))


def _of_rank(tensors: list[ir.Value], names: Mapping[int, LayoutNames]) -> Iterator[tuple[ir.Value, LayoutNames]]:
    yield from ((v, names[rank]) for v in tensors if (rank := _rank(v)) in names and rank is not None)


def _links(node: ir.Node, opsets: Mapping[str, int]) -> Iterator[_Link]:
    """How the axes of the outputs are those of the inputs."""
    source = node.inputs[0] if node.inputs else None
    if source is None or not node.outputs:
        return
    made, rank = node.outputs[0], _rank(source)
    if traits_of(node, opsets).elementwise or (node.domain == "" and node.op_type in _SAME_AXES):
        several = traits_of(node, opsets).broadcasting or node.op_type == "Concat"
        inputs = [v for v in (node.inputs if several else node.inputs[:1]) if v is not None and constant(v) is None]
        yield from (_Link(v, o, tuple(range(r))) for v in inputs for o in node.outputs if (r := _common(v, o)))
    elif node.domain == "" and rank is not None:
        axes = _axes_of(node, rank, made)
        if axes is not None and (_rank(made) in (None, len(axes))):
            yield _Link(source, made, axes)


def _axes_of(node: ir.Node, rank: int, made: ir.Value) -> tuple[int | None, ...] | None:
    """Where each axis of the output comes from."""
    match node.op_type:
        case "Transpose":
            perm = node.attributes.get_ints("perm", tuple(range(rank))[::-1])
            return tuple(perm) if sorted(perm) == list(range(rank)) else None
        case "Squeeze":
            gone = _stated_axes(node, rank)
            return None if gone is None else tuple(a for a in range(rank) if a not in gone)
        case "Unsqueeze":
            full = _rank(made)
            added = None if full is None else _stated_axes(node, full)
            rest = iter(range(rank))
            return None if added is None else tuple(None if a in added else next(rest, None) for a in range(full or 0))
        case "MatMul" | "MatMulInteger" if _rank(made) == rank:
            return tuple(range(rank))  # its columns are features, as those of the input
        case name if name in _REDUCTIONS:
            if node.attributes.get_int("keepdims", 1):
                return tuple(range(rank))
            gone = {node.attributes.get_int("axis", 0) % rank} if name.startswith("Arg") else _stated_axes(node, rank)
            return None if gone is None else tuple(a for a in range(rank) if a not in gone)
        case _:
            return None


def _stated_axes(node: ir.Node, rank: int) -> set[int] | None:
    """The axes of a node, an attribute in old opsets and an input in new ones; None where they are not constant."""
    array = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    axes = node.attributes.get_ints("axes") if array is None else [int(a) for a in array.reshape(-1)]
    return None if not axes or not rank else {a % rank for a in axes}


def _across(link: _Link, value: ir.Value, names: LayoutNames) -> tuple[ir.Value, LayoutNames | None]:
    """The tensor at the other end, and the names of its axes; None where they do not all follow."""
    if value is link.source:
        fits = all(a is None or a < len(names) for a in link.axes)
        return link.made, tuple(_ADDED if a is None else names[a] for a in link.axes) if fits else None
    if len(names) != len(link.axes):
        return link.source, None
    back = {a: n for a, n in zip(link.axes, names, strict=True) if a is not None}
    rank = _rank(link.source)
    complete = rank is not None and set(back) == set(range(rank))
    return link.source, tuple(back[a] for a in range(rank or 0)) if complete else None


def _common(one: ir.Value, other: ir.Value) -> int | None:
    rank = _rank(one)
    return rank if rank is not None and _rank(other) in (None, rank) else None


def _rank(value: ir.Value) -> int | None:
    shape = shape_of(value)
    return None if shape is None else len(shape)
