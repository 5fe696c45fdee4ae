"""agreement: departures are found, counted and said; ties are told from them, and a tolerance means what it says."""

from __future__ import annotations

import numpy as np
import pytest

from anybit import load, run
from anybit.errors import FrontEndError
from anybit.frontends.agreement import AgreementVerdict, compared, extreme
from anybit.frontends.comparison.lockstep import Recording
from tests.models import mlp, samples

X = {"x": samples(32, 6)}


def source(change, *, record=True):
    """A framework that gives the model's own numbers, changed, and knows its quantised tensors."""

    def framework(feeds):
        names = [o.name for n in load(mlp(batch="N")).graph for o in n.outputs]
        found = run(mlp(batch="N"), feeds, engine="reference", tensors=names)
        tensors = {n: found[n] for n in names if n != "y"} if record else {}
        return Recording(tensors, dict.fromkeys(tensors, "net")), [change(found["y"])]

    return framework


def test_equal_numbers_are_equal(capsys):
    export = compared(load(mlp(batch="N")), source(lambda y: y), [X, extreme(X)])
    assert export.agreement.verdict is AgreementVerdict.EQUAL
    assert export.agreement.holds
    assert export.agreement.samples == 128
    assert capsys.readouterr().err.startswith("anybit: equal: ")


@pytest.mark.parametrize("offset", [1.0, 1e-3, -0.125])
def test_a_departure_is_an_error_that_names_the_layer(offset):
    with pytest.raises(FrontEndError, match=r"tensor 'y'.*256 of 256 elements"):
        compared(load(mlp(batch="N")), source(lambda y: y + np.float32(offset)), [X], quiet=True)


def test_a_tolerance_loosens_what_it_says_and_nothing_else():
    def off(y):
        return y + np.float32(1e-3) * np.abs(y).max()

    for tolerance in (0.0, 1e-5, 5e-4):
        with pytest.raises(FrontEndError, match="departs from its source"):
            compared(load(mlp(batch="N")), source(off), [X], tolerance=tolerance, quiet=True)
    assert compared(load(mlp(batch="N")), source(off), [X], tolerance=2e-3, quiet=True).agreement.holds


def test_extremes_keep_indices_and_types():
    more = extreme({"x": np.float32([[1, -2]]), "i": np.int64([[3, 4]])})
    np.testing.assert_array_equal(more["x"], np.float32([[1, -2], [1000, -2000], [0, 0]]))
    np.testing.assert_array_equal(more["i"], [[3, 4]] * 3)
    assert (more["x"].dtype, more["i"].dtype) == (np.float32, np.int64)
