"""Recurrent operators stay within what their activations bound."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from anybit.analysis.values.interpreter import analyse
from tests import models
from tests.analysis.values.soundness import bounds_of, check_sound

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def recurrent(op_type: str, *, state: bool = False, size: float = 3.0, steps: int = 6, **attributes: Any):
    """x (steps, 2, 3) -> four hidden units; with `state` the initial states are inputs."""
    rng = np.random.default_rng(1)
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    rows = GATES[op_type] * 4
    initializers = {
        name: (rng.normal(size=(directions, rows, width)) * size).astype(np.float32)
        for name, width in (("w", 3), ("r", 4))
    }
    outputs = ["y", "h", "c"][: 3 if op_type == "LSTM" else 2]
    names = (["", "", "h0", "c0"] if op_type == "LSTM" else ["", "", "h0"]) if state else []
    node = helper.make_node(op_type, ["x", "w", "r", *names], outputs, hidden_size=4, **attributes)
    inputs: dict[str, Any] = {"x": (steps, 2, 3)} | {n: (directions, 2, 4) for n in names if n}
    return models.model([node], initializers, inputs=inputs, outputs=outputs)


@pytest.mark.parametrize("op_type", list(GATES))
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_states_are_bounded_by_the_activations(op_type: str, direction: str) -> None:
    model = recurrent(op_type, direction=direction)
    values = check_sound(model, {"x": (-9.0, 9.0)}, engines=("reference", "onnxruntime"))
    assert not values.unfollowed
    for name in ("y", "h"):
        bound = bounds_of(values, name)
        assert 1 <= bound.hi.item() < 1.00001
        assert -1 >= bound.lo.item() > -1.00001


@pytest.mark.parametrize("op_type", ["GRU", "LSTM"])
def test_initial_states_count(op_type: str) -> None:
    ranges = {"x": (-9.0, 9.0), "h0": (0.5, 4.0)} | ({"c0": (2.0, 5.0)} if op_type == "LSTM" else {})
    values = check_sound(recurrent(op_type, state=True, size=0.1), ranges, engines=("reference", "onnxruntime"))
    y = bounds_of(values, "y")
    assert y.hi.item() == pytest.approx(4 if op_type == "GRU" else 1, rel=1e-5)
    assert y.lo.item() == pytest.approx(-1, rel=1e-5)
    if op_type == "LSTM":
        cell = bounds_of(values, "c")
        assert (cell.lo.item(), cell.hi.item()) == pytest.approx((-6, 11), rel=1e-4)


def test_cells_that_are_driven_to_their_bound_attain_it_nearly() -> None:
    model = recurrent("LSTM", steps=5)
    for name, value in (("w", 0.0), ("r", 0.0)):
        tensor = next(i for i in model.graph.initializer if i.name == name)
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.full(tuple(tensor.dims), value, np.float32), name))
    bias = np.full((1, 32), 10, np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(bias, "b"))
    model.graph.node[0].input.append("b")
    values = check_sound(model)
    assert bounds_of(values, "c").hi.item() == pytest.approx(5, rel=1e-4)


def test_free_number_of_steps_leaves_the_cell_unbounded() -> None:
    model = recurrent("LSTM")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "time"
    values = analyse(model)
    assert not bounds_of(values, "c").is_bounded
    assert bounds_of(values, "h").is_bounded


@pytest.mark.parametrize(
    ("name", "lo", "hi"), [("Relu", 0, np.inf), ("Sigmoid", 0, 1), ("softsign", -1, 1), ("HardSigmoid", 0, 1)]
)
def test_other_activations_of_rnn(name: str, lo: float, hi: float) -> None:
    y = bounds_of(analyse(recurrent("RNN", activations=[name])), "y")
    assert (y.lo.item(), y.hi.item()) == pytest.approx((lo, hi), abs=1e-5)


@pytest.mark.parametrize(
    ("op_type", "activations"),
    [("RNN", ["Elu"]), ("GRU", ["Tanh", "Tanh"]), ("GRU", ["Sigmoid", "Relu"]), ("LSTM", ["Sigmoid", "Tanh", "Relu"])],
)
def test_activations_that_bound_nothing_are_not_followed(op_type: str, activations: list[str]) -> None:
    values = analyse(recurrent(op_type, activations=activations))
    assert len(values.unfollowed) == 1
    assert not bounds_of(values, "y").is_bounded


def test_short_sequences_leave_zeros_and_initial_states() -> None:
    model = recurrent("RNN", state=True, activations=["Sigmoid"])
    model.graph.node[0].input[4] = "lengths"
    model.graph.input.append(helper.make_tensor_value_info("lengths", onnx.TensorProto.INT32, [2]))
    values = analyse(model, input_ranges={"h0": (-3.0, -2.0)})
    assert bounds_of(values, "h").lo.item() == -3
    assert bounds_of(values, "y").lo.item() == pytest.approx(0, abs=1e-5)
