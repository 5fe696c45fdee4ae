"""Operators newer than opset 21 run on the default engine: by ONNX Runtime, or by the reference, with a warning."""

from __future__ import annotations

import itertools
import subprocess
import sys
import warnings
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from anybit.engines.engine import Engine, FallbackWarning
from anybit.errors import InputError, UnsupportedError
from anybit.io.load import load
from anybit.io.opset import convert_opset
from anybit.runtime.session import Session
from tests.engines.onnxruntime.newer_operators import Case, newer, retyped
from tests.models import DOMAIN, model, parameters, quant, samples

falls_back = pytest.mark.filterwarnings("ignore::anybit.engines.engine.FallbackWarning")

_RANDOM = frozenset("Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike".split())
# Arithmetic that the standard writes as a function in the type of its inputs: engines round it in other places.
_TOLERANCE = {"float16": 2.0**-9, "bfloat16": 2.0**-6}
# onnx states these results with four digits.
_ROUNDED = frozenset(
    """test_averagepool_2d_ceil_last_window_starts_on_pad test_gridsample_bicubic test_roialign_aligned_false
    test_roialign_aligned_true""".split()
)


def _is_random(case: Case) -> bool:
    return case.op_type in _RANDOM or (case.op_type == "Dropout" and "training" in case.name)


def _assert_close(found: Any, expected: Any, *, tolerance: float | None = None) -> None:
    a, b = np.asarray(found), np.asarray(expected)
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    if a.dtype.kind == "O":
        assert (a == b).all()
        return
    if tolerance is None:
        tolerance = _TOLERANCE.get(str(a.dtype), 0.0 if a.dtype.kind in "iubV" else 2e-5)
    numbers = [x.astype(np.complex128 if a.dtype.kind == "c" else np.float64) for x in (a, b)]
    np.testing.assert_allclose(*numbers, rtol=tolerance, atol=tolerance)


# Subtests, since pytest would make the cases of onnx, which takes it seconds, in each process that collects tests.
@falls_back
def test_the_cases_of_onnx(subtests: pytest.Subtests) -> None:
    assert len(newer()) > 150
    for case, engine in itertools.product(newer(), ["auto", "reference"]):
        with subtests.test(case.name, engine=engine):
            _check_case(case, engine)


def _check_case(case: Case, engine: str) -> None:
    session = Session(case.model, engine=engine)
    if engine == "reference" and case.op_type == "Dropout" and _is_random(case):
        with pytest.raises(UnsupportedError, match="draws no random numbers"):
            session.run(case.feeds)
        return
    results = session.run(case.feeds)
    assert case.expected is not None
    for name, expected in case.expected.items():
        if _is_random(case):
            assert results[name].shape == expected.shape
        else:
            _assert_close(results[name], expected, tolerance=1e-4 if case.name in _ROUNDED else None)


@falls_back
def test_every_type_that_is_new(subtests: pytest.Subtests) -> None:
    made = retyped()
    assert len(made) > 150
    for case in made:
        with subtests.test(case.name):
            _check_new_type(case)


def _check_new_type(case: Case) -> None:
    results = Session(case.model).run(case.feeds)
    if _is_random(case):
        return
    for name, expected in Session(case.model, engine="reference").run(case.feeds).items():
        _assert_close(results[name], expected)
    _check_against_stock(case, results)


def _check_against_stock(case: Case, results: dict[str, Any]) -> None:
    """Where ONNX Runtime has a kernel, and Python arrays for it, by itself: the same."""
    if not all(np.asarray(a).dtype.isbuiltin == 1 for a in (*case.feeds.values(), *results.values())):
        return
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        stock = onnxruntime.InferenceSession(case.model.SerializeToString(), options, ["CPUExecutionProvider"])
    except Exception:  # noqa: BLE001  (its errors have no common base)
        return
    feeds = {n: np.asarray(a) for n, a in case.feeds.items()}
    for info, expected in zip(stock.get_outputs(), stock.run(None, feeds), strict=True):
        _assert_close(results[info.name], expected)


