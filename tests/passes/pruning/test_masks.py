"""Pruning by tensor and axis, by masks in the file, and by magnitude."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

import anybit
from anybit.errors import InvalidModelError, UsageError
from anybit.passes import MaskChannels, PruneByMagnitude, PruneChannels
from tests.models import mlp, model, samples


def chain():
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], "first"),
        helper.make_node("Add", ["h", "b"], ["a"], "bias"),
        helper.make_node("Relu", ["a"], ["r"], "relu"),
        helper.make_node("MatMul", ["r", "v"], ["y"], "second"),
    ]
    shapes = {"w": (6, 8), "b": (8,), "v": (8, 3)}
    constants = {n: rng.integers(-4, 5, s).astype(np.float32) for n, s in shapes.items()}
    return model(nodes, constants, inputs={"x": [1, 6]}, outputs=["y"])


def zeroed(channels):
    """The chain with zeros in the rows that read these channels."""
    proto = anybit.load(chain())
    v = proto.graph.initializers["v"]
    array = v.const_value.numpy().copy()
    array[list(channels)] = 0
    v.const_value = ir.tensor(array, name="v")
    return proto


@pytest.mark.parametrize(("tensor", "axis"), [("w", 1), ("w", -1), ("h", 1), ("b", 0), ("r", -1), ("v", 0)])
def test_every_tensor_of_a_channel_leads_to_the_same_removal(tensor, axis):
    pruned = anybit.apply(chain(), [PruneChannels(tensors={tensor: {axis: [1, 5]}}, extend=True)]).model
    shapes = {n: list(v.shape) for n, v in pruned.graph.initializers.items()}
    assert shapes == {"w": [6, 6], "b": [6], "v": [6, 3]}
    x = samples(1, 6)
    np.testing.assert_allclose(anybit.run(pruned, x)["y"], anybit.run(zeroed([1, 5]), x)["y"], rtol=1e-6)


def test_layers_that_are_not_named_need_to_be_asked_for():
    assert anybit.apply(chain(), [PruneChannels(tensors={"w": {1: [0]}})]).steps[0].modified
    with pytest.raises(InvalidModelError, match="without these"):
        anybit.apply(chain(), [PruneChannels(tensors={"r": {1: [0]}})])
    text = 'prune-channels:tensors={"h": {"1": [0]}}'
    assert anybit.apply(chain(), [text]).steps[0].modified


def test_masks_are_stated_spread_and_removed():
    stated = anybit.apply(chain(), [MaskChannels({"w": {1: [2]}})]).model
    assert anybit.annotations.sparsity(stated, "w") == {1: {2}}
    assert anybit.annotations.sparsity(stated, "v") is None
    x = samples(1, 6)
    np.testing.assert_array_equal(anybit.run(stated, x)["y"], anybit.run(chain(), x)["y"])
    spread = anybit.apply(anybit.to_proto(stated), ["mask-channels:propagate=true"]).model
    for name, mask in {"w": {1: {2}}, "h": {1: {2}}, "b": {0: {2}}, "r": {1: {2}}, "v": {0: {2}}}.items():
        assert anybit.annotations.sparsity(spread, name) == mask
    assert not anybit.apply(spread, ["mask-channels:propagate=true"]).steps[0].modified
    removed = anybit.apply(spread, ["prune-channels:annotated=true"]).model
    assert list(removed.graph.initializers["v"].shape) == [7, 3]
    assert all(not anybit.annotations.sparsity(removed, n) for n in ("w", "h", "b", "r", "v"))
    wrong = anybit.annotations.set_sparsity(chain(), "w", {"share": 0.5})
    with pytest.raises(InvalidModelError, match="mask"):
        anybit.apply(wrong, ["prune-channels:annotated=true"])


@pytest.mark.parametrize("tensors", [{"nothing": {0: [0]}}, {"w": {2: [0]}}, {"w": {1: [8]}}, {"w": {0: [-1]}}])
def test_masks_that_fit_no_tensor(tensors):
    for step in (PruneChannels(tensors=tensors), MaskChannels(tensors)):
        with pytest.raises(UsageError):
            anybit.apply(chain(), [step])
    with pytest.raises(InvalidModelError):
        anybit.apply(chain(), [PruneChannels(tensors={"y": {1: [0]}}, extend=True)])


def test_the_smallest_channels_go():
    w = anybit.load(chain()).graph.initializers["w"].const_value.numpy()
    least = np.sort(np.argsort(np.abs(w).sum(axis=0), kind="stable")[:3])
    applied = anybit.apply(chain(), ["prune-by-magnitude:sparsity=0.4"])
    kept = applied.model.graph.initializers["w"].const_value.numpy()
    np.testing.assert_array_equal(kept, np.delete(w, least, axis=1))
    assert [n.node for n in applied.steps[0].notes] == ["MatMul 'second'"]
    for sparsity in (-0.1, 1.0):
        with pytest.raises(UsageError, match="sparsity"):
            anybit.apply(chain(), [PruneByMagnitude(sparsity)])
    with pytest.raises(UsageError, match="no layer"):
        anybit.apply(chain(), [PruneByMagnitude(0.5, nodes=("third",))])
    assert not anybit.apply(chain(), [PruneByMagnitude(0.1)]).steps[0].modified


def test_residual_layers_lose_the_same_channels_and_quantised_ones_are_read():
    rng = np.random.default_rng(1)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], "first"),
        helper.make_node("MatMul", ["x", "u"], ["g"], "other"),
        helper.make_node("Add", ["h", "g"], ["a"], "sum"),
        helper.make_node("MatMul", ["a", "v"], ["y"], "second"),
    ]
    constants = {n: rng.normal(size=s).astype(np.float32) for n, s in {"w": (6, 8), "u": (6, 8), "v": (8, 3)}.items()}
    proto = model(nodes, constants, inputs={"x": [1, 6]}, outputs=["y"])
    pruned = anybit.apply(proto, [PruneByMagnitude(0.5)]).model
    assert {n: list(v.shape) for n, v in pruned.graph.initializers.items()} == {"w": [6, 4], "u": [6, 4], "v": [4, 3]}
    total = np.abs(constants["w"]).sum(0) + np.abs(constants["u"]).sum(0)
    kept = np.sort(np.argsort(total, kind="stable")[4:])
    np.testing.assert_array_equal(pruned.graph.initializers["u"].const_value.numpy(), constants["u"][:, kept])
    assert anybit.check(anybit.apply(mlp(), [PruneByMagnitude(0.5)]).model) == ()
