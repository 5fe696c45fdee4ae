"""Operators of FINN's flow, as the package executes them."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

pytest.importorskip("qonnx", reason="the qonnx package is not installed: make test-qonnx")

import anybit
from anybit.passes import CreatePartitions, InlinePartitions
from tests.models import DOMAIN, model
from tests.parity.bridge import ModelWrapper, assert_same_outputs, executed, wrapped
from tests.passes.surgery.test_partitions import PATTERNS, diamond


@pytest.mark.parametrize("shape", [(3, 7), (1, 1)])
def test_xnor_popcount_mat_mul(shape):
    rng = np.random.default_rng(0)
    node = helper.make_node("XnorPopcountMatMul", ["x", "w"], ["y"], "product", domain=DOMAIN)
    w = rng.integers(0, 2, (shape[1], 4)).astype(np.float32)
    proto = model([node], {"w": w}, inputs={"x": shape}, outputs=["y"])
    assert_same_outputs(proto, {"x": rng.integers(0, 2, shape).astype(np.float32)})
    assert_same_outputs(proto, {"x": rng.integers(-3, 4, shape).astype(np.float32) / 4})


@pytest.mark.parametrize("ceil_mode", [0, 1])
@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 1, 1]])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [2, 3])
def test_max_pool_nhwc(kernel, stride, pads, ceil_mode):
    attributes = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": pads, "ceil_mode": ceil_mode}
    node = helper.make_node("MaxPoolNHWC", ["x"], ["y"], "pool", domain=DOMAIN, **attributes)
    proto = model([node], {}, inputs={"x": [1, 7, 6, 3]}, outputs=["y"])
    assert_same_outputs(proto, {"x": np.random.default_rng(0).normal(size=(1, 7, 6, 3)).astype(np.float32)})


def test_debug_marker():
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], "relu"),
        helper.make_node("DebugMarker", ["r"], ["y"], "marker", domain=DOMAIN, export_debug_name="seen"),
    ]
    proto = model(nodes, {}, inputs={"x": [2, 3]}, outputs=["y"])
    assert_same_outputs(proto, {"x": np.float32([[1, -2, 3], [0, 4, -5]])})


def test_partitions_that_either_made_are_run_and_inlined_by_the_other(tmp_path):
    from qonnx.transformation.create_generic_partitions import PartitionFromDict
    from qonnx.transformation.extend_partition import ExtendPartition

    source, x = diamond(), {"x": np.float32([[1, -2, 3]])}
    source.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    expected = anybit.run(source, x)

    ours = anybit.to_proto(anybit.apply(source, [CreatePartitions(PATTERNS, folder=str(tmp_path / "ours"))]).model)
    for value in ours.graph.output:  # the package reads shapes of GenericPartition nodes from the file
        assert value.type.tensor_type.HasField("shape")
    np.testing.assert_array_equal(ModelWrapper(ours).graph.node[0].attribute[0].s.decode()[-5:], ".onnx")
    extended = ModelWrapper(ours).transform(ExtendPartition([0, 1]))
    for name, array in executed(extended.model, x).items():
        np.testing.assert_array_equal(array, expected[name])

    theirs = wrapped(source).transform(PartitionFromDict({0: [0], 1: [1, 2, 3]}, str(tmp_path / "theirs")))
    again = anybit.apply(theirs.model, [InlinePartitions(folder=str(tmp_path / "theirs"))]).model
    assert sorted(n.op_type for n in again.graph) == sorted(n.op_type for n in source.graph.node)
    for name, array in anybit.run(again, x).items():
        np.testing.assert_array_equal(array, expected[name])


def test_layout_of_quant_avg_pool():
    from qonnx.transformation.change_datalayout import ChangeDataLayoutQuantAvgPool2d

    attributes = {"kernel": 2, "stride": 2, "ibits": 4, "obits": 4, "signed": 0, "data_layout": "NCHW"}
    node = helper.make_node("QuantAvgPool2d", ["x"], ["y"], "pool", domain=DOMAIN, **attributes)
    proto = model([node], {}, inputs={"x": [1, 3, 4, 4]}, outputs=["y"])
    x = np.random.default_rng(0).integers(0, 16, (1, 3, 4, 4)).astype(np.float32)
    theirs = wrapped(proto).transform(ChangeDataLayoutQuantAvgPool2d())
    ours = anybit.apply(proto, ["quant-avg-pool-to-channels-last"]).model
    assert [n.op_type for n in ours.graph] == [n.op_type for n in theirs.graph.node]
    np.testing.assert_array_equal(anybit.run(ours, x)["y"], executed(theirs.model, {"x": x})["y"])
    np.testing.assert_array_equal(anybit.run(theirs.model, x)["y"], anybit.run(ours, x)["y"])
