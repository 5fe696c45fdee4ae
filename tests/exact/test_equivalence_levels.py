"""certify: levels of what is no function of integers, as of Sin, which is proven neither to rise nor to fall."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import anybit
from anybit.exact.certificate import Verdict
from anybit.formats.certify import certify
from tests.models import DOMAIN, model, parameters, quant

_X = np.random.default_rng(3).uniform(-9, 9, (50, 4)).astype(np.float32)


def _behind_sin(*nodes: onnx.NodeProto, constants: dict[str, Any], times: Any = 1.0) -> onnx.ModelProto:
    """x -> Sin -> s -> nodes -> q -> times -> MatMul -> y."""
    tail = [
        helper.make_node("Mul", ["q", "times"], ["t"]),
        quant("w", "wq"),
        helper.make_node("MatMul", ["t", "wq"], ["m"]),
        quant("m", "y"),
    ]
    known = parameters("wq") | parameters("y", scale=1.0) | {"w": np.float32(_X[:4, :2] / 4)}
    known |= {"times": np.asarray(times, np.float32)} | {k: np.asarray(v, np.float32) for k, v in constants.items()}
    nodes = [helper.make_node("Sin", ["x"], ["s"]), *nodes, *tail]
    return model(nodes, known, inputs={"x": ["N", 4]}, outputs=["y"])


def _signs(scale: Any, **options: Any) -> onnx.ModelProto:
    node = helper.make_node("BipolarQuant", ["s", "scale"], ["q"], domain=DOMAIN)
    return _behind_sin(node, constants={"scale": scale}, **options)


def _levels(x: str = "s", *before: onnx.NodeProto, times: float = 1.0, signed: int = 1, narrow: int = 0, **given: Any):
    constants = {"half": np.float32(0.5)} | parameters("q", **{"scale": 0.25} | given)
    return _behind_sin(*before, quant(x, "q", signed=signed, narrow=narrow), constants=constants, times=times)


def _same(one: onnx.ModelProto, other: onnx.ModelProto) -> bool:
    """Whether they are proven to be equal; then they are, for the numbers that are tried."""
    found = certify(one, other).verdict
    assert found is not Verdict.EXACT_BY_CONSTRUCTION
    if found.is_exact:
        np.testing.assert_array_equal(*(anybit.Session(m, engine="reference").run(_X)["y"] for m in (one, other)))
    return found.is_exact


@pytest.mark.parametrize("times", [2.0, 0.5])
def test_signs_are_known_whatever_they_stand_for(times: float):
    assert _same(_signs(0.5, times=times), _signs(0.5 * times, times=1.0))
    assert not _same(_signs(0.5, times=-times), _signs(0.5 * times, times=1.0))
    assert not _same(_signs(0.5, times=3.0), _signs(0.5 * times, times=1.0))


def test_signs_by_channel_are_no_one_function():
    by_channel = np.float32([0.5, 1, 2, 4])
    assert not _same(_signs(by_channel), _signs(by_channel * 2, times=0.5))


_RELU = helper.make_node("Relu", ["s"], ["r"])
_HALVES = helper.make_node("Div", ["s", "half"], ["d"])


@pytest.mark.parametrize(("bits", "signed", "narrow"), [(1, 1, 0), (1, 0, 0), (2, 1, 1), (3, 1, 0), (20, 1, 0)])
def test_a_scale_that_is_divided_by_before_is_the_scale(bits: int, signed: int, narrow: int):
    options = {"bits": bits, "signed": signed, "narrow": narrow}
    one = _levels(scale=0.5, times=2.0, **options)
    divided = _levels("d", _HALVES, scale=1.0, **options)
    assert _same(one, divided)
    assert not _same(one, _levels("d", _HALVES, scale=1.0, times=-1.0, **options))
    assert not _same(one, _levels("s", scale=1.0, **options))
    other = {"bits": bits + 1} if bits > 2 else {"zeropt": 1.0}
    assert not _same(one, _levels("d", _HALVES, scale=1.0, **options | other))


@pytest.mark.parametrize(("zeropt", "same"), [(0.0, True), (1.0, False), (-1.0, True), (0.5, False)])
def test_what_is_below_zero_has_the_lowest_level_behind_a_relu(zeropt: float, same: bool):
    options = {"zeropt": zeropt, "bits": 3, "signed": 0}
    assert _same(_levels("r", _RELU, **options), _levels(times=1.0, **options)) == same
    assert not _same(_levels("r", _RELU, zeropt=zeropt, bits=3), _levels(zeropt=zeropt, bits=3))


@pytest.mark.parametrize("change", [{"zeropt": 0.5}, {"bits": [[3, 3, 3, 4]]}, {"scale": [[0.25, 0.5, 0.25, 0.25]]}])
def test_levels_of_no_one_grid_are_equal_by_construction_alone(change: dict[str, Any]):
    given = {name: np.asarray(value, np.float32) for name, value in ({"bits": 3} | change).items()}
    one = _levels(**given)
    assert certify(one, one).verdict is Verdict.EXACT_BY_CONSTRUCTION
    assert not _same(one, _levels(bits=3))


def _stated(scale: float, *, datatype: str = "INT4", times: float = 1.0, dims=("N", 4)) -> onnx.ModelProto:
    """An input that holds integers of a stated format, multiplied by a scale, as levels of a layer."""
    nodes = [
        helper.make_node("Mul", ["x", "scale"], ["t"]),
        helper.make_node("Mul", ["t", "times"], ["u"]),
        quant("w", "wq"),
        helper.make_node("MatMul", ["u", "wq"], ["m"]),
        quant("m", "y"),
    ]
    known = parameters("wq") | parameters("y", scale=1.0) | {"w": np.float32(_X[:4, :2] / 4)}
    known |= {"scale": np.float32(scale), "times": np.float32(times)}
    proto = model(nodes, known, inputs={"x": list(dims)}, outputs=["y"])
    entry = proto.graph.quantization_annotation.add(tensor_name="x")
    entry.quant_parameter_tensor_names.add(key="finn_datatype", value=datatype)
    return proto


def test_integers_of_a_stated_format_are_levels():
    one, other = _stated(0.5, times=0.5), _stated(0.25)
    assert certify(one, other).verdict is Verdict.EXACT_BY_ENUMERATION
    assert not certify(one, _stated(0.5)).verdict.is_exact
    x = np.arange(-8, 8, dtype=np.float32).reshape(4, 4)
    results = [anybit.Session(m, engine="reference").run(x)["y"] for m in (one, other)]
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize(("datatype", "known"), [("INT16", True), ("UINT16", True), ("INT17", False), ("INT32", False)])
def test_formats_of_too_many_integers_are_not_enumerated(datatype: str, known: bool):
    """The integers of more than 16 bits are not gone through: only equal operations are proven equal."""
    one = _stated(0.5, datatype=datatype, times=0.5)
    assert certify(one, one).verdict is Verdict.EXACT_BY_CONSTRUCTION
    assert certify(one, _stated(0.25, datatype=datatype)).verdict.is_exact == known


@pytest.mark.parametrize("computed", [True, False])
@pytest.mark.parametrize("first", [True, False])
def test_parts_of_a_tensor_that_no_quantiser_made(first: bool, computed: bool):
    """The part is a Slice of the same elements, or one of others."""
    ends = (0, 2) if first else (2, 4)
    parts = helper.make_node("Split", ["s"], ["p", "rest"], axis=1, num_outputs=2)
    slices = helper.make_node("Slice", ["s", "starts", "ends", "axes"], ["p"])
    tail = [quant("p", "q"), quant("w", "wq"), helper.make_node("MatMul", ["q", "wq"], ["m"]), quant("m", "y")]
    known = parameters("q") | parameters("wq") | parameters("y", scale=1.0) | {"w": np.float32(_X[:2, :2] / 4)}
    places = {"starts": np.int64([ends[0]]), "ends": np.int64([ends[1]]), "axes": np.int64([1])}
    sin = helper.make_node("Sin" if computed else "Identity", ["x"], ["s"])
    split, sliced = (
        model([sin, node, *tail], known | more, inputs={"x": ["N", 4]}, outputs=["y"])
        for node, more in ((parts, {}), (slices, places))
    )
    assert certify(split, sliced).verdict.is_exact == first
    results = [anybit.Session(m, engine="reference").run(_X)["y"] for m in (split, sliced)]
    assert np.array_equal(*results) == first


def _moved(op_type: str, *, before: bool, **given: Any) -> onnx.ModelProto:
    """Levels of (N, 2, 4), moved and doubled, in either order; in front of a product."""
    constants = {name: np.asarray(value, np.int64) for name, value in given.items() if name != "axis"}
    attributes = {"axis": given["axis"]} if "axis" in given else {}
    names = ("q", "t", "t", "u") if before else ("t", "u", "q", "t")
    nodes = [
        helper.make_node(op_type, [names[0], *constants], [names[1]], **attributes),
        helper.make_node("Mul", [names[2], "two"], [names[3]]),
    ]
    nodes = nodes if before else nodes[::-1]
    terms = 8 if op_type in ("Flatten", "Reshape") else 2
    tail = [quant("w", "wq"), helper.make_node("MatMul", ["u", "wq"], ["m"]), quant("m", "y")]
    known = parameters("q", bits=2) | parameters("wq") | parameters("y", scale=1.0) | constants
    known |= {"two": np.float32(2), "w": np.float32(_X[:terms, :3] / 4)}
    return model([quant("x", "q"), *nodes, *tail], known, inputs={"x": ["N", 2, 4]}, outputs=["y"])


_END = {"starts": [-2], "ends": [1 << 40], "axes": [-1]}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("Flatten", {"axis": 1}), ("Reshape", {"shape": [0, 8]}), True),
        (("Flatten", {"axis": 1}), ("Reshape", {"shape": [0, -1]}), True),
        (("Slice", _END), ("Slice", {"starts": [2], "ends": [4], "axes": [2]}), True),
        (("Slice", _END), ("Gather", {"places": [2, 3], "axis": 2}), False),  # which is not known to be the same
        (("Slice", _END), ("Slice", {"starts": [1], "ends": [3], "axes": [2]}), False),
        (("Slice", _END), ("Slice", {"starts": [0], "ends": [4], "axes": [2], "steps": [2]}), False),
    ],
)
def test_moves_of_levels_are_known_by_what_they_do(one: Any, other: Any, same: bool):
    first, second = _moved(one[0], before=True, **one[1]), _moved(other[0], before=False, **other[1])
    assert certify(first, second).verdict is (Verdict.EXACT_BY_ENUMERATION if same else Verdict.UNDECIDED)
    if same:
        x = _X.reshape(-1, 2, 4)
        np.testing.assert_array_equal(*(anybit.Session(m, engine="reference").run(x)["y"] for m in (first, second)))
