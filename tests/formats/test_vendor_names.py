"""QuantizeLinear and DequantizeLinear of vendors mean what the standard ones mean; the rest is refused by name."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import anybit
from anybit.formats.convert import translate
from tests.formats.qdq.linear_models import QUARTER, assert_equal, linear_model, operators, q_dq
from tests.models import model

_X = np.linspace(-9, 9, 200, dtype=np.float32).reshape(2, 100)
_NAMES = {
    "com.microsoft": ("QuantizeLinear", "DequantizeLinear"),
    "com.amd.quark": ("ExtendedQuantizeLinear", "ExtendedDequantizeLinear"),
    "com.vai.quantize": ("VitisQuantizeLinear", "VitisDequantizeLinear"),
}


def _renamed(proto: onnx.ModelProto, domain: str, names: tuple[str, str]) -> onnx.ModelProto:
    for node in proto.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            node.op_type, node.domain = names[node.op_type == "DequantizeLinear"], domain
    proto.opset_import.append(helper.make_opsetid(domain, 1))
    return proto


@pytest.mark.parametrize("domain", _NAMES)
@pytest.mark.parametrize("dtype", [TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16])
@pytest.mark.parametrize("zero_point", [None, 0, 2])
def test_pairs_are_read_as_the_standard_ones(domain: str, dtype: int, zero_point: int | None):
    if zero_point is None and dtype != TensorProto.UINT8:
        pytest.skip("the zero point says the type")
    nodes, constants = q_dq(dtype=dtype, zero_point=zero_point)
    standard = linear_model(nodes, constants, shape=_X.shape, opset=21)
    vendors = _renamed(linear_model(nodes, constants, shape=_X.shape), domain, _NAMES[domain])
    results = [translate(m, "qonnx") for m in (standard, vendors)]
    assert not results[1].refusals
    assert operators(results[0].model) == operators(results[1].model)
    assert domain not in results[1].model.opset_imports
    first, second = (anybit.Session(r.model, engine="reference").run(_X) for r in results)
    assert_equal(first, second)


@pytest.mark.parametrize(("name", "dtype"), [("INT4", TensorProto.INT4), ("FP8", TensorProto.FLOAT8E4M3FN)])
def test_tensorrt(name: str, dtype: int):
    nodes, constants = q_dq(dtype=dtype)
    standard = linear_model(nodes, constants, shape=_X.shape, opset=21)
    nodes, constants = q_dq(zero_point=None)  # the operator says the type
    proto = linear_model(nodes, constants, shape=_X.shape)
    # as exporters do
    proto.graph.value_info.append(helper.make_tensor_value_info("q", TensorProto.UINT8, _X.shape))
    vendors = _renamed(proto, "trt", (f"TRT_{name}QuantizeLinear", f"TRT_{name}DequantizeLinear"))
    results = [translate(m, "qonnx") for m in (standard, vendors)]
    assert not results[1].refusals
    first, second = (anybit.Session(r.model, engine="reference").run(_X) for r in results)
    assert_equal(first, second)


def test_tensorrt_blocks_of_weights():
    rng = np.random.default_rng(0)
    stored = rng.integers(-8, 8, (8, 6))
    scales = rng.uniform(0.1, 1, (2, 6)).astype(np.float32)
    weights = helper.make_tensor("w", TensorProto.INT4, stored.shape, stored.reshape(-1).tolist())
    nodes = [helper.make_node("TRT_INT4DequantizeLinear", ["w", "s"], ["d"], domain="trt", axis=0, block_size=4),
             helper.make_node("MatMul", ["x", "d"], ["y"])]  # fmt: skip
    proto = linear_model(nodes, {"w": weights, "s": scales}, shape=[8, 8])
    proto.opset_import.append(helper.make_opsetid("trt", 1))
    result = translate(proto, "qonnx")
    assert not result.refusals
    assert operators(result.model) == ["Quant", "MatMul"]
    actual = anybit.Session(result.model, engine="reference").run(np.eye(8, dtype=np.float32))["y"]
    np.testing.assert_array_equal(actual, stored.astype(np.float32) * np.repeat(scales, 4, axis=0))


@pytest.mark.parametrize("dtype", [TensorProto.INT32, TensorProto.FLOAT16])
def test_other_types_stay(dtype: int):
    nodes, constants = q_dq(dtype=dtype)
    names = _NAMES["com.amd.quark"]
    proto = _renamed(linear_model(nodes, constants, shape=_X.shape), "com.amd.quark", names)
    result = translate(proto, "qonnx")
    refused = {r.node: r.problem for r in result.refusals}
    assert refused["ExtendedQuantizeLinear 'quantize'"] == "type of its integers"
    assert "ExtendedDequantizeLinear 'dequantize'" in refused
    assert operators(result.model) == list(names)


def test_what_stays_has_its_own_name_back():
    nodes, constants = q_dq()
    constants["t"] = 2 * QUARTER
    nodes[1].input[1] = "t"
    names = _NAMES["com.amd.quark"]
    result = translate(_renamed(linear_model(nodes, constants, shape=_X.shape), "com.amd.quark", names), "qonnx")
    assert [(r.node, r.got) for r in result.refusals] == [
        ("ExtendedDequantizeLinear 'dequantize'", "ExtendedQuantizeLinear 'quantize'")
    ]
    assert operators(result.model) == list(names)
    assert {n.domain for n in result.model.graph} == {"com.amd.quark"}


@pytest.mark.parametrize(
    ("domain", "op_type"),
    [("com.amd.quark", "BFPQuantizeDequantize"), ("com.amd.quark", "MXQuantizeDequantize"),
     ("trt", "TRT_BlockQuantize"),
     ("com.amd.quark", "ExtendedInstanceNormalization"), ("com.vai.quantize", "BFPFixNeuron"),
     ("trt", "TRT_MXFP8DynamicQuantize"), ("aimet.customop.cpu", "QcQuantizeOp"), ("com.microsoft", "QOrderedGelu")],
)  # fmt: skip
def test_operators_without_a_reader_are_refused_by_name(domain: str, op_type: str):
    node = helper.make_node(op_type, ["x"], ["y"], name="it", domain=domain)
    result = translate(model([node], {}, inputs={"x": [2]}, outputs=["y"], imports={"": 21, domain: 1}), "qonnx")
    assert [(r.node, r.got) for r in result.refusals] == [(f"{op_type} 'it'", f"{domain}::{op_type}")]
    assert operators(result.model) == [op_type]
