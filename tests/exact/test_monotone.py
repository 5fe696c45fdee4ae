"""direction: what it claims holds for neighbouring numbers; what no proof covers it does not claim."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from anybit.exact import monotone
from anybit.exact.monotone import direction, is_elementwise
from anybit.exact.ordinals import INFINITY, float_at, ordinal_of
from anybit.graph.constants import constant
from anybit.ops.evaluate import compiled
from anybit.ops.operator import DOMAIN
from anybit.ops.traits import Monotone, MonotoneProof, standard
from tests.strategies import MODES, Array, special_values

_OPSETS = {"": 20, DOMAIN: 2}
_CHANNELS = np.array([0.3, -0.7, 1e-3, -4e5], np.float32)
_QUANT = (np.float32(0.3), np.float32(0.5), np.float32(4))
_NORM = (np.float32([1, -1, 2, -3]), *np.float32([[0.1, 0.2, 0.3, 0.4]] * 2), np.float32([0, 1, 2, 3]))


def node_of(op_type: str, *parameters: Any, position: int = 0, domain: str = "", **attributes: Any) -> ir.Node:
    """A node whose input at `position` varies."""
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT))
    constants = [
        ir.node("Constant", [], {"value": ir.tensor(np.asarray(p))}, outputs=[ir.Value(name=f"c{i}")]).outputs[0]
        for i, p in enumerate(parameters)
    ]
    node = ir.node(op_type, [*constants[:position], x, *constants[position:]], attributes, domain=domain)
    node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    return node


def quantizer(op_type: str, *parameters: Any, **attributes: Any) -> ir.Node:
    """A node of the hub's domain."""
    return node_of(op_type, *parameters, domain=DOMAIN, **attributes)


_PROVEN = {
    "Add": node_of("Add", _CHANNELS),
    "Ceil": node_of("Ceil"),
    "Clip": node_of("Clip", np.float32(-1), np.float32(2.5)),
    "Clip of crossing bounds": node_of("Clip", np.float32(2), np.float32(-1)),
    "Floor": node_of("Floor"),
    "HardSigmoid": node_of("HardSigmoid"),
    "LeakyRelu": node_of("LeakyRelu", alpha=0.3),
    "LeakyRelu above 1": node_of("LeakyRelu", alpha=3.0),
    "Max": node_of("Max", _CHANNELS, np.float32(0)),
    "Min": node_of("Min", _CHANNELS, position=1),
    "PRelu": node_of("PRelu", np.abs(_CHANNELS)),
    "Relu": node_of("Relu"),
    "Round": node_of("Round"),
    "Sign": node_of("Sign"),
    "Sqrt": node_of("Sqrt"),
    "ThresholdedRelu": node_of("ThresholdedRelu", alpha=0.5),
    "Neg": node_of("Neg"),
    "Sub": node_of("Sub", _CHANNELS),
    "Sub from": node_of("Sub", _CHANNELS, position=1),
    "Mul": node_of("Mul", _CHANNELS),
    "Mul by 0": node_of("Mul", np.float32(0)),
    "Div": node_of("Div", _CHANNELS),
    "BatchNormalization": node_of("BatchNormalization", *_NORM),
    "BipolarQuant": quantizer("BipolarQuant", np.float32(0.3)),
    **{f"Quant {mode}": quantizer("Quant", *_QUANT, rounding_mode=mode) for mode in MODES},
}
_UNPROVEN = {
    "Div by 0": node_of("Div", np.float32([1, 0])),
    "Div by -0": node_of("Div", np.float32(-0.0)),
    "Mul by infinity": node_of("Mul", np.float32(np.inf)),
    "Mul by NaN": node_of("Mul", np.float32(np.nan)),
    "LeakyRelu that folds": node_of("LeakyRelu", alpha=-0.1),
    "PRelu that folds": node_of("PRelu", np.float32([0.1, -0.1])),
    "ThresholdedRelu below 0": node_of("ThresholdedRelu", alpha=-1.0),
    "HardSigmoid that falls": node_of("HardSigmoid", alpha=-1.0),
    "BatchNormalization of no variance": node_of("BatchNormalization", *_NORM[:3], np.zeros(4, "f"), epsilon=0.0),
    **{name: node_of(name) for name in ("Abs", "Cos", "Gelu", "HardSwish", "Mish", "Reciprocal", "Sin")},
    "Pow": node_of("Pow", np.float32(2)),
    "Quant of scale 0": quantizer("Quant", np.float32(0), *_QUANT[1:]),
    "Elu of another slope": node_of("Elu", alpha=0.5),
    "Selu of another slope": node_of("Selu", alpha=1.5),
    "Celu of another slope": node_of("Celu", alpha=0.5),
}  # fmt: skip