_TYPES = [t for t in TensorProto.DataType.values() if t not in (0, 8, 14, 15)]  # no text, no complex numbers


@falls_back
@pytest.mark.parametrize(("source", "target"), list(itertools.product(_TYPES, _TYPES)))
def test_casts_between_all_types(source: int, target: int) -> None:
    x = np.array([0, 1, 1, 0]).astype(helper.tensor_dtype_to_np_dtype(source))
    dtype = helper.tensor_dtype_to_np_dtype(target)
    like = numpy_helper.from_array(np.zeros(1).astype(dtype), "t")
    newest = max(source, target)
    opset = 28 if newest >= TensorProto.FLOAT6E2M3 else 25 if newest > TensorProto.INT4 else 21
    nodes = [helper.make_node("Cast", ["x"], ["y"], to=target)]
    if newest < TensorProto.FLOAT6E2M3:  # which CastLike does not know
        nodes.append(helper.make_node("CastLike", ["x", "t"], ["y"]))
    for node in nodes:
        infos = [helper.make_tensor_value_info(n, t, [4]) for n, t in (("x", source), ("y", target))]
        graph = helper.make_graph([node], "test", infos[:1], infos[1:], [like] if node.op_type == "CastLike" else [])
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=13)
        y = Session(proto).run({"x": x})["y"]
        assert y.dtype == dtype
        if dtype != ml_dtypes.float8_e8m0fnu or x.dtype != dtype:  # it has no zero
            np.testing.assert_array_equal(y.astype(np.float32)[1:3], [1, 1])


_FLOAT8 = ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz")


@falls_back
@pytest.mark.parametrize("name", [*_FLOAT8, "float4_e2m1fn", "int4", "uint4", "int2", "uint2"])
@pytest.mark.parametrize("opset", [25, 28])
def test_quantisers_of_small_types(name: str, opset: int) -> None:
    """As outputs and inputs of the model, and inside it; the values are those of ml_dtypes."""
    dtype = np.dtype(getattr(ml_dtypes, name))
    kind = helper.np_dtype_to_tensor_dtype(dtype)
    x = np.linspace(-6, 6, 49, dtype=np.float32).reshape(7, 7)
    arrays = {"s": np.float32(0.5)}
    zero = numpy_helper.from_array(np.zeros((), dtype), "z")
    if "int" in name:
        limits = ml_dtypes.iinfo(dtype)
        expected = np.clip(np.rint(x / 0.5), int(limits.min), int(limits.max))
    else:
        largest = float(ml_dtypes.finfo(dtype).max)
        expected = np.clip(x / np.float32(0.5), -largest, largest).astype(dtype).astype(np.float32)
    quantize = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"])
    dequantize = helper.make_node("DequantizeLinear", ["q", "s"], ["y"])
    for nodes, inputs, outputs in (
        ([quantize], {"x": [7, 7]}, ["q"]),
        ([dequantize], {"q": [7, 7]}, ["y"]),
        ([quantize, dequantize], {"x": [7, 7]}, ["y"]),
        ([quantize, dequantize], {"x": [7, 7]}, ["q", "y"]),
    ):
        proto = model(nodes, arrays, inputs=inputs, outputs=outputs, opset=opset, ir_version=13)
        proto.graph.initializer.append(zero)
        for info in (*proto.graph.input, *proto.graph.output):
            info.type.tensor_type.elem_type = kind if info.name == "q" else TensorProto.FLOAT
        feeds = {n: x if n == "x" else expected.astype(dtype) for n in inputs}
        for output, values in Session(proto).run(feeds).items():
            assert values.dtype == (dtype if output == "q" else np.float32)
            scale = 1 if output == "q" else 0.5
            np.testing.assert_array_equal(values.astype(np.float32), expected * scale)


def _unwarned(proto: onnx.ModelProto, feeds: dict[str, Any]) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        session = Session(proto)
    assert session.engine is Engine.ONNXRUNTIME
    return session.run(feeds)


