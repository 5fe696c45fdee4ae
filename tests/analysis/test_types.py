"""types: the format of every tensor holds every value that the reference engine computes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from anybit.analysis.qonnx_types import legacy_formats
from anybit.analysis.roles import Role
from anybit.analysis.types import types
from anybit.graph.annotations import annotate_number_format
from anybit.io.load import load
from anybit.number_formats import FloatFormat, ScaledIntFormat, parse_number_format
from anybit.runtime.session import Session
from tests.analysis.legacy_example import MEASURED, MEASURED_WITH_SCALES, legacy_example
from tests.integration.corpus import corpus_files, needs_corpus
from tests.models import DIGITS, DOMAIN, mlp, model, parameters, quant, samples
from tests.strategies import examples


def _by_name(source) -> dict:
    return {t.name: t for t in types(source)}


def _quant_model(**options) -> onnx.ModelProto:
    attributes = {k: options.pop(k) for k in ("signed", "narrow") if k in options}
    return model([quant("x", "y", **attributes)], parameters("y", **options), inputs={"x": [1, 3]}, outputs=["y"])


@pytest.mark.parametrize(
    ("options", "datatype", "integers"),
    [
        ({"scale": 1.0}, "INT4", "INT4"),
        ({"scale": 1.0, "signed": 0}, "UINT4", "UINT4"),
        ({"scale": 1.0, "signed": 0, "bits": 1.0}, "BINARY", "BINARY"),
        ({"scale": 1.0, "bits": 1.0}, "BIPOLAR", "BIPOLAR"),
        ({"scale": 0.5}, "FIXED<4,3>", "INT4"),
        ({"scale": 4.0}, "FIXED<4,6>", "INT4"),
        ({"scale": 2.0**-9}, "FIXED<4,-5>", "INT4"),
        ({"scale": 0.5, "signed": 0}, "SCALEDINT<4>", "UINT4"),
        ({"scale": 0.5, "bits": 1.0}, "SCALEDINT<1>", "BIPOLAR"),
        ({"scale": 0.3}, "SCALEDINT<4>", "INT4"),
        ({"scale": np.float32([0.5, 0.25, 0.5])}, "SCALEDINT<4>", "INT4"),
        ({"scale": 0.3, "zeropt": 8.0, "signed": 0}, "SCALEDINT<4>", "UINT4"),
        ({"scale": 0.5, "zeropt": 1.0}, "SCALEDINT<4>", "INT4"),
        ({"scale": 1.0, "zeropt": 8.0, "signed": 0}, "INT4", "UINT4"),
        ({"scale": 1.0, "zeropt": 3.0}, "INT5", "INT4"),
        ({"scale": 0.5, "zeropt": 0.5}, "FLOAT32", "INT4"),
    ],
)
def test_a_quantiser_fixes_the_format(options, datatype, integers):
    tensor = _by_name(_quant_model(**options))["y"]
    assert (str(tensor.format), str(tensor.integers)) == (datatype, integers)
    assert (tensor.role, tensor.element_type) == (Role.OUTPUT, "float")


@given(
    scale=st.sampled_from((1.0, 0.5, 2.0, 0.125, 0.3)),
    zero_point=st.sampled_from((0.0, 0.0, 1.0, -3.0, 0.5)),
    bits=st.integers(1, 9),
    signed=st.sampled_from((0, 1)),
    narrow=st.sampled_from((0, 1)),
)
@examples(60)
def test_the_format_holds_every_value_of_a_quantiser(scale, zero_point, bits, signed, narrow):
    if bits == 1 and narrow and not signed:
        return  # a grid of the one integer 0
    proto = _quant_model(scale=scale, zeropt=zero_point, bits=float(bits), signed=signed, narrow=narrow)
    datatype = _by_name(proto)["y"].format
    x = (np.arange(-(2**bits) - 6, 2**bits + 6) * scale).astype(np.float32)
    for part in np.split(np.resize(x, (x.size // 3 + 1) * 3), x.size // 3 + 1):
        y = Session(proto, engine="reference").run(part[None])["y"]
        assert datatype.allows(y).all()
    tight = not zero_point and scale == 1
    assert not tight or datatype.bits == bits


def test_small_float_formats_take_a_power_of_two_into_the_bias():
    def float_quant(scale, exponent=4.0, mantissa=3.0, bias=7.0):
        node = helper.make_node("FloatQuant", ["x", "s", "e", "m", "b", "most"], ["y"], domain=DOMAIN)
        constants = {"s": scale, "e": exponent, "m": mantissa, "b": bias, "most": 448.0}
        arrays = {k: np.float32(v) for k, v in constants.items()}
        return model([node], arrays, inputs={"x": [1, 64]}, outputs=["y"])

    for scale, text in ((1.0, "FLOAT<4,3,7>"), (0.25, "FLOAT<4,3,9>"), (8.0, "FLOAT<4,3,4>")):
        datatype = _by_name(float_quant(scale))["y"].format
        assert str(datatype) == text
        y = Session(float_quant(scale), engine="reference").run(samples(1, 64) * 50 * scale)["y"]
        assert np.unique(y).size > 30
        assert datatype.allows(y).all()
    assert str(_by_name(float_quant(0.3))["y"].format) == "FLOAT32"
    assert str(_by_name(float_quant(0.5, exponent=8.0, bias=127.0))["y"].format) == "FLOAT<8,3,128>"


def test_stored_integers_have_the_smallest_format_that_holds_them():
    arrays = {
        "whole": np.float32([-3, 0, 4]),
        "signs": np.float32([-1, 1, 1]),
        "ternary": np.float32([-1, 0, 1]),
        "fractions": np.float32([0.5, 1, 2]),
        "infinite": np.float32([np.inf, 1, 2]),
        "indices": np.int64([0, 200]),
        "half": np.float16([0.5]),
        "truths": np.array([True]),
    }
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in arrays]
    proto = model(nodes, arrays, inputs={"x": [1]}, outputs=[n.output[0] for n in nodes])
    found = {name: str(_by_name(proto)[name].format) for name in arrays}
    assert found == {
        "whole": "INT4",
        "signs": "BIPOLAR",
        "ternary": "INT2",
        "fractions": "FLOAT32",
        "infinite": "FLOAT32",
        "indices": "UINT8",
        "half": "FLOAT16",
        "truths": "BINARY",
    }


def test_roles_tell_data_from_shapes_and_constants():
    nodes = [
        *mlp(batch="N").graph.node,
        helper.make_node("Shape", ["h"], ["shape"]),
        helper.make_node("Mul", ["shape", "two"], ["twice"]),
        helper.make_node("RandomNormal", [], ["noise"], shape=[2]),
    ]
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in mlp().graph.initializer} | {"two": np.int64(2)}
    proto = model(nodes, arrays, inputs={"x": ["N", 6]}, outputs=["y"])
    roles = {name: t.role for name, t in _by_name(proto).items()}
    assert roles["x"] is Role.INPUT
    assert roles["w"] is Role.INITIALIZER
    assert roles["wq"] is Role.CONSTANT
    assert roles["y"] is Role.OUTPUT
    assert {roles[n] for n in ("xq", "h", "r", "noise")} == {Role.ACTIVATION}
    assert {roles[n] for n in ("shape", "twice")} == {Role.SHAPE}


def test_the_accumulator_is_as_narrow_as_the_weights_allow():
    found = _by_name(mlp())
    values = Session(mlp(), engine="reference", tensors=["wq"]).run(samples(1, 6))
    most = (np.abs(values["wq"] / 0.25) * 8).sum(0).max()
    accumulated = found["h"].integers
    assert -accumulated.min >= most > -accumulated.min / 2 or accumulated.max >= most
    assert str(found["h"].format) == f"FIXED<{accumulated.bits},{accumulated.bits - 3}>"
    assert (found["h"].scale.smallest, found["h"].scale.entries) == (0.125, 1)


def test_layouts_and_declared_inputs_are_read():
    read = load(mlp())
    annotate_number_format(read.graph.inputs[0], parse_number_format("INT3"))
    assert str(_by_name(read)["x"].format) == "INT3"


@pytest.mark.parametrize(("allowed", "measured"), [(False, MEASURED), (True, MEASURED_WITH_SCALES)])
def test_what_the_existing_tool_would_write(allowed, measured):
    found = legacy_formats(load(legacy_example()), allow_scaledint_dtypes=allowed)
    assert {str(v.name): str(datatype) for v, datatype in found.items()} == measured


def test_integer_element_types_keep_their_own_format_where_the_existing_tool_has_none():
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Unknown", ["x"], ["u"], domain="elsewhere"),
    ]
    arrays = {"s": np.float32(0.5), "z": np.uint8(3)}
    proto = model(nodes, arrays, inputs={"x": [1]}, outputs=["d"], imports={"": 21, "elsewhere": 1})
    proto.graph.value_info.append(helper.make_tensor_value_info("q", TensorProto.UINT8, [1]))
    proto.graph.value_info.append(helper.make_tensor_value_info("shape", TensorProto.INT64, [1]))
    found = {v.name: str(t) for v, t in legacy_formats(load(proto), allow_scaledint_dtypes=True).items()}
    assert found == {"q": "UINT8", "d": "SCALEDINT<8>", "shape": "INT64", "u": "FLOAT32"}


@needs_corpus
@pytest.mark.parametrize("name", ["tfc_2w2a", "cnv_2w2a", "tfc_1w1a", "jet_mlp_6b", "hgq2_jet_sat_rnd"])
def test_formats_of_real_models_hold_what_they_compute(name):
    (case,) = [c for c in corpus_files() if c.name == f"{name}/model.onnx"]
    formats = {t.name: t.format for t in types(case.path)}
    session = Session(case.path, tensors="all")
    results = session.run({session.inputs[0].name: case.inputs[:1]})
    vague = ScaledIntFormat | FloatFormat | None
    exact = {n: f for n, f in formats.items() if n in results and not isinstance(f, vague)}
    assert len(exact) >= 4
    for tensor, datatype in exact.items():
        assert datatype.allows(results[tensor]).all(), (tensor, datatype)


def test_the_demo_model_has_a_format_for_every_tensor():
    found = types(DIGITS / "model.onnx")
    assert all(t.format is not None for t in found)
    assert sum(t.role is Role.INPUT for t in found) == 1
