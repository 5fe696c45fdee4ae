"""Twelve small architectures, of those of `make frontends-table`, by the flows of their packages."""

from __future__ import annotations

import warnings

import pytest

from tests.frontends.architectures.catalogue import architectures
from tests.frontends.architectures.row import row_of

EQUAL = ("equal", "equal but for ties")
SMALL = [a for a in architectures() if a.small]


@pytest.mark.parametrize("architecture", SMALL, ids=lambda a: f"{a.name}-{a.exporter}".replace(" ", "-"))
def test_a_small_architecture(architecture):
    with warnings.catch_warnings():  # the packages warn about one another
        warnings.simplefilter("ignore")
        row = row_of(architecture)
    assert row.result in EQUAL


def test_there_are_enough():
    assert len(SMALL) == 12
    assert len({a.name for a in architectures()}) >= 40
