"""standard: what a format cannot carry, in standard operators that every level of stock ONNX Runtime computes alike."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

import anybit
from anybit.errors import UsageError
from anybit.formats.convert import STANDARD_FORMATS, translate
from tests.formats.qdq.linear_models import assert_equal, operators
from tests.formats.stock_runtime.stock_models import LEVELS, are_far, stock_outputs
from tests.graphs import BATCH, RandomGraph, random_graphs
from tests.models import DOMAIN, mlp, model, parameters, quant
from tests.properties.attempts import inputs_within
from tests.strategies import MODES, examples

_FORMATS = [f.value for f in STANDARD_FORMATS]


def _domains(proto: onnx.ModelProto) -> set[str]:
    """The domains of all nodes, of those in subgraphs too, and of all imports."""
    pending, found = list(proto.graph.node), {o.domain for o in proto.opset_import}
    while pending:
        node = pending.pop()
        found.add(node.domain)
        pending += [inner for a in node.attribute for inner in a.g.node]
    return found


@pytest.mark.parametrize("to", _FORMATS)
@given(random_graphs(), st.integers(0, 2**32 - 1))
@examples(40)
def test_random_graphs_have_standard_operators_alone(to: str, graph: RandomGraph, seed: int):
    rng = np.random.default_rng(seed)
    session = anybit.Session(graph.model, engine="reference")
    feeds = {
        info.name: inputs_within(rng, (BATCH, *info.shape[1:]), *graph.ranges[info.name], info.dtype.type)
        for info in session.inputs
    }
    written = translate(graph.model, to, standard=True)
    assert not written.refusals
    assert not written.approximations
    proto = anybit.to_proto(written.model)
    assert _domains(proto) == {""}
    assert not proto.functions
    expected, actual = session.run(feeds), anybit.Session(written.model, engine="reference").run(feeds)
    assert not are_far(expected, actual)  # MatMulInteger and its scale are rounded otherwise
    if to in ("qcdq", "qdq") and not any(n.op_type.startswith("QLinear") for n in graph.model.graph.node):
        assert_equal(expected, actual)
        assert_equal(expected, anybit.Session(translate(written.model, "qonnx").model, engine="reference").run(feeds))


_VALUES = np.concatenate([np.arange(-40, 40) / 8, [0.49999997, 8388609.0, -1e30, 1e30]]).astype(np.float32)


def _everywhere(source: onnx.ModelProto, to: str, x: np.ndarray) -> anybit.formats.dialect.Conversion:
    """Nothing is refused, and stock ONNX Runtime computes at every level what the reference does."""
    result = translate(source, to, standard=True)
    assert not result.refusals
    proto = anybit.to_proto(result.model)
    assert _domains(proto) == {""}
    assert "If" not in operators(result.model)
    onnx.checker.check_model(proto, full_check=True)
    expected = anybit.Session(source, engine="reference").run(x)
    for level in LEVELS:
        assert_equal(expected, stock_outputs(proto, {"x": x}, level=level))
    return result


@pytest.mark.parametrize("to", _FORMATS)
@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize("zeropt", [0.0, 3.0, 0.25])
def test_roundings_and_zero_points_are_written_exactly_and_read_back(to, mode, zeropt):
    source = model([quant("x", "y", rounding_mode=mode)], parameters("y", zeropt=zeropt), inputs={"x": [84]},
                   outputs=["y"], opset=13)  # fmt: skip
    result = _everywhere(source, to, _VALUES)
    if not result.substitutions:  # integers alone were to be seen to agree
        return
    (told,) = result.substitutions
    assert (told.node, told.problem) == ("Quant 'y_node'", "written with standard operators")
    assert told.got.startswith("Div, ")
    back = translate(result.model, "qonnx").model
    if mode in ("FLOOR", "CEIL") and not zeropt:
        assert operators(back) == ["Quant"]
    assert_equal(*(anybit.Session(m, engine="reference").run(_VALUES) for m in (source, back)))


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("mode", MODES)
def test_trunc_runs_anywhere(version, mode):
    widths = ["ib", "ob"] if version == 1 else ["ib", "os", "ob"]
    nodes = [quant("x", "a"), helper.make_node("Add", ["a", "a"], ["b"]),
             helper.make_node("Trunc", ["b", "s", "z", *widths], ["y"], domain=DOMAIN, name="trunc",
                              rounding_mode=mode)]  # fmt: skip
    values = parameters("a", scale=0.3, bits=6.0)
    values |= {k: np.float32(v) for k, v in {"s": 0.3, "z": 0, "ib": 7, "ob": 4, "os": 2.4}.items()}
    if version == 1:
        del values["os"]
    source = model(nodes, values, inputs={"x": [84]}, outputs=["y"], imports={"": 13, DOMAIN: version})
    result = _everywhere(source, "qcdq", _VALUES)
    assert [s.node for s in result.substitutions] == ["Trunc 'trunc'"]
    assert operators(result.model)[:3] == ["QuantizeLinear", "Clip", "DequantizeLinear"]


@pytest.mark.parametrize("to", ["qcdq", "qdq"])
def test_wide_bipolar_float_and_staircase_quantisers_run_anywhere(to):
    nodes = [
        helper.make_node("BipolarQuant", ["x", "s"], ["a"], domain=DOMAIN, name="sign"),
        quant("x", "b"),
        helper.make_node("FloatQuant", ["x", "s", "e", "m", "bias", "max"], ["c"], domain=DOMAIN, name="float"),
        helper.make_node("MultiThreshold", ["x", "t"], ["d"], domain=DOMAIN, name="steps", data_layout="NC"),
        helper.make_node("Sum", ["a", "b", "c", "d"], ["y"]),
    ]
    values = parameters("b", bits=20.0, scale=0.125) | {"t": np.float32([[-1, 0, 2]])}
    values |= {k: np.float32(v) for k, v in {"s": 0.5, "e": 3, "m": 2, "bias": 3, "max": 20}.items()}
    source = model(nodes, values, inputs={"x": [21, 4]}, outputs=["y"], opset=13)
    result = _everywhere(source, to, np.clip(_VALUES, -1e3, 1e3).reshape(21, 4))
    assert len(result.substitutions) == 4


@pytest.mark.parametrize("bits", [[[1.0], [2.0], [5.0], [9.0]], [[3.0], [3.0], [4.0], [1.0]]])
def test_bit_widths_by_channel_are_bounds_by_channel(bits):
    values = parameters("y", bits=np.float32(bits), scale=0.25)
    source = model([quant("x", "y", signed=0)], values, inputs={"x": [4, 21]}, outputs=["y"], opset=13)
    result = _everywhere(source, "qcdq", _VALUES.reshape(4, 21))
    back = translate(result.model, "qonnx")
    assert not back.refusals
    assert_equal(*(anybit.Session(m, engine="reference").run(_VALUES.reshape(4, 21)) for m in (source, back.model)))


def test_weights_of_one_signed_bit_are_integers_of_two():
    nodes = [helper.make_node("BipolarQuant", ["w", "s"], ["q"], domain=DOMAIN, name="sign"),
             helper.make_node("MatMul", ["x", "q"], ["y"])]  # fmt: skip
    values = {"w": np.float32([[0.5, -2.0], [0.0, -0.25]]), "s": np.float32(0.25)}
    source = model(nodes, values, inputs={"x": [3, 2]}, outputs=["y"], opset=13)
    result = _everywhere(source, "qcdq", np.arange(6, dtype=np.float32).reshape(3, 2))
    assert operators(result.model) == ["Clip", "DequantizeLinear", "MatMul"]
    assert [s.node for s in result.substitutions] == ["BipolarQuant 'sign'"]


def test_constants_that_no_element_type_holds_are_numbers():
    nodes = [quant("w", "q", prefix="p"), helper.make_node("MatMul", ["x", "q"], ["y"])]
    values = parameters("p", zeropt=0.25) | {"w": np.float32([[0.5, -2.0], [0.1, -0.25]])}
    source = model(nodes, values, inputs={"x": [3, 2]}, outputs=["y"], opset=13)
    result = _everywhere(source, "qcdq", np.arange(6, dtype=np.float32).reshape(3, 2))
    assert operators(result.model) == ["MatMul"]


def test_products_that_stay_in_float_are_said_to():
    einsum = helper.make_node("Einsum", ["a", "b"], ["y"], equation="ij,jk->ik", name="einsum")
    values = parameters("a") | parameters("b") | {"w": np.eye(3, dtype=np.float32)}
    nodes = [quant("x", "a"), quant("w", "b"), einsum]
    source = model(nodes, values, inputs={"x": [28, 3]}, outputs=["y"], opset=13)
    result = _everywhere(source, "integer-ops", _VALUES.reshape(28, 3).clip(-9, 9))
    (told,) = result.substitutions
    assert told.node == "Einsum 'einsum'"
    assert told.problem.startswith("left as it is, in standard operators: ")


def test_what_is_decided_at_run_time_stays_refused():
    nodes = [helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0), helper.make_node("Ceil", ["m"], ["n"]),
             quant("x", "y")]  # fmt: skip
    nodes[-1].input[3] = "n"
    source = model(nodes, parameters("y"), inputs={"x": [4]}, outputs=["y"], opset=13)
    result = translate(source, "qcdq", standard=True)
    (refusal,) = result.refusals
    assert refusal.node == "Quant 'y_node'"
    assert "run time" in refusal.problem
    assert operators(result.model) == ["ReduceMax", "Ceil", "Quant"]


def test_operators_that_nothing_is_known_of_stay_refused():
    source = model([quant("x", "a"), helper.make_node("QuantLSTMCell", ["a"], ["y"], domain=DOMAIN, name="cell")],
                   parameters("a"), inputs={"x": [4]}, outputs=["y"])  # fmt: skip
    (refusal,) = translate(source, "qcdq", standard=True).refusals
    assert (refusal.node, refusal.got) == ("QuantLSTMCell 'cell'", f"{DOMAIN}::QuantLSTMCell")


@pytest.mark.parametrize("options", [{"to": "qonnx"}, {"to": "finn"}, {"to": "qcdq", "approximate": True}])
def test_standard_operators_are_for_formats_of_them(options):
    with pytest.raises(UsageError, match="standard operators"):
        translate(mlp(), standard=True, **options)
