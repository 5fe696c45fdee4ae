"""Affine tails: arithmetic with constants between the last product and an output goes into the weights."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from anybit import Session, load
from anybit.cleanup.infer_shapes import InferShapes
from anybit.engines.onnxruntime.rewrites.affine_tails import fold_affine_tails
from tests.models import model, parameters, quant, samples

_SHIFT, _ROW = np.float32(0.25), samples(1, 5, seed=7)[0]


def net(*steps, outputs=("y",), more=()):
    """x @ w, then (operator, constant, whether the constant comes first) in order."""
    nodes, values, last = [helper.make_node("MatMul", ["x", "w"], ["h"])], {"w": samples(8, 5, seed=1)}, "h"
    for place, (op_type, number, first) in enumerate(steps):
        name = "y" if place == len(steps) - 1 else f"t{place}"
        operands = [f"c{place}", last] if first else [last, f"c{place}"]
        nodes.append(helper.make_node(op_type, operands, [name]))
        values[f"c{place}"], last = np.asarray(number, np.float32), name
    return model([*nodes, *more], values, inputs={"x": ["N", 8]}, outputs=outputs)


def operators(proto) -> list[str]:
    loaded = load(proto)
    InferShapes()(loaded)
    fold_affine_tails(loaded)
    return [n.op_type for n in loaded.graph]


def agree(proto) -> None:
    x = samples(32, 8, seed=2)
    fast, right = (Session(proto, engine=e).run(x) for e in ("auto", "reference"))
    for name, array in right.items():
        np.testing.assert_allclose(fast[name], array, rtol=1e-5, atol=1e-6 * float(np.abs(array).max()))


@pytest.mark.parametrize(
    "steps",
    [
        [("Sub", _SHIFT, False), ("Div", 3.0, False), ("Mul", _ROW, False), ("Add", _ROW, True)],
        [("Mul", _ROW, True), ("Add", 0.5, False)],
        [("Add", _ROW, False), ("Mul", -2.0, False)],
        [("Mul", 0.0, False), ("Add", 1.0, False), ("Mul", 2.0, False)],
        [("Mul", [[-0.1]], False), ("Sub", [_ROW], False), ("Div", _ROW + 3, False)],
    ],
    ids=lambda steps: "-".join(s[0] for s in steps),
)
def test_a_tail_becomes_a_bias(steps):
    proto = net(*steps)
    assert operators(proto) == ["MatMul", "Add"]
    agree(proto)


@pytest.mark.parametrize(
    "proto",
    [
        net(("Add", _ROW, False)),  # is the bias of a Gemm as it is
        net(("Sub", 1.0, True), ("Mul", 2.0, False)),
        net(("Div", 1.0, True), ("Mul", 2.0, False)),
        net(("Div", 0.0, False), ("Add", 1.0, False)),
        net(("Sub", 1e6, False), ("Mul", 2.0, False)),  # what is left of x is lost in the offset
        net(("Mul", 2.0, False), ("Add", 1.0, False), outputs=("y", "t0")),
        net(("Mul", 2.0, False), ("Add", 1.0, False), outputs=("y", "z"), more=[helper.make_node("Neg", ["h"], ["z"])]),
        net(("Mul", samples(8, 5, seed=4), False), ("Add", 1.0, False)),
    ],
    ids=range(8),
)
def test_what_is_no_tail_stays(proto):
    before = [n.op_type for n in proto.graph.node]
    assert operators(proto) == before


def test_identities_change_no_bit():
    steps = [("Mul", _ROW, True), ("Add", 0.5, False)]
    plain, passed = net(*steps), net(*steps)
    passed.graph.node[1].input[1] = "same"
    passed.graph.node.insert(1, helper.make_node("Identity", ["h"], ["same"]))
    assert operators(passed) == ["MatMul", "Add"]
    x = samples(32, 8, seed=2)
    np.testing.assert_array_equal(Session(passed).run(x)["y"], Session(plain).run(x)["y"])


def test_a_quantiser_behind_the_output_keeps_its_sums():
    proto = net(("Mul", 2.0, False), ("Add", 1.0, False), outputs=("y", "q"), more=[quant("y", "q")])
    proto.graph.initializer.extend(model([], parameters("q"), inputs={}, outputs=[]).graph.initializer)
    assert operators(proto).count("Mul") == 1
    agree(proto)


def test_a_weight_that_others_read_is_not_touched():
    proto = net(
        ("Mul", 3.0, False),
        ("Add", 1.0, False),
        outputs=("y", "z"),
        more=[helper.make_node("MatMul", ["x", "w"], ["z"])],
    )
    assert sorted(operators(proto)) == ["Add", "MatMul", "MatMul"]
    agree(proto)
