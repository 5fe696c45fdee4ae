"""Evaluation: counts and sums of a numpy oracle, whatever the batch size, the workers and the source."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from anybit import Session
from anybit.errors import InputError, UsageError
from anybit.evaluation.evaluate import CACHE_BYTES, Metric, evaluate, fitting_batch
from tests.engines.onnxruntime.rewrites.test_integer_layers import convolutions
from tests.models import DIGITS, mlp, model, samples


def identity(*, batch="N", classes=5, output_type=TensorProto.FLOAT) -> Session:
    """Scores are the inputs."""
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    proto = model(nodes, {}, inputs={"x": [batch, classes]}, outputs=["y"], input_type=output_type)
    proto.graph.output[0].type.tensor_type.elem_type = output_type
    return Session(proto)


def expected_ranks(scores, labels):
    """Position of the label when classes are sorted by falling score, equal ones by number."""
    orders = [np.lexsort((np.arange(len(row)), -row)).tolist() for row in scores]
    return np.array([order.index(int(label)) for order, label in zip(orders, labels, strict=True)])


SIZES = [(1, 1), (1, 3), (2, 1), (3, 2), (7, 1), (16, 2), (33, 5), (100, 2), (1000, 1), (None, None)]


@pytest.mark.parametrize("top", [1, 2, 5])
def test_ranks_are_those_of_a_sort(top):
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 4, (200, 5)).astype(np.float32)  # ties everywhere
    labels = rng.integers(0, 5, 200)
    ranks = expected_ranks(scores, labels)
    found = evaluate(identity(), scores, labels, top=top)
    assert (found.correct, found.correct_in_top) == ((ranks == 0).sum(), (ranks < top).sum())
    assert found.score == (ranks == 0).mean()
    assert found.samples == 200
    assert found.metric is Metric.ACCURACY
    assert found.throughput == 200 / found.seconds


@pytest.mark.parametrize("engine", ["auto", "onnxruntime", "reference"])
@pytest.mark.parametrize("threads", [1, 2, None])
def test_neither_batch_nor_threads_show(engine, threads):
    session = Session(mlp(hidden=64), engine=engine, threads=threads)
    x, rng = samples(100, 6), np.random.default_rng(1)
    labels, targets = rng.integers(0, 64, 100), rng.normal(size=(100, 64))
    counts, errors = set(), set()
    for batch_size, workers in SIZES:
        result = evaluate(session, x, labels, top=3, batch_size=batch_size, workers=workers)
        counts.add((result.samples, result.correct, result.correct_in_top))
        errors.add(evaluate(session, x, targets, metric="squared-error", batch_size=batch_size, workers=workers).score)
    y = Session(mlp(hidden=64), engine="reference").run(x)["y"]
    ranks = expected_ranks(y, labels)
    assert counts == {(100, (ranks == 0).sum(), (ranks < 3).sum())}
    assert len(errors) == 1
    assert errors.pop() == pytest.approx(np.mean((y.astype(np.float64) - targets) ** 2), rel=1e-12)


def test_integer_layers_and_sources_agree(tmp_path):
    session = Session(convolutions(), threads=1)
    x = samples(40, 3, 6, 6)
    y = Session(convolutions(), engine="reference").run(x)["y"]
    flat = y.reshape(40, -1)
    targets = np.random.default_rng(0).normal(size=y.shape)
    np.savez(tmp_path / "d.npz", x=x, t=targets)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "t.npy", targets)
    pairs = [(x[i : i + 9], targets[i : i + 9]) for i in range(0, 40, 9)]
    sources = [
        (x, targets),
        ({"x": x}, targets),
        (tmp_path / "d.npz", None),
        (tmp_path / "d.npz", "t"),
        (tmp_path / "x.npy", tmp_path / "t.npy"),
        (pairs, None),
        ([({"x": a}, t.tolist()) for a, t in pairs], None),
    ]
    found = {
        evaluate(session, data, labels, metric=Metric.SQUARED_ERROR, batch_size=size, workers=2).score
        for data, labels in sources
        for size in (4, 11)
    }
    assert len(found) == 1
    assert found.pop() == pytest.approx(np.mean((flat - targets.reshape(40, -1)) ** 2), rel=1e-12)


def test_a_function_of_the_user():
    scores = samples(50, 5)
    targets = samples(50, 5, seed=1)

    def worst(outputs, labels):
        return np.abs(outputs - labels).max(axis=1)

    results = [evaluate(identity(), scores, targets, metric=worst, batch_size=n) for n in (1, 7, 50)]
    assert len({r.score for r in results}) == 1
    assert results[0].score == pytest.approx(np.abs(scores - targets).max(axis=1).astype(float).mean(), rel=1e-12)
    assert (results[0].metric, results[0].correct) == ("worst", None)
    with pytest.raises(InputError, match=r"the metric's result: got \[\], expected \[50\]"):
        evaluate(identity(), scores, targets, metric=lambda *_: 1.0)


def test_labels_may_be_rows_and_whole_floats():
    scores, labels = samples(30, 5), np.arange(30) % 5
    forms = (labels, labels * 1.0, labels[:, None], np.eye(5)[labels])
    counts = {evaluate(identity(), scores, form).correct for form in forms}
    assert counts == {int((scores.argmax(axis=1) == labels).sum())}


def test_scores_that_are_no_numbers_are_wrong():
    scores = np.eye(5, dtype=np.float32)
    scores[0, 0] = np.nan
    scores[1, 3] = np.nan
    assert evaluate(identity(), scores, np.arange(5), top=5).correct == 3
    assert evaluate(identity(), scores, np.arange(5), top=1).correct_in_top == 3


def test_an_output_may_be_the_class_itself():
    session = identity(classes=1, output_type=TensorProto.INT64)
    assert evaluate(session, np.int64([[0], [2], [1]]), [0, 1, 1], top=2).correct == 2
    assert evaluate(session, np.int64([[0], [2], [1]]), [0, 1, 1], top=2).correct_in_top == 2


BAD_LABELS = {
    "NaN": ([0, np.nan, 1], r"sample 1: label: got \[nan\]"),
    "infinite": ([0, 1, np.inf], r"sample 2: label: got \[inf\]"),
    "too large": ([0, 5, 1], r"sample 1: label: got \[5\], expected a whole number below 5"),
    "negative": ([-1, 0, 1], r"sample 0: label: got \[-1\]"),
    "no whole number": ([0, 0.5, 1], r"sample 1: label: got \[0.5\]"),
    "two ones": (np.ones((3, 5)), r"sample 0: label: got .*, expected one 1 among zeros"),
    "shape": (np.ones((3, 4)), r"shape of the labels: got \[3, 4\], expected \[N\], or \[N, classes\]"),
    "text": (["a", "b", "c"], r"numbers are judged"),
    "count": ([0, 1], r"numbers of samples differ"),
}


@pytest.mark.parametrize("case", BAD_LABELS.values(), ids=BAD_LABELS)
def test_bad_labels_are_named(case):
    labels, message = case
    with pytest.raises(InputError, match=message):
        evaluate(identity(), samples(3, 5), labels)


def test_the_sample_is_counted_from_the_beginning():
    labels = np.zeros(30)
    labels[17] = np.nan
    for batch_size in (1, 4, 30):
        for metric in ("accuracy", "squared-error"):
            data = samples(30, 5)
            targets = labels if metric == "accuracy" else np.repeat(labels[:, None], 5, axis=1)
            with pytest.raises(InputError, match="sample 17: label"):
                evaluate(identity(), data, targets, metric=metric, batch_size=batch_size)


def test_bad_data_and_arguments():
    session = identity()
    x, labels = samples(4, 5), np.zeros(4)
    with pytest.raises(InputError, match=r"shape: got \[4, 6\], expected \[N, 5\]|shape"):
        evaluate(session, samples(4, 6), labels)
    with pytest.raises(InputError, match="element type: got float64"):
        evaluate(session, x.astype(np.float64), labels)
    with pytest.raises(InputError, match=r"shape of the labels: got \[4\], expected \[4, 5\]"):
        evaluate(session, x, labels, metric="squared-error")
    with pytest.raises(InputError, match="one score is no classification"):
        evaluate(identity(classes=1), samples(4, 1), labels)
    with pytest.raises(UsageError, match=r"top: got 6, expected at most 5"):
        evaluate(session, x, labels, top=6)
    with pytest.raises(UsageError, match="unknown metric: got 'f1'"):
        evaluate(session, x, labels, metric="f1")
    with pytest.raises(UsageError, match="output to judge: got 'z', expected y"):
        evaluate(session, x, labels, output="z")
    for name in ("batch_size", "workers", "top"):
        with pytest.raises(UsageError, match="got 0, expected at least 1"):
            evaluate(session, x, labels, **{name: 0})


def test_a_model_bound_to_its_batch():
    nodes = [helper.make_node("Softmax", ["x"], ["y"], axis=0)]
    session = Session(model(nodes, {}, inputs={"x": [4, 5]}, outputs=["y"]))
    x = samples(12, 5)
    parts = np.concatenate([np.exp(p) / np.exp(p).sum(axis=0) for p in np.split(x, 3)])
    labels = np.arange(12) % 5
    for size in (1, 4, 5, 8, 100):
        assert evaluate(session, x, labels, batch_size=size).correct == (parts.argmax(axis=1) == labels).sum()
    with pytest.raises(InputError, match=r"bound to its batch: got 10 samples, expected a multiple of 4"):
        evaluate(session, x[:10], np.zeros(10))


def test_the_batch_fits_a_cache():
    wide = mlp(batch="N", hidden=50_000)
    assert Session(mlp(batch="N")).sample_bytes == (8 + 8) * 4  # Relu
    assert Session(mlp(batch=1)).sample_bytes == (8 + 8) * 4
    assert fitting_batch(Session(mlp())) == 512
    assert fitting_batch(Session(wide)) == CACHE_BYTES // (50_000 * 2 * 4)


def test_progress_and_a_data_set_that_is_left_early():
    seen: list[int] = []
    evaluate(identity(), samples(10, 5), np.zeros(10), batch_size=4, workers=2, progress=seen.append)
    assert seen == [4, 4, 2]

    def endless():
        while True:
            yield samples(2, 5), np.float64([0, 9])

    with pytest.raises(InputError, match="sample 1: label"):
        evaluate(identity(), endless())


def test_the_shipped_model_is_as_good_as_it_says():
    session = Session(DIGITS / "model.onnx", threads=1)
    data = np.load(DIGITS / "test.npz")
    right = Session(DIGITS / "model.onnx", engine="reference").run(data["pixels"])
    expected = (next(iter(right.values())).argmax(axis=1) == data["labels"]).sum()
    assert evaluate(session, DIGITS / "test.npz").correct == expected > 340
