"""ONNX Runtime's quantiser with all of its options on small nets: read to the hub with no differing element."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

import anybit
from anybit.formats.convert import translate
from tests.formats.qdq.linear_models import operators
from tests.strategies import Array

_QDQ, _BYTES = {"quant_format": QuantFormat.QDQ}, {"quant_format": QuantFormat.QOperator}
_U8, _S8 = {"activation_type": QuantType.QUInt8}, {"activation_type": QuantType.QInt8}
_SYMMETRIC = {"extra_options": {"ActivationSymmetric": True, "WeightSymmetric": True}}
_OPTIONS: dict[str, tuple[int, dict[str, Any]]] = {
    "qdq": (13, _QDQ),
    "qdq per channel": (13, _QDQ | {"per_channel": True}),
    "qdq symmetric": (13, _QDQ | _S8 | _SYMMETRIC),
    "qdq u8u8": (13, _QDQ | _U8 | {"weight_type": QuantType.QUInt8}),
    "qdq reduced range": (13, _QDQ | _U8 | {"reduce_range": True}),
    "qdq u16": (13, _QDQ | {"activation_type": QuantType.QUInt16}),
    "qdq s16 opset 21": (21, _QDQ | {"activation_type": QuantType.QInt16} | _SYMMETRIC),
    "qdq weights s4 opset 21": (21, _QDQ | {"weight_type": QuantType.QInt4}),
    "qdq weights u4": (13, _QDQ | {"weight_type": QuantType.QUInt4, "per_channel": True}),
    "qdq contributed operators": (13, _QDQ | {"extra_options": {"UseQDQContribOps": True}}),
    "qdq dedicated pairs": (13, _QDQ | {"extra_options": {"DedicatedQDQPair": True, "QDQKeepRemovableActivations": True,
                                                          "AddQDQPairToWeight": True}}),
    "qdq entropy": (13, _QDQ | _U8 | {"calibrate_method": CalibrationMethod.Entropy}),
    "bytes u8s8": (13, _BYTES | _U8),
    "bytes per channel": (13, _BYTES | _U8 | {"per_channel": True}),
    "bytes u8u8": (13, _BYTES | _U8 | {"weight_type": QuantType.QUInt8}),
    "bytes s8s8": (13, _BYTES | _S8),
    "bytes symmetric": (13, _BYTES | _S8 | _SYMMETRIC),
    "bytes reduced range": (13, _BYTES | _U8 | {"reduce_range": True}),
}  # fmt: skip
# Integers of more than 24 bits, whose real numbers no quantiser of float32 gives back.
_WIDE_BIASES = {("qdq s16 opset 21", "residual"): ["DequantizeLinear 'b1_DequantizeLinear'"]}
_NETS = ("mlp", "residual", "attention", "gated")


def _net(name: str, opset: int) -> tuple[onnx.ModelProto, list[int]]:
    rng, node = np.random.default_rng(1), helper.make_node
    constants: dict[str, Array] = {}

    def weights(key: str, *shape: int) -> str:
        constants[key] = (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]) or 1)).astype(np.float32)
        return key

    match name:
        case "mlp":
            shape = [2, 12]
            nodes = [
                node("MatMul", ["x", weights("w0", 12, 16)], ["h0"]),
                node("Add", ["h0", weights("b0", 16)], ["h1"]),
                node("Relu", ["h1"], ["h2"]),
                node("Gemm", ["h2", weights("w1", 16, 5), weights("b1", 5)], ["y"]),
            ]
        case "residual":
            shape = [2, 3, 8, 8]
            nodes = [
                node("Conv", ["x", weights("w0", 8, 3, 3, 3), weights("b0", 8)], ["c0"], pads=[1, 1, 1, 1]),
                node("Relu", ["c0"], ["r0"]),
                node("Conv", ["r0", weights("w1", 8, 8, 3, 3), weights("b1", 8)], ["c1"], pads=[1, 1, 1, 1]),
                node("Add", ["c1", "r0"], ["a1"]), node("Relu", ["a1"], ["r1"]),
                node("Conv", ["r1", weights("w2", 8, 1, 3, 3)], ["c2"], group=8, pads=[1, 1, 1, 1]),
                node("LeakyRelu", ["c2"], ["l2"], alpha=0.1),
                node("MaxPool", ["l2"], ["m2"], kernel_shape=[2, 2], strides=[2, 2]),
                node("GlobalAveragePool", ["m2"], ["g"]), node("Flatten", ["g"], ["f"]),
                node("Gemm", ["f", weights("w3", 8, 4), weights("b3", 4)], ["y"]),
            ]  # fmt: skip
        case "attention":
            shape = [2, 5, 8]
            constants["root"] = np.asarray(8**-0.5, np.float32)
            nodes = [
                *(node("MatMul", ["x", weights(f"w{k}", 8, 8)], [k]) for k in "qkv"),
                node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]), node("MatMul", ["q", "kt"], ["s"]),
                node("Mul", ["s", "root"], ["d"]), node("Softmax", ["d"], ["p"], axis=-1),
                node("MatMul", ["p", "v"], ["o"]), node("MatMul", ["o", weights("wo", 8, 8)], ["z"]),
                node("Add", ["z", "x"], ["y"]),
            ]  # fmt: skip
        case _:
            shape = [2, 3, 4, 4]
            nodes = [
                node("Conv", ["x", weights("w0", 6, 3, 1, 1)], ["a"]),
                node("Conv", ["x", weights("w1", 6, 3, 1, 1)], ["b"]),
                node("Sigmoid", ["b"], ["g"]),
                node("Mul", ["a", "g"], ["m"]),
                node("Concat", ["m", "x"], ["y"], axis=1),
            ]
    for place, each in enumerate(nodes):
        each.name = f"{each.op_type}_{place}"
    tensors = [helper.make_tensor_value_info(n, 1, s) for n, s in (("x", shape), ("y", None))]
    initializers = [numpy_helper.from_array(a, k) for k, a in constants.items()]
    graph = helper.make_graph(nodes, name, tensors[:1], tensors[1:], initializers)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return onnx.shape_inference.infer_shapes(proto), shape


class _Samples(CalibrationDataReader):
    def __init__(self, shape: list[int]) -> None:
        rng = np.random.default_rng(3)
        self._samples: Iterator[dict[str, Array]] = iter(
            [{"x": rng.normal(size=shape).astype(np.float32)} for _ in range(4)]
        )

    def get_next(self) -> dict[str, Array] | None:
        return next(self._samples, None)


@pytest.mark.parametrize("net", _NETS)
@pytest.mark.parametrize("options", _OPTIONS)
def test_static_quantisation_is_read_exactly(net: str, options: str, tmp_path: Path):
    opset, chosen = _OPTIONS[options]
    source, shape = _net(net, opset)
    onnx.save(source, tmp_path / "source.onnx")
    with _quiet():
        quantize_static(tmp_path / "source.onnx", tmp_path / "quantised.onnx", _Samples(shape), **chosen)
    proto = onnx.load(tmp_path / "quantised.onnx")
    result = translate(proto, "qonnx")
    x = (np.random.default_rng(9).normal(size=(16, *shape)) * 2).astype(np.float32)
    refused = [r.node for r in result.refusals]
    assert refused == _WIDE_BIASES.get((options, net), [])
    left = [o for o in operators(result.model) if "Linear" in o or o.startswith("QGemm")]
    assert left == [node.split()[0] for node in refused]
    _assert_equal(proto, x)
    if options.startswith("bytes"):  # sums of integers: no order of float additions tells engines apart
        session, exact = anybit.Session(result.model, engine="onnxruntime"), _onnxruntime(proto)
        for sample in x:
            np.testing.assert_array_equal(session.run(sample)["y"], exact.run(None, {"x": sample})[0])


def _assert_equal(proto: onnx.ModelProto, x: Array) -> None:
    """No element differs, both models run by the same kernels: the hub's operators as their bodies."""
    embedded = anybit.to_proto(translate(proto, "qonnx", embed_functions=True).model)
    ours, theirs = _onnxruntime(embedded), _onnxruntime(proto)
    for sample in x:
        np.testing.assert_array_equal(ours.run(None, {"x": sample})[0], theirs.run(None, {"x": sample})[0])


