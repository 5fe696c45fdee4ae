"""Packed weights of ONNX Runtime: to the numbers that it computes, or refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

import anybit
from anybit.errors import InvalidModelError
from anybit.formats.convert import translate
from tests.formats.qdq.linear_models import onnxruntime_outputs, operators
from tests.models import model
from tests.strategies import Array, examples, seeds

_VENDOR = "com.microsoft"


def _product(rng: np.random.Generator, *, bits: int = 4, block: int = 16, terms: int = 40, rows: int = 6,
             zero_points: str = "packed", bias: bool = True, **attributes: Any) -> onnx.ModelProto:  # fmt: skip
    blocks = -(-terms // block)
    constants: dict[str, Array] = {
        "w": rng.integers(0, 256, (rows, blocks, block * bits // 8)).astype(np.uint8),
        "s": rng.uniform(0.01, 0.2, (rows, blocks)).astype(np.float32),
        "b": rng.normal(size=rows).astype(np.float32),
        "g": np.arange(terms, dtype=np.int32),
        "packed": rng.integers(0, 256, (rows, -(-blocks * bits // 8))).astype(np.uint8),
        "whole": rng.integers(0, 1 << bits, (rows, blocks)).astype(np.float32),
        "halves": (rng.integers(0, 1 << bits, (rows, blocks)) + 0.5).astype(np.float32),
        "fractions": rng.uniform(0, 1 << bits, (rows, blocks)).astype(np.float32),
    }
    match attributes.pop("scales", "positive"):
        case "powers of two":
            constants["s"] = np.exp2(np.rint(np.log2(constants["s"])))
        case "signed":
            constants["s"] *= rng.choice([-1, 1], (rows, blocks)).astype(np.float32)
        case "negative":
            constants["s"] *= np.float32(-1)
        case "zeros":
            constants["s"] *= rng.choice([0, 1], (rows, blocks)).astype(np.float32)
        case _:
            pass
    g_idx = attributes.pop("g_idx", "")
    inputs = ["x", "w", "s", zero_points, g_idx, "b" if bias else ""]
    attributes = {"K": terms, "N": rows, "bits": bits, "block_size": block} | attributes
    node = helper.make_node("MatMulNBits", inputs, ["y"], name="product", domain=_VENDOR, **attributes)
    used = {k: a for k, a in constants.items() if k in inputs}
    return model([node], used, inputs={"x": [terms, terms]}, outputs=["y"], imports={"": 21, _VENDOR: 1})


@given(seeds, st.sampled_from([2, 4, 8]), st.sampled_from([16, 32, 64]), st.sampled_from(["", "packed"]),
       st.booleans())  # fmt: skip
@examples(40)
def test_products_are_those_of_onnxruntime(seed: int, bits: int, block: int, zero_points: str, bias: bool):
    rng = np.random.default_rng(seed)
    terms = int(rng.choice([16, 40, 64, 100]))
    proto = _product(rng, bits=bits, block=block, terms=terms, zero_points=zero_points, bias=bias)
    result = translate(proto, "qonnx")
    assert not result.refusals
    assert operators(result.model) == ["Quant", "MatMul", *(["Add"] if bias else [])]
    x = np.eye(terms, dtype=np.float32)  # the weights themselves, without sums
    np.testing.assert_array_equal(
        anybit.Session(result.model, engine="reference").run(x)["y"], onnxruntime_outputs(proto, {"x": x})["y"]
    )


_SCALES = ("positive", "powers of two", "signed", "negative", "zeros")


@given(seeds, st.sampled_from([2, 4, 8]), st.sampled_from([16, 32, 64]), st.sampled_from(_SCALES),
       st.sampled_from(["", "packed", "whole", "halves", "fractions"]))  # fmt: skip
@examples(60)
def test_any_scales_and_zero_points(seed: int, bits: int, block: int, scales: str, zero_points: str):
    rng = np.random.default_rng(seed)
    terms = int(rng.choice([16, 40, 64, 100]))
    proto = _product(rng, bits=bits, block=block, terms=terms, zero_points=zero_points, scales=scales,
                     bias=bool(rng.integers(2)), rows=int(rng.integers(1, 9)))  # fmt: skip
    result = translate(proto, "qonnx")
    if bits == 8 and zero_points in ("whole", "halves", "fractions"):  # ONNX Runtime has no kernel for these
        assert [r.problem for r in result.refusals] == ["the zero points"]
        return
    assert not result.refusals
    x = np.eye(terms, dtype=np.float32)
    np.testing.assert_array_equal(
        anybit.Session(result.model, engine="reference").run(x)["y"], onnxruntime_outputs(proto, {"x": x})["y"]
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"scales": "negative", "zero_points": ""}, (5, [])),  # 8 - 0 half a byte does not hold
        ({"zero_points": "halves", "scales": "powers of two"}, (6, [])),  # 31 half steps to either side
        ({"zero_points": "fractions"}, (4, ["Sub"])),
        ({"zero_points": "whole", "scales": "powers of two"}, (4, [])),
    ],
)
def test_the_simplest_quantiser_that_is_exact(changes: dict[str, Any], expected: tuple[int, list[str]]):
    model = translate(_product(np.random.default_rng(1), bias=False, **changes), "qonnx").model
    bits, behind = expected
    assert operators(model) == ["Quant", *behind, "MatMul"]
    quant = next(n for n in model.graph if n.op_type == "Quant")
    width = quant.inputs[3]
    assert width is not None
    assert width.const_value is not None
    assert width.const_value.numpy() == bits


@pytest.mark.parametrize("to", ["qcdq", "qdq"])
@pytest.mark.parametrize("zero_points", ["fractions", "halves"])
def test_real_zero_points_go_on_to_other_formats(to: str, zero_points: str):
    proto = _product(np.random.default_rng(0), bits=2, zero_points=zero_points)
    result = translate(proto, to)
    assert not result.refusals
    x = np.eye(40, dtype=np.float32)
    np.testing.assert_array_equal(
        onnxruntime_outputs(ir.to_proto(result.model), {"x": x})["y"], onnxruntime_outputs(proto, {"x": x})["y"]
    )


_REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "accuracy": ({"accuracy_level": 4}, "its accuracy level lets the activations be rounded"),
    "zero points": ({"zero_points": "fractions", "bits": 8}, "the zero points"),
    "prepacked": ({"weight_prepacked": 1}, "its weights are packed for one kind of device"),
}


@pytest.mark.parametrize("name", _REFUSED)
def test_what_is_not_exact_stays(name: str):
    changes, problem = _REFUSED[name]
    result = translate(_product(np.random.default_rng(0), **changes), "qonnx")
    assert [(r.node, r.problem) for r in result.refusals] == [("MatMulNBits 'product'", problem)]
    assert operators(result.model) == ["MatMulNBits"]


@pytest.mark.parametrize("changes", [{"bits": 3}, {"N": 7}, {"g_idx": "g"}], ids=str)
def test_what_check_calls_an_error_is_not_translated(changes: dict[str, Any]):
    with pytest.raises(InvalidModelError, match="MatMulNBits 'product'"):
        translate(_product(np.random.default_rng(0), **changes), "qonnx")


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("dtype", [TensorProto.UINT8, TensorProto.INT4, TensorProto.UINT4])
@pytest.mark.parametrize("has_zero_points", [False, True])
@pytest.mark.parametrize("has_negative_scales", [False, True])
def test_gathered_rows_are_those_of_onnxruntime(
    axis: int, bits: int, dtype: int, has_zero_points: bool, has_negative_scales: bool
):
    is_packed = dtype == TensorProto.UINT8
    if (is_packed and axis == 0) or (not is_packed and bits != 4):
        pytest.skip("ONNX Runtime has no such form")
    rng = np.random.default_rng(0)
    shape = (32, 64)
    scales = (2, 64) if axis == 0 else (32, 4)
    lo, hi = (-8, 8) if dtype == TensorProto.INT4 else (0, 16)

    def stored(name: str, of: tuple[int, int]) -> onnx.TensorProto:
        if is_packed:
            size = (of[0], of[1] * bits // 8)
            return onnx.numpy_helper.from_array(rng.integers(0, 256, size).astype(np.uint8), name)
        return helper.make_tensor(name, dtype, of, rng.integers(lo, hi, of).reshape(-1).tolist())

    names = ["d", "x", "s", *(["z"] if has_zero_points else [])]
    attributes = {"block_size": 16, "quantize_axis": axis, "gather_axis": 0} | ({"bits": bits} if is_packed else {})
    node = helper.make_node("GatherBlockQuantized", names, ["y"], name="rows", domain=_VENDOR, **attributes)
    signs = rng.choice([-1, 1], scales) if has_negative_scales else 1
    initializers = [
        stored("d", shape),
        onnx.numpy_helper.from_array((signs * rng.uniform(0.1, 1, scales)).astype(np.float32), "s"),
    ]
    initializers += [stored("z", scales)] if has_zero_points else []
    inputs = [helper.make_tensor_value_info("x", TensorProto.INT64, [5])]
    graph = helper.make_graph([node], "g", inputs, [helper.make_tensor_value_info("y", 1, None)], initializers)
    imports = [helper.make_opsetid("", 21), helper.make_opsetid(_VENDOR, 1)]
    proto = helper.make_model(graph, opset_imports=imports, ir_version=10)
    result = translate(proto, "qonnx")
    assert not result.refusals
    assert operators(result.model) == ["Quant", *(["Mul"] if has_negative_scales else []), "Gather"]
    x = np.array([0, 31, 7, -1, 16])
    actual = anybit.Session(result.model, engine="reference").run(x)["y"]
    expected = onnxruntime_outputs(proto, {"x": x})["y"]
    np.testing.assert_array_equal(actual, expected)
    np.testing.assert_array_equal(np.signbit(actual), np.signbit(expected))
