"""A server for each test that wants one, and a cache that is empty."""

from __future__ import annotations

import pytest


@pytest.fixture
def server():
    from tests.zoo.server import serving

    with serving() as state:
        yield state


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ANYBIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ANYBIT_CATALOGUE", raising=False)
    return tmp_path / "cache"