def neighbours() -> Array:
    """Ascending float32 numbers: neighbours of special ones, and of some of every magnitude."""
    special = special_values(np.float32)
    random = np.random.default_rng(0).integers(-INFINITY, INFINITY, 2000)
    around = np.concatenate([ordinal_of(special[~np.isnan(special)]), random])[:, None] + np.arange(-3, 4)
    return float_at(np.unique(np.clip(around, -INFINITY, INFINITY)))


@pytest.mark.parametrize("name", _PROVEN)
def test_what_is_proven_holds_between_neighbours(name: str):
    node = _PROVEN[name]
    sign = direction(node, list(node.inputs).index(_varying(node)), _OPSETS)
    assert sign is not None
    y = outputs_of(node, neighbours())
    was, now = y[:-1], y[1:]
    wrong = np.where(sign > 0, now < was, now > was)  # NaN is neither
    assert not wrong.any()


@pytest.mark.parametrize("name", _PROVEN)
def test_nan_stands_at_the_ends_alone(name: str):
    y = outputs_of(_PROVEN[name], neighbours())
    for column in y.T:
        known = np.flatnonzero(~np.isnan(column))
        assert not np.isnan(column[known[0] : known[-1] + 1]).any()


@pytest.mark.parametrize("name", _UNPROVEN)
def test_what_no_proof_covers_is_not_claimed(name: str):
    node = _UNPROVEN[name]
    assert is_elementwise(node, 0, _OPSETS)
    assert direction(node, 0, _OPSETS) is None


@pytest.mark.parametrize(
    "name", sorted(standard(lambda t: t.proof is MonotoneProof.WALK and t.monotone == (Monotone.RISING,)))
)
def test_a_library_function_rises_where_it_was_walked(name: str, monkeypatch: pytest.MonkeyPatch):
    for walked in (True, False):
        monkeypatch.setattr(monotone, "is_walked", lambda *_, found=walked: found)
        assert (direction(node_of(name), 0, _OPSETS) is not None) == walked


@pytest.mark.parametrize(
    "node",
    [node_of("Softmax"), node_of("BatchNormalization", *_NORM, training_mode=1), node_of("Sigmoid", domain="other")],
    ids=lambda n: f"{n.domain}.{n.op_type}",
)
def test_what_does_not_act_element_by_element_has_no_direction(node: ir.Node):
    assert not is_elementwise(node, 0, _OPSETS)
    assert direction(node, 0, _OPSETS) is None


def test_a_divisor_is_no_operand_that_rises():
    node = node_of("Div", np.float32(1), position=1)
    assert not is_elementwise(node, 1, _OPSETS)


def _varying(node: ir.Node) -> ir.Value | None:
    return next(v for v in node.inputs if v is not None and v.name == "x")


def outputs_of(node: ir.Node, x: Array) -> Array:
    """The node's (n, channels) outputs for (n,) numbers."""
    kernel = compiled(node, _OPSETS)
    assert kernel is not None
    constants = [constant(v) for v in node.inputs]
    channels = max((c.size for c in constants if c is not None), default=1)
    wide = np.repeat(x[:, None], channels, axis=1)
    (y,) = kernel([wide if c is None else c for c in constants])
    return y
