"""Quantisers that are written as arithmetic: read to Quant, exact by ONNX Runtime, or refused by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

import anybit
from anybit.formats.convert import translate
from anybit.formats.fake_quant.pattern import evaluate, step_of
from anybit.formats.fake_quant.same_function import is_same
from anybit.graph.walk import label
from anybit.quantizers.quantizer import Quantizer
from tests.formats.integer.arithmetic_models import Step, chain, near_ties
from tests.formats.qdq.linear_models import assert_equal, linear_model, onnxruntime_outputs, operators
from tests.models import model
from tests.strategies import Array, examples, seeds

_SHAPE = (4, 3, 5)
_S = np.float32(0.3)
_CHANNELS = np.array([0.1, 0.25, 0.7], np.float32).reshape(3, 1)
_CONSTANTS: dict[str, Any] = {
    "s": _S, "c": _CHANNELS, "p": np.float32(0.25), "1/p": np.float32(4), "1/s": np.float32(1) / _S,
    "-8": np.float32(-8), "7": np.float32(7), "0": np.float32(0), "15": np.float32(15), "3": np.float32(3),
    "0.5": np.float32(0.5), "-2": np.float32(-2), "1.75": np.float32(1.75), "6": np.float32(6),
}  # fmt: skip
_TO_INT, _TO_FLOAT = {"to": TensorProto.INT32}, {"to": TensorProto.FLOAT}

_READ: dict[str, tuple[list[Step], list[str]]] = {
    "division": ([("Div", "s"), ("Round",), ("Clip", "-8", "7"), ("Mul", "s")], ["Quant"]),
    "bounds first": ([("Div", "s"), ("Clip", "-8", "7"), ("Round",), ("Mul", "s")], ["Quant"]),
    "min and max": ([("Div", "s"), ("Round",), ("Max", "-8"), ("Min", "7"), ("Mul", "s")], ["Quant"]),
    "min, constant first": ([("Div", "s"), ("Round",), ("Max", "-8", "_"), ("Min", "7", "_"), ("Mul", "s", "_")],
                            ["Quant"]),
    "relu and min": ([("Div", "s"), ("Round",), ("Relu",), ("Min", "15"), ("Mul", "s")], ["Quant"]),
    "by channel": ([("Div", "c"), ("Round",), ("Clip", "-8", "7"), ("Mul", "c")], ["Quant"]),
    "reciprocal of a power of two": ([("Mul", "1/p"), ("Round",), ("Clip", "-8", "7"), ("Mul", "p")], ["Quant"]),
    "and division by it": ([("Mul", "1/p"), ("Round",), ("Clip", "-8", "7"), ("Div", "1/p")], ["Quant"]),
    "reciprocal": ([("Mul", "1/s"), ("Round",), ("Clip", "-8", "7"), ("Mul", "s")], ["Mul", "Quant", "Mul"]),
    "zero point": ([("Div", "s"), ("Add", "3"), ("Round",), ("Clip", "0", "15"), ("Sub", "3"), ("Mul", "s")],
                   ["Quant"]),
    "zero point behind": ([("Div", "s"), ("Round",), ("Add", "3"), ("Clip", "0", "15"), ("Sub", "3"), ("Mul", "s")],
                          ["Quant", "Clip"]),
    "real bounds": ([("Clip", "-2", "1.75"), ("Div", "p"), ("Round",), ("Mul", "p")], ["Quant"]),
    "real bounds off the grid": ([("Clip", "0", "6"), ("Div", "s"), ("Round",), ("Mul", "s")], ["Quant", "Clip"]),
    "real bounds behind": ([("Div", "p"), ("Round",), ("Mul", "p"), ("Clip", "-2", "1.75")], ["Quant"]),
    "floor": ([("Div", "s"), ("Floor",), ("Clip", "-8", "7"), ("Mul", "s")], ["Quant"]),
    "ceil": ([("Div", "s"), ("Ceil",), ("Clip", "-8", "7"), ("Mul", "s")], ["Quant"]),
    "floor of a half more": ([("Div", "s"), ("Add", "0.5"), ("Floor",), ("Clip", "-8", "7"), ("Mul", "s")],
                             ["Div", "Add", "Quant", "Mul"]),
    "integers between": ([("Div", "s"), ("Round",), ("Clip", "-8", "7"), ("Cast", _TO_INT), ("Cast", _TO_FLOAT),
                          ("Mul", "s")], ["Quant"]),
    "scale 1": ([("Round",), ("Clip", "-8", "7")], ["Quant"]),
    "bounds of no grid": ([("Div", "s"), ("Round",), ("Clip", "-2", "7"), ("Mul", "s")], ["Quant", "Clip"]),
    "a layer's own scale in front": ([("Mul", "c"), ("Add", "3"), ("Div", "s"), ("Round",), ("Clip", "-8", "7"),
                                      ("Mul", "s"), ("Add", "3")], ["Mul", "Add", "Quant", "Add"]),
    "relu behind": ([("Div", "s"), ("Round",), ("Clip", "-8", "7"), ("Mul", "s"), ("Relu",)], ["Quant", "Relu"]),
}  # fmt: skip

_REFUSED: dict[str, tuple[list[Step], str]] = {
    "no bounds": ([("Div", "s"), ("Round",), ("Mul", "s")], "its integers are not bounded"),
    "integers before bounds": ([("Div", "s"), ("Round",), ("Cast", _TO_INT), ("Cast", _TO_FLOAT), ("Clip", "-8", "7"),
                                ("Mul", "s")], "its integers are not bounded"),
    "bytes before bounds": ([("Div", "s"), ("Round",), ("Cast", {"to": TensorProto.INT8}), ("Cast", _TO_FLOAT),
                             ("Mul", "s")], "its integers are not bounded"),
    "truth before bounds": ([("Div", "s"), ("Round",), ("Cast", {"to": TensorProto.BOOL}), ("Cast", _TO_FLOAT),
                             ("Mul", "s")], "its integers are not bounded"),
    "bounds between integers": ([("Div", "s"), ("Round",), ("Clip", "-2", "1.75"), ("Mul", "s")], "its integers"),
}  # fmt: skip


@pytest.mark.parametrize("name", _READ)
@pytest.mark.parametrize("opset", [11, 13, 21])
def test_every_order_of_the_arithmetic_is_read(name: str, opset: int):
    steps, expected = _READ[name]
    x = near_ties(np.random.default_rng(0), np.broadcast_to(_CHANNELS, _SHAPE), _SHAPE)
    _assert_read(chain(steps, _CONSTANTS, _SHAPE, opset=opset), x, [*expected, "Identity"])


@pytest.mark.parametrize("name", _REFUSED)
def test_what_is_no_quantiser_stays_and_is_refused(name: str):
    steps, problem = _REFUSED[name]
    proto = chain(steps, _CONSTANTS, _SHAPE)
    result = translate(proto, "qonnx")
    (refusal,) = result.refusals
    assert (refusal.problem, refusal.node) == (problem, "Round 'Round_1'")
    assert operators(result.model) == [n.op_type for n in proto.graph.node]


@given(seeds, st.integers(1, 8), st.booleans(), st.booleans(), st.sampled_from(["Round", "Floor", "Ceil"]))
@examples(60)
def test_random_quantisers_are_exact(seed: int, bits: int, signed: bool, reciprocal: bool, rounding: str):
    rng = np.random.default_rng(seed)
    scale = np.exp2(rng.integers(-9, 6, (3, 1))).astype(np.float32) * np.float32(rng.choice([1, 1.1, 0.7]))
    scale = scale if rng.integers(2) else scale[:1].reshape(())
    z = np.float32(rng.integers(0, 4))
    lo, hi = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    constants = {"s": scale, "r": (1 / scale).astype(np.float32), "z": z, "lo": np.float32(lo), "hi": np.float32(hi)}
    down = ("Mul", "r") if reciprocal else ("Div", "s")
    steps: list[Step] = [down, ("Add", "z"), (rounding,), ("Clip", "lo", "hi"), ("Sub", "z"), ("Mul", "s")]
    proto = chain(steps, constants, _SHAPE, unnamed=True)
    result = _assert_read(proto, near_ties(rng, np.broadcast_to(scale, _SHAPE), _SHAPE))
    assert "Quant" in result


def test_weights_are_read_before_they_are_folded():
    weights = np.random.default_rng(0).normal(size=_SHAPE).astype(np.float32)
    steps: list[Step] = [("Mul", "1/s"), ("Round",), ("Clip", "-8", "7"), ("Mul", "s")]
    proto = chain(steps, _CONSTANTS | {"w": weights}, _SHAPE, start="w")
    x = np.ones(_SHAPE, np.float32)
    assert _assert_read(proto, x) == ["Quant", "Mul"]


def test_a_reciprocal_is_a_quotient_on_the_grid_of_the_input():
    first: list[Step] = [("Div", "p"), ("Round",), ("Clip", "-8", "7"), ("Mul", "p")]
    second: list[Step] = [("Mul", "1/s"), ("Round",), ("Clip", "-8", "7"), ("Mul", "s")]
    proto = chain([*first, *second], _CONSTANTS, _SHAPE)
    _assert_read(
        proto, near_ties(np.random.default_rng(0), np.full(_SHAPE, 0.25), _SHAPE), ["Quant", "Quant", "Identity"]
    )


def test_forks_and_outputs_in_the_middle_stay():
    nodes = [helper.make_node("Div", ["x", "s"], ["d"]), helper.make_node("Round", ["d"], ["r"]),
             helper.make_node("Clip", ["r", "-8", "7"], ["q"]), helper.make_node("Mul", ["q", "s"], ["y"]),
             helper.make_node("Neg", ["q"], ["n"])]  # fmt: skip
    constants = {k: _CONSTANTS[k] for k in ("s", "-8", "7")}
    outputs = ["y", "q", "n", "d"]
    proto = model(nodes, constants, inputs={"x": _SHAPE}, outputs=outputs, opset=13, imports={"": 13})
    _assert_read(
        proto, near_ties(np.random.default_rng(0), np.full(_SHAPE, _S), _SHAPE), ["Div", "Quant", "Mul", "Neg"]
    )


def test_a_branch_of_an_if_is_read():
    inner = [helper.make_node("Div", ["x", "s"], ["d"]), helper.make_node("Round", ["d"], ["r"]),
             helper.make_node("Clip", ["r", "-8", "7"], ["q"]), helper.make_node("Mul", ["q", "s"], ["b"])]  # fmt: skip
    output = helper.make_tensor_value_info("b", TensorProto.FLOAT, _SHAPE)
    copy = helper.make_tensor_value_info("e", TensorProto.FLOAT, _SHAPE)
    branches = {
        "then_branch": helper.make_graph(inner, "then", [], [output]),
        "else_branch": helper.make_graph([helper.make_node("Identity", ["x"], ["e"])], "else", [], [copy]),
    }
    nodes = [helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0), helper.make_node("Greater", ["m", "s"], ["k"]),
             helper.make_node("If", ["k"], ["y"], **branches)]  # fmt: skip
    proto = linear_model(nodes, {k: _CONSTANTS[k] for k in ("s", "-8", "7")}, shape=_SHAPE)
    x = near_ties(np.random.default_rng(0), np.full(_SHAPE, _S), _SHAPE)
    assert "Quant" in _assert_read(proto, x)


def test_a_remainder_is_no_quantiser():
    nodes = [helper.make_node("Div", ["x", "s"], ["d"]), helper.make_node("Floor", ["d"], ["f"]),
             helper.make_node("Mul", ["f", "s"], ["m"]), helper.make_node("Sub", ["x", "m"], ["y"])]  # fmt: skip
    result = translate(linear_model(nodes, {"s": _S}, shape=_SHAPE), "qonnx")
    assert not result.refusals
    assert operators(result.model) == [n.op_type for n in nodes]


def test_dynamic_batch():
    steps = _READ["by channel"][0]
    x = near_ties(np.random.default_rng(0), np.broadcast_to(_CHANNELS, _SHAPE), _SHAPE)
    _assert_read(chain(steps, _CONSTANTS, ("n", 3, "m")), x, ["Quant", "Identity"])


def test_the_floor_of_a_magnitude_is_refused_by_name():
    nodes = [helper.make_node("Div", ["x", "s"], ["d"]), helper.make_node("Sign", ["d"], ["g"]),
             helper.make_node("Abs", ["d"], ["a"]), helper.make_node("Add", ["a", "0.5"], ["h"]),
             helper.make_node("Floor", ["h"], ["f"], name="floor"), helper.make_node("Mul", ["g", "f"], ["r"]),
             helper.make_node("Clip", ["r", "-8", "7"], ["q"]), helper.make_node("Mul", ["q", "s"], ["y"])]  # fmt: skip
    proto = linear_model(nodes, {k: _CONSTANTS[k] for k in ("s", "0.5", "-8", "7")}, shape=_SHAPE)
    result = translate(proto, "qonnx")
    assert [r.node for r in result.refusals] == ["Floor 'floor'"]
    assert operators(result.model) == [n.op_type for n in nodes]


@given(seeds)
@examples(40)
def test_the_comparison_of_steps_is_that_of_all_numbers(seed: int):
    """Against every float32 number between two steps of the grid."""
    rng = np.random.default_rng(seed)
    scale = np.float32(rng.choice([0.25, 0.3, 0.7, 1.1]))
    steps: list[Step] = [("Mul", "r"), ("Round",), ("Clip", "lo", "hi"), ("Mul", "s")]
    constants = {"r": np.float32(1) / scale, "s": scale, "lo": np.float32(-2), "hi": np.float32(1)}
    graph = anybit.load(chain(steps, constants, (1,))).graph
    spine = [s for n in list(graph)[:-1] if (s := step_of(n)) is not None]
    quantizer = Quantizer(scale, np.zeros(()), np.zeros(()), np.zeros(())).between(-2, 1)
    ties = (np.array([-1.5, -0.5, 0.5], np.float64) * scale).astype(np.float32).view(np.int32)
    around = (ties[:, None] + np.arange(-200, 201, dtype=np.int32)).view(np.float32).reshape(-1)
    made = evaluate(spine, around, {"": 13})
    assert is_same(spine, quantizer, 1, {"": 13}) == np.array_equal(np.asarray(made), quantizer(around))


def _assert_read(proto: onnx.ModelProto, x: Array, expected: Sequence[str] | None = None) -> list[str]:
    """Read without refusals, and to the numbers of ONNX Runtime; the operators."""
    result = translate(proto, "qonnx")
    assert not result.refusals
    outputs: Mapping[str, Array] = onnxruntime_outputs(proto, {"x": x})
    for engine in ("reference", "onnxruntime"):
        assert_equal(outputs, anybit.Session(result.model, engine=engine).run(x))
    if expected is not None:
        assert operators(result.model) == list(expected)
    assert len({label(n) for n in result.model.graph.all_nodes()}) == len(operators(result.model))
    return operators(result.model)
