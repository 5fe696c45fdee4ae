"""Pruning by tensor and axis: the weights that are left are those of the package's PruneChannels."""

from __future__ import annotations

import pytest

pytest.importorskip("qonnx", reason="the qonnx package is not installed: make test-qonnx")

import numpy as np
from onnx import helper
from qonnx.transformation.pruning import ApplyMasks, PropagateMasks, PruneChannels as TheirPruneChannels

import anybit
from anybit.passes import MaskChannels, PruneChannels
from tests.models import model
from tests.parity.bridge import wrapped


def network(*, depthwise: bool):
    rng = np.random.default_rng(0)
    middle = (4, 1, 3, 3) if depthwise else (4, 4, 3, 3)
    shapes = {"w0": (4, 3, 1, 1), "w1": middle, "w2": (2, 4, 1, 1), "m": (1, 4, 1, 1)}
    window = {"kernel_shape": middle[2:], "group": 4 if depthwise else 1, "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], "conv0", kernel_shape=[1, 1]),
        helper.make_node("Mul", ["a", "m"], ["b"], "mul"),
        helper.make_node("Relu", ["b"], ["c"], "relu"),
        helper.make_node("Conv", ["c", "w1"], ["d"], "conv1", **window),
        helper.make_node("Conv", ["d", "w2"], ["y"], "conv2", kernel_shape=[1, 1]),
    ]
    constants = {n: rng.normal(size=s).astype(np.float32) for n, s in shapes.items()}
    return model(nodes, constants, inputs={"x": [1, 3, 5, 5]}, outputs=["y"])


SPECIFICATIONS = [{"w0": {0: {1}}}, {"a": {1: {0, 2}}}, {"w1": {0: {3}}}, {"w0": {0: {0}}, "w1": {0: {1}}}]


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("masks", SPECIFICATIONS)
def test_the_same_weights_are_left(masks, depthwise):
    proto = network(depthwise=depthwise)
    theirs = wrapped(proto).transform(
        TheirPruneChannels({t: {a: set(i) for a, i in c.items()} for t, c in masks.items()})
    )
    listed = {t: {a: sorted(i) for a, i in c.items()} for t, c in masks.items()}
    ours = anybit.apply(proto, [PruneChannels(tensors=listed, extend=True)]).model
    expected = {n.name: [theirs.get_initializer(i) for i in n.input if theirs.get_initializer(i) is not None]
                for n in theirs.graph.node}  # fmt: skip
    for node in ours.graph:
        made = [v.const_value.numpy() for v in node.inputs if v.is_initializer()]
        np.testing.assert_equal(made, expected[node.name])


def test_masks_spread_alike():
    proto, masks = network(depthwise=False), {"w0": {0: {1}}}
    theirs = wrapped(proto).transform(ApplyMasks(masks)).transform(PropagateMasks())
    ours = anybit.apply(proto, [MaskChannels({"w0": {0: [1]}}, propagate=True)]).model
    for name in ("w0", "a", "b", "c", "w1"):
        expected = {a: i for a, i in (theirs.get_tensor_sparsity(name) or {}).items() if i}
        assert anybit.annotations.sparsity(ours, name) == expected, name
