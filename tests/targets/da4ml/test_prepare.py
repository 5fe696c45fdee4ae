"""prepare da4ml: what it writes, and what it refuses by name; no da4ml is needed for that."""

from __future__ import annotations

import io

import numpy as np
import pytest
from onnx import helper

import anybit
from anybit.errors import InvalidModelError
from anybit.rounding import Rounding
from anybit.targets.da4ml.network import Modulo, Network, Quantize
from anybit.targets.da4ml.rounding import Bit, floor_of
from tests.integration.corpus import CORPUS, needs_corpus
from tests.models import model, parameters, quant
from tests.targets.da4ml.nets import mlp, wrapping


@pytest.mark.parametrize("mode", Rounding, ids=lambda m: m.value)
@pytest.mark.parametrize("d", [2.0**-k for k in range(1, 6)])
def test_every_rounding_mode_is_a_floor(mode, d):
    v = np.arange(-4, 4 + d, d)
    floor = floor_of(mode, d)
    bit = {Bit.NONE: 0 * v, Bit.ODD: np.floor(v) % 2, Bit.NEGATIVE: (v < 0).astype(float)}[floor.bit]
    np.testing.assert_array_equal(np.floor(v + floor.constant + floor.shift * bit), mode(v))


def evaluated(network: Network, levels: np.ndarray) -> np.ndarray:
    """The steps in numpy, sample by sample."""
    rows = []
    for row in levels:
        sizes = [b.lo.size for b in network.inputs.values()]
        parts = np.split(row, np.cumsum(sizes)[:-1])
        held = {n: p.reshape(b.lo.shape) for (n, b), p in zip(network.inputs.items(), parts, strict=True)}
        for step in network.steps:
            xs = [held[x] for x in step.xs]
            match step.operation:
                case Quantize() as quantize:
                    held[step.y] = quantize(xs[0])
                case Modulo() as modulo:
                    held[step.y] = xs[0] - np.floor(xs[0] / modulo.by) * modulo.by
                case apply:
                    held[step.y] = apply.function(*xs)
        rows.append(np.concatenate([held[y].reshape(-1) for y in network.outputs]))
    return np.stack(rows)


def checked(source):
    project = anybit.prepare_da4ml(source)
    assert project.ready, project.findings
    assert set(project.files) == {"model.onnx", "input.npy", "expected_output.npy", "build.py"}
    levels, expected = (np.load(io.BytesIO(project.files[n])) for n in ("input.npy", "expected_output.npy"))
    network = Network.load(project.files["model.onnx"])
    np.testing.assert_array_equal(evaluated(network, levels), expected)
    return network, levels


@pytest.mark.parametrize("mode", [m.value for m in Rounding])
def test_steps_give_what_the_reference_gives(mode):
    checked(mlp(mode))


def test_narrow_ranges_and_zero_points():
    checked(mlp("ROUND", narrow=1))
    checked(mlp("ROUND", zeropt=1.0))


def test_a_wrap_around_bounds_what_is_behind_it():
    network, levels = checked(wrapping())
    bounds = next(b for b in network.inputs.values())
    assert (bounds.lo.reshape(-1) <= levels).all()
    assert (levels <= bounds.hi.reshape(-1)).all()
    assert any(isinstance(s.operation, Modulo) for s in network.steps)


def test_a_difference_that_is_no_remainder_is_none():
    nodes = [
        quant("x", "xq"),
        helper.make_node("MatMul", ["xq", "w"], ["s"]),
        helper.make_node("Div", ["s", "four"], ["d"]),
        helper.make_node("Floor", ["d"], ["f"]),
        helper.make_node("Sub", ["s", "d"], ["a"]),
        helper.make_node("Sub", ["s", "f"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    constants = {"w": np.eye(2, dtype=np.float32), "four": np.float32(4)} | parameters("xq")
    network, _ = checked(model(nodes, constants, inputs={"x": ["N", 2]}, outputs=["y"]))
    assert not any(isinstance(s.operation, Modulo) for s in network.steps)


@needs_corpus
@pytest.mark.parametrize("name", ["hgq2_jet_sat_rnd", "hgq2_jet_wrap_trn"])
def test_hgq2_nets_are_exact(name):
    checked(CORPUS / name / "model.onnx")


def layer(scale: float, *, behind: str = "Identity", weight: float = 1.0):
    nodes = [
        quant("x", "xq"),
        helper.make_node("MatMul", ["xq", "w"], ["s"]),
        helper.make_node(behind, ["s"], ["t"], name="behind"),
        quant("t", "y"),
    ]
    constants = {"w": np.full((2, 2), weight, np.float32)} | parameters("xq") | parameters("y", scale=scale)
    return model(nodes, constants, inputs={"x": ["N", 2]}, outputs=["y"])


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (layer(0.3), "Quant 'y_node': a scale that is no power of two: got 0.3"),
        (layer(0.5, behind="Tanh"), "Tanh 'behind': no exact circuit is known for it"),
        (layer(0.5, weight=0.1), "float32 rounds it, and the circuit would not: got 28 bits, expected at most 24"),
    ],
)
def test_what_is_not_exact_is_refused_by_name(source, told):
    project = anybit.prepare_da4ml(source)
    assert not project.ready
    assert not project.files
    assert told in " ".join(map(str, project.findings))
    with pytest.raises(InvalidModelError):
        Network.load(source)