@pytest.mark.parametrize("net", _NETS)
def test_dynamic_quantisation_is_refused_by_name(net: str, tmp_path: Path):
    source, shape = _net(net, 13)
    onnx.save(source, tmp_path / "source.onnx")
    with _quiet():
        quantize_dynamic(tmp_path / "source.onnx", tmp_path / "quantised.onnx")
    proto = onnx.load(tmp_path / "quantised.onnx")
    result = translate(proto, "qonnx")
    dynamic = {n.name for n in proto.graph.node if n.op_type == "DynamicQuantizeLinear"}
    assert dynamic
    refused = {r.node for r in result.refusals}
    assert {f"DynamicQuantizeLinear '{n}'" for n in dynamic} <= refused
    _assert_equal(proto, np.random.default_rng(9).normal(size=(4, *shape)).astype(np.float32))


def _onnxruntime(proto: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """The model as it is, but where it multiplies uint8 and int8: their sums are exact from the second level on."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    types = {i.data_type for i in proto.graph.initializer}
    mixed = types >= {onnx.TensorProto.INT8, onnx.TensorProto.UINT8}
    has_products = any(n.op_type.startswith(("QLinear", "QGemm", "MatMulInteger")) for n in proto.graph.node)
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_EXTENDED if mixed and has_products else level.ORT_DISABLE_ALL
    options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser logs advice, and warns of its own dependencies."""
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)
