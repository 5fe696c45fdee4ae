"""Multiplications, bit operations and weights of a model, dense and without zeros, as the package's inference cost."""

from __future__ import annotations

import pytest

pytest.importorskip("qonnx", reason="the qonnx package is not installed: make test-qonnx")

import numpy as np
import onnx
from onnx import helper
from qonnx.util.inference_cost import inference_cost

import anybit
from tests.integration.corpus import CORPUS, needs_corpus
from tests.models import mlp, model, parameters, quant
from tests.parity.bridge import wrapped


def convolution(group: int) -> onnx.ModelProto:
    """Quantised pixels and weights, a third of them zero, with a stride, pads and groups."""
    rng = np.random.default_rng(0)
    weights = rng.integers(-1, 2, (4, 4 // group, 3, 3)).astype(np.float32)
    window = {"strides": [2, 1], "pads": [1, 0, 1, 0], "dilations": [1, 1], "group": group}
    nodes = [
        quant("x", "xq", signed=0),
        quant("w", "wq", narrow=1),
        helper.make_node("Conv", ["xq", "wq"], ["y"], "conv", kernel_shape=[3, 3], **window),
    ]
    constants = {"w": weights} | parameters("xq", bits=3) | parameters("wq", scale=1, bits=2)
    return model(nodes, constants, inputs={"x": [1, 4, 7, 6]}, outputs=["y"])


def assert_same_costs(proto: onnx.ModelProto) -> None:
    cost = anybit.cost(proto)
    for ours, discount in ((cost.dense, False), (cost.sparse, True)):
        theirs = inference_cost(wrapped(proto), discount_sparsity=discount)["total_cost"]
        assert ours.macs == theirs["total_macs"]
        assert ours.bit_operations == theirs["total_bops"]
        assert ours.weight_bits == theirs["total_mem_w_bits"]


@pytest.mark.parametrize("group", [1, 2, 4])
def test_convolutions(group):
    assert_same_costs(convolution(group))


def test_a_dense_layer():
    assert_same_costs(mlp())


@needs_corpus
@pytest.mark.parametrize("name", ["tfc_2w2a", "jet_mlp_6b", "cnv_2w2a"])
def test_real_models(name):
    assert_same_costs(anybit.to_proto(anybit.clean(CORPUS / name / "model.onnx", batch=1)))