@pytest.mark.parametrize("opset", [24, 25, 26, 28])
@pytest.mark.parametrize("alpha", [None, 1.5])
def test_swish_is_run_by_its_function(opset: int, alpha: float | None) -> None:
    attributes = {} if alpha is None else {"alpha": alpha}
    nodes = [quant("x", "xq"), helper.make_node("Swish", ["xq"], ["y"], **attributes)]
    imports = {"": opset, DOMAIN: 1}
    proto = model(nodes, parameters("xq"), inputs={"x": [2, 3]}, outputs=["y"], imports=imports, ir_version=13)
    x = samples(2, 3) * 3
    steps = np.clip(np.rint(x / 0.5), -8, 7).astype(np.float64) * 0.5
    expected = steps / (1 + np.exp(-(alpha or 1.0) * steps))
    np.testing.assert_allclose(_unwarned(proto, {"x": x})["y"], expected, rtol=1e-6, atol=1e-7)


def test_newer_operators_beside_quantisers_stay_on_the_fast_engine() -> None:
    """QuantizeLinear has no kernel at opset 28, CumProd none below 26, BitShift of int32 none below 28."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("CumProd", ["d", "axis"], ["c"]),
        quant("c", "y"),
    ]
    arrays = {"s": np.float32(0.5), "z": np.array(3, np.uint8), "axis": np.array(1)} | parameters("y", bits=8.0)
    imports = {"": 28, DOMAIN: 1}
    proto = model(nodes, arrays, inputs={"x": [2, 3]}, outputs=["y"], imports=imports, ir_version=13)
    x = samples(2, 3) * 2
    steps = (np.clip(np.rint(x / 0.5) + 3, 0, 255) - 3) * 0.5
    expected = np.clip(np.rint(np.cumprod(steps, 1) / 0.5), -128, 127) * 0.5
    np.testing.assert_array_equal(_unwarned(proto, {"x": x})["y"], expected.astype(np.float32))


def test_what_only_the_newest_opset_says_is_run_there() -> None:
    nodes = [helper.make_node("BitShift", ["x", "k"], ["y"], direction="RIGHT")]
    proto = model(
        nodes,
        {"k": np.array([0, 1, 31, 40], np.int32)},
        inputs={"x": [4]},
        outputs=["y"],
        imports={"": 28},
        input_type=TensorProto.INT32,
        ir_version=13,
    )
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.INT32
    x = np.array([-7, -7, -7, -7], np.int32)
    np.testing.assert_array_equal(_unwarned(proto, {"x": x})["y"], [-7, -4, -1, -1])


def _in_bfloat16() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Cast", ["x"], ["b"], to=TensorProto.BFLOAT16),
        helper.make_node("Add", ["b", "b"], ["t"], name="sum"),
        helper.make_node("Cast", ["t"], ["y"], to=TensorProto.FLOAT),
    ]
    return model(nodes, {}, inputs={"x": ["N", 3]}, outputs=["y"], imports={"": 21})


def test_the_fallback_says_which_node_and_why() -> None:
    x = samples(2, 3)
    with pytest.warns(FallbackWarning, match="reference engine, which is slow, runs the model: .*Add") as caught:
        session = Session(_in_bfloat16())
    (warning,) = caught
    assert warning.filename == __file__
    assert "\n" not in str(warning.message)
    assert session.engine is Engine.REFERENCE
    expected = (x.astype(ml_dtypes.bfloat16).astype(np.float32) * 2).astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(session.run(x)["y"], expected)


def test_an_engine_that_is_asked_for_by_name_is_not_replaced() -> None:
    with pytest.raises(UnsupportedError, match='use engine="reference"'):
        Session(_in_bfloat16(), engine="onnxruntime")


@falls_back
def test_the_fallback_answers_for_tensors_and_from_a_cache(tmp_path) -> None:
    x = samples(2, 3)
    for _ in range(2):
        session = Session(_in_bfloat16(), tensors="all", cache=tmp_path)
        assert session.engine is Engine.REFERENCE
        results = session.run(x)
        assert results["t"].dtype == ml_dtypes.bfloat16
        np.testing.assert_array_equal(results["t"].astype(np.float32), results["y"])


@falls_back
def test_the_fallback_checks_what_is_fed() -> None:
    session = Session(_in_bfloat16())
    for wrong in (np.ones((2, 4), np.float32), np.ones(3, np.float32), np.ones((2, 3))):
        with pytest.raises(InputError):
            session.run(wrong)


def test_what_no_engine_runs_is_refused_by_name() -> None:
    node = helper.make_node("Mystery", ["x"], ["y"], name="m", domain="elsewhere")
    proto = model([node], {}, inputs={"x": [1]}, outputs=["y"], imports={"": 28, "elsewhere": 1}, ir_version=13)
    for engine in ("auto", "onnxruntime", "reference"):
        with pytest.raises(UnsupportedError, match=r"Mystery 'm': .*register it as an anybit\.Operator"):
            Session(proto, engine=engine)


@pytest.mark.parametrize("place", ["branch", "function"])
def test_newer_operators_in_subgraphs_and_functions(place: str) -> None:
    swish = helper.make_node("Swish", ["x"], ["t"])
    product = helper.make_node("CumProd", ["t", "axis"], ["out"])
    arrays = {"axis": np.array(1), "c": np.array(True)}
    functions: list[onnx.FunctionProto] = []
    imports = {"": 28}
    if place == "branch":
        info = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
        other = helper.make_node("Identity", ["x"], ["out"])
        branches = {
            "then_branch": helper.make_graph([swish, product], "then", [], [info]),
            "else_branch": helper.make_graph([other], "else", [], [info]),
        }
        nodes = [helper.make_node("If", ["c"], ["y"], **branches)]
    else:
        imports["own"] = 1
        opset = [helper.make_opsetid("", 28)]
        functions = [helper.make_function("own", "F", ["x", "axis"], ["out"], [swish, product], opset)]
        nodes = [helper.make_node("F", ["x", "axis"], ["y"], domain="own")]
    proto = model(
        nodes, arrays, inputs={"x": [2, 3]}, outputs=["y"], imports=imports, functions=functions, ir_version=13
    )
    x = samples(2, 3)
    expected = np.cumprod(x.astype(np.float64) / (1 + np.exp(-x.astype(np.float64))), 1)
    np.testing.assert_allclose(_unwarned(proto, {"x": x})["y"], expected, rtol=1e-5)


def test_the_command_line_says_it_in_one_line(tmp_path) -> None:
    onnx.save(_in_bfloat16(), tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", samples(2, 3))
    command = [sys.executable, "-m", "anybit", "run", str(tmp_path / "m.onnx"), "-i", str(tmp_path / "x.npy"), "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("anybit: warning: the reference engine")
    assert '"engine": "reference"' in result.stdout


def test_mod_of_floats_by_the_floor_is_not_brought_below_opset_28() -> None:
    node = helper.make_node("Mod", ["x", "d"], ["y"])
    proto = model([node], {"d": np.float32(2)}, inputs={"x": [3]}, outputs=["y"], imports={"": 28}, ir_version=13)
    with pytest.raises(UnsupportedError, match="floor of the quotient"):
        convert_opset(load(proto), 27)
    x = np.float32([-3, 3, -0.5])
    np.testing.assert_array_equal(_unwarned(proto, {"x": x})["y"], np.mod(x, np.float32(2)))


def test_a_scale_of_another_type_is_not_brought_below_opset_23() -> None:
    node = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"])
    arrays = {"s": np.float16(0.5), "z": np.array(1, np.uint8)}
    proto = model([node], arrays, inputs={"x": [3]}, outputs=["y"], imports={"": 25}, ir_version=11)
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.UINT8
    assert convert_opset(load(proto), 23)
    with pytest.raises(UnsupportedError, match="type of"):
        convert_opset(load(proto), 22)
