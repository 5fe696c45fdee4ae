"""On a Ray cluster: the same as in one process, also when workers die."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from anybit.errors import UnsupportedError
from anybit.zoo.evaluate import evaluate
from anybit.zoo.options import Options
from tests.models import DIGITS
from tests.zoo.test_evaluate import result

MODEL, DATA = DIGITS / "model.onnx", DIGITS / "test.npz"

pytestmark = pytest.mark.filterwarnings("default")  # Ray's own


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray", reason="needs Ray: install anybit[ray]")
    pytest.importorskip("pyarrow")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield "auto"
    ray.shutdown()


@pytest.mark.parametrize("options", [Options(batch_size=8, workers=2), Options(batch_size=100, workers=2, top=3)])
def test_it_says_what_one_process_says(cluster, options, tmp_path):
    seen = []
    found = evaluate(MODEL, DATA, options=options, ray=cluster, journal=tmp_path / "j", progress=seen.append)
    assert result(found) == result(evaluate(MODEL, DATA, options=options))
    assert found.workers == 2
    assert sum(seen) == 360
    again = evaluate(MODEL, DATA, options=options, ray=cluster, journal=tmp_path / "j")
    assert (result(again), again.resumed) == (result(found), 360)


def dying(marks: Path):
    """A metric whose process is killed on three of the blocks, the first time each."""

    def score(outputs, labels):
        name = marks / str(int(outputs.astype(np.float64).sum() * 1024))
        number = len(list(marks.iterdir()))
        if number < 3:
            name.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return outputs[:, 0] / 3 + labels

    return score


def test_killed_workers_lose_nothing_and_count_nothing_twice(cluster, tmp_path):
    (tmp_path / "marks").mkdir()
    seen = []
    options = Options(metric=dying(tmp_path / "marks"), batch_size=8, workers=2)
    found = evaluate(MODEL, DATA, options=options, ray=cluster, progress=seen.append)
    assert len(list((tmp_path / "marks").iterdir())) == 3
    assert (found.samples, sum(seen)) == (360, 360)
    assert found.score == evaluate(MODEL, DATA, options=options).score  # no more deaths: there are three marks


def test_a_cluster_that_is_not_there_is_said():
    ray = pytest.importorskip("ray", reason="needs Ray: install anybit[ray]")
    if ray.is_initialized():
        ray.shutdown()
    with pytest.raises(UnsupportedError, match="no Ray cluster answers"):
        evaluate(MODEL, DATA, ray="127.0.0.1:9")
