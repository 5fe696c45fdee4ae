"""Files that ONNX Runtime's own quantiser writes: run by the reference and read, to the numbers of ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

import anybit
from anybit.formats.convert import translate
from tests.models import model
from tests.strategies import Array

_SHAPE = (2, 3, 8, 8)
_CONV = helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1], name="conv")
_POOLED = helper.make_node("MaxPool", ["c"], ["p"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], name="pool")
_RNG = np.random.default_rng(0)


def _normal(*shape: int) -> Array:
    return _RNG.normal(size=shape).astype(np.float32)


_CONSTANTS: dict[str, Array] = {
    "w": _normal(4, 3, 3, 3), "k": _normal(4, 1, 1), "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
    "scales": np.array([1, 1, 2, 2], np.float32), "i": np.array([0, 2]), "axis": np.array([2]),
    "m": _normal(6, 5), "b": _normal(5), "reshaped": np.array([-1, 6]),
}  # fmt: skip


def _node(op_type: str, *inputs: str, outputs: tuple[str, ...] = ("y",), **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op_type, list(inputs), list(outputs), name="it", **attributes)


_BEHIND_CONV: dict[str, list[onnx.NodeProto]] = {
    "Add": [_POOLED, _node("Add", "c", "p")],
    "Add constant": [_node("Add", "c", "k")],
    "ArgMax": [_node("ArgMax", "c", outputs=("a",), axis=1), helper.make_node("Cast", ["a"], ["y"], to=1)],
    "AveragePool": [_node("AveragePool", "c", kernel_shape=[2, 2], strides=[2, 2])],
    "AveragePool padded": [_node("AveragePool", "c", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])],
    "Concat": [_POOLED, _node("Concat", "c", "p", axis=1)],
    "Gather": [_node("Gather", "c", "i", axis=1)],
    "GlobalAveragePool": [_node("GlobalAveragePool", "c")],
    "LeakyRelu": [_node("LeakyRelu", "c", alpha=0.1)],
    "Mul": [_POOLED, _node("Mul", "c", "p")],
    "Mul constant": [_node("Mul", "c", "k")],
    "Pad": [_node("Pad", "c", "pads")],
    "Relu": [_node("Relu", "c")],
    "Resize": [_node("Resize", "c", "", "scales", mode="nearest")],
    "Sigmoid": [_node("Sigmoid", "c")],
    "Softmax": [_node("Softmax", "c", axis=1)],
    "Split": [_node("Split", "c", outputs=("y", "z"), axis=1)],
    "Squeeze": [_node("Unsqueeze", "c", "axis", outputs=("u",)), helper.make_node("Squeeze", ["u", "axis"], ["y"])],
    "Transpose": [_node("Transpose", "c", perm=[0, 2, 3, 1])],
}
_PRODUCTS: dict[str, list[onnx.NodeProto]] = {
    "Gemm": [_node("Gemm", "r", "m", "b")],
    "MatMul": [_node("MatMul", "r", "m")],
    "MatMul of computed tensors": [
        helper.make_node("MatMul", ["r", "m"], ["one"]), helper.make_node("MatMul", ["r", "m"], ["other"]),
        helper.make_node("Transpose", ["other"], ["turned"], perm=[1, 0]), _node("MatMul", "one", "turned"),
    ],
}  # fmt: skip


def _float_net(name: str) -> onnx.ModelProto:
    if name in _PRODUCTS:
        nodes = [helper.make_node("Reshape", ["x", "reshaped"], ["r"]), *_PRODUCTS[name]]
    else:
        nodes = [_CONV, *_BEHIND_CONV[name]]
    used = {i for n in nodes for i in n.input}
    opset = 12 if name == "Split" else 17
    return model(nodes, {k: a for k, a in _CONSTANTS.items() if k in used}, inputs={"x": _SHAPE},
                 outputs=[o for o in ("y", "z") if any(o in n.output for n in nodes)], opset=opset, ir_version=8,
                 imports={"": opset})  # fmt: skip


class _Samples(CalibrationDataReader):
    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self._samples = iter([{"x": (3 * rng.normal(size=_SHAPE)).astype(np.float32)} for _ in range(4)])

    def get_next(self) -> dict[str, Array] | None:
        """The next sample."""
        return next(self._samples, None)


def _outputs(proto: onnx.ModelProto, x: Array) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(proto.SerializeToString(), options).run(None, {"x": x})


@pytest.mark.parametrize("name", [*_BEHIND_CONV, *_PRODUCTS])
@pytest.mark.parametrize("kind", [QuantType.QUInt8, QuantType.QInt8])
def test_files_of_quantised_operators(name: str, kind: QuantType, tmp_path: Path):
    """Weights of 7 bits, whose products no kernel saturates."""
    source, target = tmp_path / "float.onnx", tmp_path / "bytes.onnx"
    onnx.save(_float_net(name), source)
    quantize_static(source, target, _Samples(), quant_format=QuantFormat.QOperator, activation_type=kind,
                    weight_type=QuantType.QInt8, per_channel=kind is QuantType.QInt8, reduce_range=True,
                    extra_options={"ActivationSymmetric": False})  # fmt: skip
    proto = onnx.load(target)
    x = (2 * np.random.default_rng(2).normal(size=_SHAPE)).astype(np.float32)
    expected = _outputs(proto, x)
    result = translate(proto, "qonnx")
    assert not result.refusals
    assert {n.domain for n in result.model.graph} <= {"", "qonnx.custom_op.general"}
    for runs in (proto, result.model):
        actual = anybit.Session(runs, engine="reference").run(x)
        for one, other in zip(actual.values(), expected, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["Concat", "Gemm"])
def test_dynamic_quantisation_is_refused_by_its_cause_first(name: str, tmp_path: Path):
    source, target = tmp_path / "float.onnx", tmp_path / "bytes.onnx"
    onnx.save(_float_net(name), source)
    quantize_dynamic(source, target)
    first, *_ = translate(onnx.load(target), "qonnx").refusals
    assert first.node.startswith("DynamicQuantizeLinear")
    assert "scales are made from the data" in first.problem
