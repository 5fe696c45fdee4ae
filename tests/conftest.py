"""Where the real models are, and the settings of hypothesis."""

from __future__ import annotations

import os

import onnxruntime
import pytest
from hypothesis import settings

settings.register_profile("quick", deadline=None, derandomize=True, max_examples=10)
settings.register_profile("ci", deadline=None, derandomize=True, max_examples=50)
settings.register_profile("full", deadline=None, derandomize=True, max_examples=100)
settings.register_profile("nightly", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


# Real models of more than a second for each test: `make test` leaves them to CI, and some CI to `make test-all`.
_SLOW_MODELS = ("resnet18_4w4a", "transformer_4w8a")
_LARGE_MODELS = ("mobilenetv1_",)


def pytest_configure() -> None:
    """Sessions of ONNX Runtime get one thread where none is stated.

    Tests run beside each other, one worker for each core: threads that wait for work, which they do busily, took a
    third of the processor time of all tests.
    """
    options = onnxruntime.SessionOptions

    def of_one_thread() -> onnxruntime.SessionOptions:
        made = options()
        made.intra_op_num_threads = 1
        return made

    onnxruntime.SessionOptions = of_one_thread


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(name in item.nodeid for name in _SLOW_MODELS):
            item.add_marker(pytest.mark.slow)
        if any(name in item.nodeid for name in _LARGE_MODELS):
            item.add_marker(pytest.mark.large)


def pytest_report_header() -> str:
    from tests.integration.corpus import CORPUS

    return f"real models: {'found' if CORPUS.is_dir() else 'absent, their tests skip'}"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch) -> None:
    """No test can litter the project, or depend on where it was started."""
    monkeypatch.chdir(tmp_path)
