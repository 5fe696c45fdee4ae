"""Leaves these tests out where brevitas is not installed: `make test` has an environment without it."""

from __future__ import annotations

import warnings
from importlib.util import find_spec

import pytest

collect_ignore_glob = [] if find_spec("brevitas") else ["test_*.py"]

if find_spec("brevitas"):
    with warnings.catch_warnings():  # Brevitas warns about its own packages when they are imported
        warnings.simplefilter("ignore")
        import brevitas.export
        import brevitas.nn
        import brevitas.quant  # noqa: F401


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Weights are drawn when a net is made: each test draws its own, whatever ran before it."""
    import torch

    torch.manual_seed(0)
