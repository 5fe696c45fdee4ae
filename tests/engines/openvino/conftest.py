"""What the tests of OpenVINO share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def without_kernels(monkeypatch):
    """These tests are of OpenVINO beside ONNX Runtime, also where `auto` would take the native engine."""
    monkeypatch.setenv("ANYBIT_ISA", "none")
