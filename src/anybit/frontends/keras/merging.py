"""merging: layers of several inputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from anybit.frontends.keras.calls import Call
from anybit.frontends.keras.graph import Graph, LayerTensor


def merge(op_type: str, graph: Graph, call: Call) -> LayerTensor:
    """An operator of two inputs over all inputs, from left to right."""
    inputs = graph.in_one_layout(call.inputs)
    if len({t.rank for t in inputs}) > 1:
        raise call.refusal(
            "ranks of the inputs", got=[t.rank for t in inputs], expected="one rank", hint="reshape them"
        )
    total = inputs[0]
    for position, other in enumerate(inputs[1:], start=1):
        wish = f"{call.path}/{op_type.lower()}{position if len(inputs) > 2 else ''}"
        total = replace(total, value=graph.node(op_type, [total.value, other.value], wish), shape=call.shape)
    return total


def average(graph: Graph, call: Call) -> LayerTensor:
    """The sum, divided by the number of inputs."""
    return graph.elementwise("Div", merge("Add", graph, call), f"{call.path}/average", float(len(call.inputs)))


def concatenate(graph: Graph, call: Call) -> LayerTensor:
    """The inputs behind each other along an axis of Keras' layout."""
    inputs = graph.in_one_layout(call.inputs)
    axis = inputs[0].axis(int(call.layer.axis))
    value = graph.node("Concat", [t.value for t in inputs], f"{call.path}/concat", axis=axis)
    return replace(inputs[0], value=value, shape=call.shape)


def dot(graph: Graph, call: Call) -> LayerTensor:
    """Sums of products along an axis of either input, for each sample.

    Raises:
        FrontEndError: The vectors are to be normalised first.
    """
    if call.layer.normalize:
        raise call.refusal("a Dot that normalises", expected="normalize=False")
    left, right = (graph.channels_last(t) for t in call.inputs)
    axes = [int(a) for a in np.broadcast_to(np.asarray(call.layer.axes), (2,))]
    names = iter("bcdefghijklmnop")
    terms = [["a", *(next(names) for _ in range(t.rank - 1))] for t in (left, right)]
    terms[0][axes[0]] = terms[1][axes[1]] = "z"
    result = "".join(["a", *(n for term in terms for n in term[1:] if n != "z")])
    equation = f"{''.join(terms[0])},{''.join(terms[1])}->{result}"
    value = graph.node("Einsum", [left.value, right.value], f"{call.path}/dot", equation=equation)
    if len(result) == 1:  # Keras gives two vectors' product an axis
        value = graph.node("Unsqueeze", [value, np.asarray([1], np.int64)], f"{call.path}/column")
    return LayerTensor(value, call.shape)
