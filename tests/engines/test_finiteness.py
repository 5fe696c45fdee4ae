"""Finiteness: what may make NaN of finite numbers is told apart from what does not."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from anybit import Session, load
from anybit.engines.finiteness import stays_finite
from tests.models import model, parameters, quant, samples


def net(op_type: str, values=None, *, inputs=1, domain="", **attributes):
    """x -> Quant -> op_type -> y."""
    operands = ["xq", *(values or {})][: inputs + len(values or {})]
    nodes = [quant("x", "xq"), helper.make_node(op_type, operands, ["y"], domain=domain, **attributes)]
    return model(nodes, parameters("xq") | (values or {}), inputs={"x": ["N", 8]}, outputs=["y"])


ONES = np.ones(8, np.float32)


@pytest.mark.parametrize(
    ("proto", "expected"),
    [
        (net("Relu"), True),
        (net("Gelu"), True),
        (net("Log"), False),
        (net("Sqrt"), False),
        (net("Div", {"d": ONES}), True),
        (net("Div", {"d": np.zeros(8, np.float32)}), False),
        (net("LayerNormalization", {"s": ONES}), True),
        (net("LayerNormalization", {"s": ONES}, epsilon=0.0), False),
        (net("Add", {"b": ONES}), True),
        (net("Add", {"b": np.float32([-np.inf])}), False),
        (net("Gelu", domain="com.microsoft"), False),
    ],
    ids=lambda value: value.graph.node[1].op_type if hasattr(value, "graph") else str(value),
)
def test_what_stays_finite(proto, expected):
    assert stays_finite(load(proto)) is expected


def test_a_mask_of_infinities_makes_the_nan_that_the_reference_says():
    """Where a whole row is masked Softmax makes NaN, which no byte could carry to the output."""
    mask = np.where(np.eye(4) > 0, 0, -np.inf).astype(np.float32)
    mask[2] = -np.inf
    nodes = [
        helper.make_node("Add", ["x", "mask"], ["masked"]),
        helper.make_node("Softmax", ["masked"], ["shares"]),
        quant("shares", "y", signed=0),
    ]
    proto = model(nodes, {"mask": mask} | parameters("y", scale=1 / 255, bits=8), inputs={"x": [4, 4]}, outputs=["y"])
    x = samples(4, 4)
    fast, right = (Session(proto, engine=e).run(x)["y"] for e in ("auto", "reference"))
    assert np.isnan(right[2]).all()
    np.testing.assert_allclose(fast, right, atol=1e-6)
