"""agreement: departures are found, counted and said, and ties are no departures."""

from __future__ import annotations

import numpy as np
import pytest

from anybit import load, run
from anybit.errors import FrontEndError
from anybit.frontends.agreement import compared, extreme
from tests.models import mlp, samples

X = {"x": samples(32, 6)}


def source(change):
    """A framework that gives the model's own numbers, changed."""
    return lambda inputs: [change(run(mlp(batch="N"), inputs, engine="reference")["y"])]


def test_equal_numbers_agree(capsys):
    export = compared(load(mlp(batch="N")), source(lambda y: y), extreme(X))
    assert export.agreement.holds
    assert export.agreement.samples == 96
    assert capsys.readouterr().err == (
        "anybit: agrees with its source: 0 of 768 elements depart on 96 samples, largest difference 0\n"
    )


def test_a_departure_is_an_error_unless_a_tolerance_is_named():
    with pytest.raises(FrontEndError, match=r"output 'y'.*256 of 256 elements.*name a tolerance"):
        compared(load(mlp(batch="N")), source(lambda y: y + 1), X, quiet=True)
    assert not compared(load(mlp(batch="N")), source(lambda y: y + 1), X, tolerance=1e-3, quiet=True).agreement.holds
    assert compared(load(mlp(batch="N")), source(lambda y: y + 1), X, tolerance=1.0, quiet=True).agreement.holds


def test_one_tie_in_a_thousand_is_no_departure():
    def one_step(y):
        y.flat[0] += 0.125
        return y

    many = {"x": samples(256, 6)}
    assert compared(load(mlp(batch="N")), source(one_step), many, quiet=True).agreement.holds
    with pytest.raises(FrontEndError):
        compared(load(mlp(batch="N")), source(one_step), {"x": samples(4, 6)}, quiet=True)


def test_extremes_keep_indices_and_types():
    more = extreme({"x": np.float32([[1, -2]]), "i": np.int64([[3, 4]])})
    np.testing.assert_array_equal(more["x"], np.float32([[1, -2], [1000, -2000], [0, 0]]))
    np.testing.assert_array_equal(more["i"], [[3, 4]] * 3)
    assert (more["x"].dtype, more["i"].dtype) == (np.float32, np.int64)
