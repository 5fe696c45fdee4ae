"""corresponding: the tensors of two models that stand for the same values, by their names or by their places."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from difflib import SequenceMatcher

import onnx_ir as ir

from anybit.analysis.roles import roles_of
from anybit.graph.walk import shape_of
from anybit.ops.calls import is_call
from anybit.ops.registry import QUANTIZERS

# What keeps its place where a format is changed or layers are folded: their results mean the same in every form.
_PLACES = frozenset(
    (
        "Relu",
        "LeakyRelu",
        "PRelu",
        "Sigmoid",
        "HardSigmoid",
        "Tanh",
        "Softmax",
        "MaxPool",
        "GlobalAveragePool",
        "Concat",
    )
)
_QUANTIZER = "a quantiser"


def corresponding(first: ir.Model, second: ir.Model) -> list[tuple[str, str]]:
    """Names of tensors in the first and in the second model that correspond, in the order of the first.

    Tensors correspond that have one name; and, where a name is in one model alone, results of quantisers of any
    dialect, of activation functions and of pools that come in the same order with the same shape of a sample.

    Args:
        first: A model whose nodes are sorted.
        second: Another one.
    """
    ours, theirs = _tensors(first), _tensors(second)
    pairs = [(a, b) for a, b in aligned(ours, theirs) if ours[a][1] is not None or ours[a][0] == theirs[b][0]]
    return [(ours[a][0], theirs[b][0]) for a, b in pairs]


def aligned(
    ours: Sequence[tuple[str, Hashable | None]], theirs: Sequence[tuple[str, Hashable | None]]
) -> list[tuple[int, int]]:
    """Pairs of indices, in the order of the first: what has one name, else what has one kind in the same order.

    Args:
        ours: Name and kind; a kind that is None is that of nothing else.
        theirs: The same of the other sequence.

    Example:
        >>> aligned([("x", 1), ("a", 2), ("b", 2)], [("x", 1), ("c", 2), ("b", 3)])
        [(0, 0), (1, 1), (2, 2)]
    """
    places = {name: i for i, (name, _) in enumerate(theirs)}
    paired = {i: places[name] for i, (name, _) in enumerate(ours) if name in places}
    common = {name for name, _ in ours} & set(places)

    def tokens(sequence: Sequence[tuple[str, Hashable | None]], side: str) -> list[Hashable]:
        return [
            ("name", name) if name in common else (side, name) if kind is None else ("kind", kind)
            for name, kind in sequence
        ]

    matcher = SequenceMatcher(None, tokens(ours, "ours"), tokens(theirs, "theirs"), autojunk=False)
    for block in matcher.get_matching_blocks():
        for k in range(block.size):
            paired.setdefault(block.a + k, block.b + k)
    return sorted(paired.items())


def _tensors(model: ir.Model) -> list[tuple[str, Hashable | None]]:
    """The tensors that nodes make, with the kinds of those that depend on an input and keep their places."""
    roles = roles_of(model)
    return [
        (str(o.name), _kind(node, o) if o in roles and roles[o].depends_on_data else None)
        for node in model.graph
        for o in node.outputs
        if o.name
    ]


def _kind(node: ir.Node, value: ir.Value) -> Hashable | None:
    operator = _QUANTIZER if _quantizes(node) else node.op_type if node.domain == "" else None
    if operator != _QUANTIZER and operator not in _PLACES:
        return None
    sizes = shape_of(value)
    return operator, None if sizes is None else tuple(sizes[1:])


def _quantizes(node: ir.Node) -> bool:
    """Whether a node ends the quantisation of a tensor that is float before and behind it."""
    if is_call(node, *QUANTIZERS):
        return True
    if (node.domain, node.op_type) != ("", "DequantizeLinear"):
        return False
    source = node.inputs[0]
    made = None if source is None else source.producer()
    return made is not None and made.domain == "" and made.op_type in ("QuantizeLinear", "Clip")
