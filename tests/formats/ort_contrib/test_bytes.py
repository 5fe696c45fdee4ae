"""ONNX Runtime's contributed operators on bytes: to its bytes, for every byte or pair of bytes, or refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

import anybit
from anybit.formats.convert import translate
from tests.formats.qdq.linear_models import onnxruntime_outputs, operators
from tests.ops.contributed.calls import CALLS, VENDOR, Call, average_pool, ends, every_byte, gemm, softmax
from tests.strategies import Array, examples, seeds

_BYTES = st.sampled_from([np.uint8, np.int8])
_OUTPUT_SCALE = {
    "QGemm": 7, "QLinearAdd": 6, "QLinearAveragePool": 3, "QLinearConcat": 0, "QLinearConv": 6,
    "QLinearGlobalAveragePool": 3, "QLinearLeakyRelu": 3, "QLinearMul": 6, "QLinearSigmoid": 3, "QLinearSoftmax": 3,
    "QLinearWhere": 7,
}  # fmt: skip
_READ = [*_OUTPUT_SCALE, "MatMulIntegerToFloat", "NhwcMaxPool"]


def _between_quantizers(call: Call, *, opset: int = 13, free: bool = False) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """The call on bytes of real numbers that are fed, without shape if free, and the real numbers of its bytes."""
    proto, feeds = call.proto(opset=opset), call.feeds
    graph, call_node = proto.graph, proto.graph.node[0]
    known = {i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer}
    pool = [np.float32(0.25), np.asarray(3, feeds["i0"].dtype)] if call.op_type == "NhwcMaxPool" else None
    before, reals = list[onnx.NodeProto](), dict[str, Array]()
    for value in graph.input:
        place = int(value.name[1:])
        if feeds[value.name].dtype.kind == "b":
            reals[value.name] = feeds[value.name]
            continue
        at = (2, 4) if call.op_type == "MatMulIntegerToFloat" else (place + 1, place + 2)
        scale, zero = pool or [known[f"i{k}"] for k in at]
        name = f"x{place}"
        bytes_, shape = feeds[value.name], [None] * feeds[value.name].ndim if free else feeds[value.name].shape
        reals[name] = np.asarray((bytes_.astype(np.float32) - np.float32(zero)) * np.float32(scale), np.float32)
        graph.initializer.extend(
            [
                onnx.numpy_helper.from_array(np.asarray(scale), f"{name}s"),
                onnx.numpy_helper.from_array(zero, f"{name}z"),
            ]
        )
        before.append(helper.make_node("QuantizeLinear", [name, f"{name}s", f"{name}z"], [value.name]))
        value.CopyFrom(helper.make_tensor_value_info(name, 1, shape))
    behind = list[onnx.NodeProto]()
    if pool is not None or (call.op_type in _OUTPUT_SCALE and len(call.inputs) > _OUTPUT_SCALE[call.op_type] + 1):
        place = _OUTPUT_SCALE.get(call.op_type, 0)
        names = ["x0s", "x0z"] if pool is not None else [f"i{place}", f"i{place + 1}"]
        call_node.output[0] = "bytes"
        behind.append(helper.make_node("DequantizeLinear", ["bytes", *names], ["y"]))
    del graph.node[:]
    graph.node.extend([*before, call_node, *behind])
    graph.output[0].CopyFrom(helper.make_tensor_value_info("y", 1, None))
    return proto, reals


def _assert_read(call: Call, **options: Any) -> list[str]:
    """That it is read, and to ONNX Runtime's numbers; what it becomes."""
    proto, reals = _between_quantizers(call, **options)
    result = translate(proto, "qonnx")
    assert not result.refusals
    made = operators(result.model)
    assert not {call.op_type, "QuantizeLinear", "DequantizeLinear"} & set(made)
    actual = anybit.Session(result.model, engine="reference").run(reals)["y"]
    np.testing.assert_array_equal(actual, onnxruntime_outputs(proto, reals)["y"])
    np.testing.assert_array_equal(actual, anybit.Session(proto, engine="reference").run(reals)["y"])
    return made


def _refusal(call: Call, **options: Any) -> tuple[str, str]:
    """The first refusal, which is of the operator itself."""
    refusal = translate(_between_quantizers(call, **options)[0], "qonnx").refusals[0]
    return refusal.node, refusal.problem


@pytest.mark.parametrize("op_type", [op for op in _READ if op != "QLinearSigmoid"])
@given(seeds, _BYTES)
@examples(25)
def test_bytes_are_those_of_onnxruntime(op_type: str, seed: int, dtype: Any):
    _assert_read(CALLS[op_type](np.random.default_rng(seed), dtype))


