"""Residual sums on rounding boundaries: warned of, and the same as the exact sum rounded once."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

import anybit
from anybit.errors import Severity
from anybit.ops.quant import QUANT
from tests.models import model, parameters, quant


def residual(scale: float, out: float, *, conv: bool = False, pool: bool = False):
    """Two quantised products of one scale, their sum, and a quantiser of another scale; the sum is an output, too."""
    rng = np.random.default_rng(0)
    shape, rest = ((4, 4, 1, 1), (4, 4, 4)) if conv else ((6, 6), (6,))
    known = {"w": rng.integers(-3, 4, shape), "v": rng.integers(-3, 4, shape)}
    known = {name: array.astype(np.float32) for name, array in known.items()}
    known |= parameters("wq", scale=1.0, bits=3.0) | parameters("vq", scale=1.0, bits=3.0)
    known |= parameters("xq", scale=0.25) | parameters("y", scale=out)
    known |= parameters("a", scale=scale, bits=6.0) | parameters("b", scale=scale, bits=6.0)
    product = "Conv" if conv else "MatMul"
    nodes = [
        quant("x", "xq"),
        quant("w", "wq"),
        quant("v", "vq"),
        helper.make_node(product, ["xq", "wq"], ["h"]),
        helper.make_node(product, ["xq", "vq"], ["g"]),
        quant("h", "a"),
        quant("g", "b"),
        helper.make_node("Add", ["a", "b"], ["sum"]),
        *([helper.make_node("MaxPool", ["sum"], ["m"], kernel_shape=[2, 2], strides=[2, 2])] if pool else []),
        quant("m" if pool else "sum", "y"),
    ]
    return model(nodes, known, inputs={"x": (1, *rest)}, outputs=["y", "sum"])


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize(("scale", "out"), [(0.1, 0.8), (0.3, 2.4), (0.7, 1.4)])
def test_sums_on_a_boundary_are_warned_of(scale: float, out: float, pool: bool):
    source = residual(scale, out, conv=pool, pool=pool)
    handover = anybit.prepare_finn(source)
    assert handover.ready
    (warning,) = [f for f in handover.findings if f.rule == "ties"]
    assert warning.severity is Severity.WARNING
    assert warning.node == "Quant 'y_node'"
    assert "rows 0" in warning.got
    assert handover.comparison is not None
    assert handover.comparison.equal
    x = np.random.default_rng(1).normal(size=(400, *((4, 4, 4) if pool else (6,)))).astype(np.float32)
    theirs, mine = ({n: [] for n in ("y", "sum")} for _ in range(2))
    for results, which in ((theirs, source), (mine, handover.model)):
        session = anybit.Session(which, engine="reference")
        for row in x:
            for name, array in session.run(row[None]).items():
                results[name].append(array)
    unit = np.float64(np.float32(scale))
    sums = np.rint(np.concatenate(theirs["sum"]) / unit)
    if pool:
        sums = sums.reshape(-1, 4, 2, 2, 2, 2).max(axis=(3, 5))
    once = (sums * unit).astype(np.float32)
    expected = QUANT.evaluate([once, np.float32(out), np.float32(0), np.float32(4)], {})
    np.testing.assert_array_equal(np.concatenate(mine["y"]), expected)
    departing = np.concatenate(theirs["y"]) != expected
    halves = sums * unit / np.float64(np.float32(out)) % 1
    assert (np.abs(halves[departing] - 0.5) < 1e-5).all()


def test_powers_of_two_have_no_ties():
    handover = anybit.prepare_finn(residual(0.125, 1.0))
    assert handover.ready
    assert not [f for f in handover.findings if f.rule == "ties"]


def test_a_conversion_stays_exact_and_refuses():
    made = anybit.convert(residual(0.1, 0.8), "finn")
    assert "decide its levels" in made.refusals[0].problem