@given(seeds, _BYTES)
@examples(40)
def test_sigmoids_are_read_or_lie_on_ties(seed: int, dtype: Any):
    call = CALLS["QLinearSigmoid"](np.random.default_rng(seed), dtype)
    if translate(_between_quantizers(call)[0], "qonnx").refusals:
        assert _refusal(call) == (
            "QLinearSigmoid 'call'", "a sigmoid lies on a rounding tie, implementations of it differ there"
        )  # fmt: skip
    else:
        _assert_read(call)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_the_sigmoid_of_zero_is_no_tie(dtype: Any):
    """What ONNX Runtime's quantiser writes: 0 .. 1 in 255 steps, so that one half lies between two bytes."""
    lowest = np.asarray(np.iinfo(dtype).min, dtype)
    inputs = [every_byte(dtype), np.float32(0.05), np.asarray(lowest + 100, dtype), np.float32(1 / 255), lowest]
    made = _assert_read(Call("QLinearSigmoid", [np.asarray(a) for a in inputs]))
    assert "Sigmoid" in made


@pytest.mark.parametrize("op_type", ["QLinearAdd", "QLinearMul"])
@given(seeds, _BYTES)
@examples(15)
def test_pairs_of_tensors_of_unknown_shape_are_read_or_refused_by_name(op_type: str, seed: int, dtype: Any):
    call = CALLS[op_type](np.random.default_rng(seed), dtype)
    proto, reals = _between_quantizers(call, free=True)
    result = translate(proto, "qonnx")
    if result.refusals:
        assert result.refusals[0].node == f"{op_type} 'call'"
        return
    actual = anybit.Session(result.model, engine="reference").run(reals)["y"]
    np.testing.assert_array_equal(actual, onnxruntime_outputs(proto, reals)["y"])


@given(seeds, _BYTES, st.sampled_from([11, 12, 17, 18, 21]))
@examples(8)
def test_opsets_that_write_axes_in_other_ways(seed: int, dtype: Any, opset: int):
    rng = np.random.default_rng(seed)
    for make in (average_pool, softmax, CALLS["QLinearGlobalAveragePool"]):
        _assert_read(make(rng, dtype), opset=opset)


_UNREAD: dict[str, tuple[Call, dict[str, Any], str]] = {}


def _unread(name: str, call: Call, problem: str, **options: Any) -> None:
    _UNREAD[name] = (call, options, problem)


def _changed(call: Call, place: int, array: Array | None) -> Call:
    return Call(
        call.op_type, [array if k == place else a for k, a in enumerate(call.inputs)], call.attributes, call.fed
    )


_RNG = np.random.default_rng(0)
_POOL, _GEMM = average_pool(_RNG, np.uint8), gemm(_RNG, np.uint8, real=True)
_SOFTMAX = Call("QLinearSoftmax", [every_byte(np.uint8).reshape(256, 1), *ends(_RNG, np.uint8), *ends(_RNG, np.uint8)],
                {"axis": 1, "opset": 13})  # fmt: skip
_unread("a pool of unknown size", _POOL, "the size of the image is not known", free=True)
_unread("a softmax of unknown size", _SOFTMAX, "the number of classes", free=True)
_unread("a softmax that overflows", _changed(_SOFTMAX, 3, np.asarray(1 / 300, np.float32)),
        "ONNX Runtime's kernel overflows")  # fmt: skip
_unread("an opset without Round", _POOL, "the opset is too old for what it computes", opset=10)
_unread("a scale that is no number", _changed(_POOL, 3, np.asarray(np.nan, np.float32)), "the scale")


@pytest.mark.parametrize("name", _UNREAD)
def test_what_is_not_read_is_refused_by_its_own_name(name: str):
    call, options, problem = _UNREAD[name]
    assert _refusal(call, **options) == (f"{call.op_type} 'call'", problem)


def test_real_gemms_whose_sums_float32_does_not_hold_are_refused():
    rng = np.random.default_rng(0)
    inputs = [*_GEMM.inputs]
    inputs[0], inputs[3:7] = np.zeros((2, 300), np.uint8), [np.zeros((300, 4), np.int8), *ends(rng, np.int8), None]
    call = Call("QGemm", inputs)
    assert _refusal(call) == ("QGemm 'call'", "float32 does not hold its sums")


def test_operators_whose_scales_come_from_data_are_refused_by_name():
    call = CALLS["DynamicQuantizeMatMul"](np.random.default_rng(0), np.uint8)
    (refusal,) = translate(call.proto(), "qonnx").refusals
    assert refusal.node == "DynamicQuantizeMatMul 'call'"
    assert "scales are made from the data" in refusal.problem
    assert VENDOR in refusal.got
