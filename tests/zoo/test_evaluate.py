"""Evaluation: broken off anywhere and continued, it says what one run says; claims hold to the last sample."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import zlib
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import helper

from anybit import Session
from anybit.errors import ModelFileError, UsageError
from anybit.evaluation.evaluate import evaluate as evaluate_here
from anybit.evaluation.metrics import ScoredSamples
from anybit.zoo.catalogue import open_catalogue
from anybit.zoo.evaluate import evaluate, model_file, reproduce
from anybit.zoo.journal import JournalFile
from anybit.zoo.options import Options
from anybit.zoo.store import Store
from tests.models import DIGITS, mlp, model, parameters, quant

MODEL, DATA = DIGITS / "model.onnx", DIGITS / "test.npz"
OPTIONS = Options(batch_size=32)


class Stop(Exception):  # noqa: N818
    pass


def stopping(after):
    left = [after]

    def progress(_):
        left[0] -= 1
        if left[0] < 0:
            raise Stop

    return progress


def result(found):
    return found.samples, found.score, found.correct, found.correct_in_top


@pytest.mark.parametrize("metric", ["accuracy", "squared-error", "own"])
def test_it_is_continued_where_it_was_broken_off(tmp_path, metric):
    def own(outputs, labels):
        return outputs[:, 0] / 3 + labels.reshape(len(labels), -1)[:, 0]

    with np.load(DATA) as arrays:
        pixels, labels = arrays["pixels"], arrays["labels"]
    if metric == "squared-error":
        labels = np.random.default_rng(0).random((len(labels), 10))
    np.savez(tmp_path / "data.npz", pixels=pixels, labels=labels)
    options = Options(metric=own if metric == "own" else metric, batch_size=32, workers=2)
    expected = evaluate(MODEL, tmp_path / "data.npz", "labels", options=options)
    for after in (0, 3, 5):
        with pytest.raises(Stop):
            evaluate(
                MODEL,
                tmp_path / "data.npz",
                "labels",
                options=options,
                journal=tmp_path / "j",
                progress=stopping(after),
            )
    seen = []
    arguments = {"options": options, "journal": tmp_path / "j"}
    found = evaluate(MODEL, tmp_path / "data.npz", "labels", progress=seen.append, **arguments)
    assert result(found) == result(expected)
    assert found.resumed == 32 * 11
    assert sum(seen) == 360 - 32 * 11
    again = evaluate(MODEL, tmp_path / "data.npz", "labels", progress=stopping(0), **arguments)
    assert result(again) == result(expected)
    assert again.resumed == 360


def test_torn_and_changed_lines_are_judged_anew(tmp_path):
    journal = tmp_path / "j"
    expected = evaluate(MODEL, DATA, options=OPTIONS, journal=journal)
    whole = journal.read_bytes()
    lines = whole.splitlines(keepends=True)
    assert len(lines) == 13
    starts = np.cumsum([len(line) for line in lines])
    for cut, kept in ((starts[4] + 7, 4), (starts[4] - 1, 3), (starts[0], 0), (len(whole) - 1, 11)):
        journal.write_bytes(whole[:cut])
        found = evaluate(MODEL, DATA, options=OPTIONS, journal=journal)
        assert result(found) == result(expected)
        assert found.resumed == kept * 32
        assert journal.read_bytes() == whole
    journal.write_bytes(whole.replace(b'"correct": 3', b'"correct": 2', 1))
    assert result(evaluate(MODEL, DATA, options=OPTIONS, journal=journal)) == result(expected)


def test_a_journal_of_another_evaluation_is_refused(tmp_path):
    journal = tmp_path / "j"
    evaluate(MODEL, DATA, options=OPTIONS, journal=journal)
    before = journal.read_bytes()
    with np.load(DATA) as arrays:
        np.savez(tmp_path / "other.npz", pixels=arrays["pixels"], labels=arrays["labels"][::-1])
    proto = onnx.load(MODEL)
    proto.doc_string = "another"
    onnx.save(proto, tmp_path / "other.onnx")
    cases = [
        (MODEL, DATA, Options(batch_size=32, top=2), "another top"),
        (MODEL, DATA, Options(batch_size=64), "another block"),
        (MODEL, tmp_path / "other.npz", OPTIONS, "another data"),
        (tmp_path / "other.onnx", DATA, OPTIONS, "another model"),
    ]
    for other, data, options, message in cases:
        with pytest.raises(UsageError, match=message):
            evaluate(other, data, options=options, journal=journal)
    assert journal.read_bytes() == before
    (tmp_path / "notes.txt").write_text("precious\n")
    with pytest.raises(UsageError, match="no journal"):
        evaluate(MODEL, DATA, options=OPTIONS, journal=tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "precious\n"
    with pytest.raises(ModelFileError, match="cannot use the journal"):
        evaluate(MODEL, DATA, options=OPTIONS, journal=tmp_path)


def test_external_data_decides_too(tmp_path):
    proto = mlp(batch="N", hidden=64)
    onnx.save(
        proto,
        tmp_path / "m.onnx",
        save_as_external_data=True,
        location="m.data",
        size_threshold=0,
        all_tensors_to_one_file=True,
    )
    session = Session(tmp_path / "m.onnx")
    x = np.random.default_rng(0).random((40, *session.inputs[0].shape[1:]), np.float32)
    np.savez(tmp_path / "d.npz", **{session.inputs[0].name: x, "labels": np.zeros(40)})
    options = Options(metric="accuracy", batch_size=8)
    evaluate(tmp_path / "m.onnx", tmp_path / "d.npz", options=options, journal=tmp_path / "j")
    data = bytearray((tmp_path / "m.data").read_bytes())
    data[0] ^= 1
    (tmp_path / "m.data").write_bytes(data)
    with pytest.raises(UsageError, match="another model"):
        evaluate(tmp_path / "m.onnx", tmp_path / "d.npz", options=options, journal=tmp_path / "j")


_SLOW = """
import sys, time
from pathlib import Path
from anybit.zoo.evaluate import Options, evaluate
model, data, journal = map(Path, sys.argv[1:])
print("begun", flush=True)
def slow(_):
    print("block", flush=True)
    time.sleep(0.05)
evaluate(model, data, options=Options(batch_size=8), journal=journal, progress=slow)
"""


def test_a_killed_process_is_continued(tmp_path):
    expected = evaluate(MODEL, DATA, options=Options(batch_size=8))
    command = [sys.executable, "-c", _SLOW, str(MODEL), str(DATA), str(tmp_path / "j")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for _ in range(6):
            process.stdout.readline()
        with pytest.raises(UsageError, match="another process"):
            evaluate(MODEL, DATA, options=Options(batch_size=8), journal=tmp_path / "j")
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    found = evaluate(MODEL, DATA, options=Options(batch_size=8), journal=tmp_path / "j")
    assert result(found) == result(expected)
    assert 40 <= found.resumed < 360


@pytest.mark.parametrize("name", [c.name for c in open_catalogue().cards.values() if c.judging])
def test_shipped_models_reach_what_they_claim(name):
    found = reproduce(open_catalogue().cards[name], Store())
    assert found.agrees, (found.evaluation, found.claim)


def test_a_wrong_claim_is_seen():
    card = open_catalogue().cards["digits_mlp_2w2a"]
    for change in ({"correct": 354}, {"value": 0.98}, {"samples": 361}):
        wrong = msgspec.structs.replace(card, claim=msgspec.structs.replace(card.claim, **change))
        assert not reproduce(wrong, Store()).agrees


def test_models_without_data_are_not_judged():
    card = open_catalogue().cards["CNV_1W1A"]
    with pytest.raises(UsageError, match="no data come with the model"):
        reproduce(card, Store())


def test_the_file_of_a_card():
    card = open_catalogue().cards["digits_mlp_2w2a"]
    assert model_file(card, Store()) == MODEL


@pytest.mark.large
def test_it_takes_what_the_bare_session_takes(tmp_path):
    """Within 10 %, in processor time: reading an .npz, judging and a journal cost next to nothing."""
    rng = np.random.default_rng(0)
    channels = (3, 64, 128, 128)
    nodes, constants, x = [quant("x", "xq", signed=0)], parameters("xq"), "xq"
    for i, (inputs, outputs) in enumerate(pairwise(channels)):
        constants |= {f"w{i}": rng.normal(size=(outputs, inputs, 3, 3)).astype(np.float32)}
        constants |= parameters(f"w{i}q") | parameters(f"h{i}q")
        conv = helper.make_node("Conv", [x, f"w{i}q"], [f"c{i}"], strides=[1 + i % 2] * 2)
        nodes += [quant(f"w{i}", f"w{i}q"), conv, quant(f"c{i}", f"h{i}q", signed=0)]
        x = f"h{i}q"
    nodes += [helper.make_node("GlobalAveragePool", [x], ["g"]), helper.make_node("Flatten", ["g"], ["y"])]
    session = Session(model(nodes, constants, inputs={"x": ["N", 3, 32, 32]}, outputs=["y"]), threads=1)
    images = rng.random((1024, 3, 32, 32), np.float32)
    np.savez(tmp_path / "d.npz", x=images, labels=np.zeros(len(images), np.int64))

    def bare(_):
        for at in range(0, len(images), 32):
            session.run(images[at : at + 32])

    def judged(path):
        with JournalFile(path, {}) as journal:
            evaluate_here(session, tmp_path / "d.npz", "labels", batch_size=32, workers=1, journal=journal)

    ratios = []
    for turn in range(5):
        times = [time.process_time()]
        for part in (bare, judged):
            part(tmp_path / f"j{turn}")
            times.append(time.process_time())
        ratios.append((times[2] - times[1]) / (times[1] - times[0]))
    assert sorted(ratios)[2] < 1.1, ratios


def test_a_journal_on_a_full_disk_or_a_special_file_is_an_error(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for place in (Path("/dev/full"), Path("/dev/null"), tmp_path / "pipe"):
        with pytest.raises(ModelFileError, match="cannot use the journal: got no regular file"):
            evaluate(MODEL, DATA, options=OPTIONS, journal=place)
        assert not place.with_name(f"{place.name}.lock").exists()


def test_a_line_that_cannot_be_written_leaves_the_lines_before(tmp_path, monkeypatch):
    path = tmp_path / "j"
    with JournalFile(path, {}) as journal:
        journal.record(0, ScoredSamples(8, 3))
        whole = path.read_bytes()
        handle = journal._file

        class Full:
            """A disk with room for three bytes more."""

            def __getattr__(self, name):
                return getattr(handle, name)

            def write(self, data):
                if len(data) < 10:
                    raise OSError(28, "No space left on device")
                return handle.write(data[:3]) if path.stat().st_size < len(whole) + 3 else self.write(b"")

        monkeypatch.setattr(journal, "_file", Full())
        with pytest.raises(ModelFileError, match="No space left"):
            journal.record(1, ScoredSamples(8, 3))
        assert path.read_bytes() == whole
        monkeypatch.undo()
        journal.record(1, ScoredSamples(8, 4))
    with JournalFile(path, {}) as journal:
        assert journal.finished == {0: ScoredSamples(8, 3), 1: ScoredSamples(8, 4)}


def test_a_journal_ended_before_it_had_begun_is_begun_anew(tmp_path):
    path = tmp_path / "j"
    with JournalFile(path, {}):
        first = path.read_bytes()
    for end in range(len(first)):
        path.write_bytes(first[:end])
        with JournalFile(path, {}) as journal:
            journal.record(0, ScoredSamples(8, 3))
        assert path.read_bytes().startswith(first)
        path.write_bytes(first[:end] + b"?")
        with pytest.raises(UsageError, match="no journal"), JournalFile(path, {}):
            pass


@pytest.mark.parametrize(
    "text",
    [
        *("[]", "1", "{}", "{", "\xff", "[" * 100_000, '{"block": 1}'),
        '{"block": "x", "samples": 1, "correct": 1, "correct_in_top": 1, "scores": []}',
        '{"block": 1, "samples": Infinity, "correct": 1, "correct_in_top": 1, "scores": []}',
        '{"block": 1, "samples": null, "correct": 1, "correct_in_top": 1, "scores": []}',
        '{"block": 1, "samples": 1, "correct": 1, "correct_in_top": 1, "scores": 5}',
    ],
    ids=lambda text: text[:40],
)
def test_a_line_with_a_right_checksum_that_is_no_verdict_ends_the_journal(tmp_path, text):
    path = tmp_path / "j"
    with JournalFile(path, {}) as journal:
        journal.record(0, ScoredSamples(8, 3))
    whole = path.read_bytes()
    content = text.encode("latin-1")
    path.write_bytes(whole + b"%08x %b\n" % (zlib.crc32(content), content))
    with JournalFile(path, {}) as journal:
        assert journal.finished == {0: ScoredSamples(8, 3)}
    assert path.read_bytes() == whole
    path.write_bytes(b"%08x %b\n" % (zlib.crc32(content), content))
    with pytest.raises(UsageError, match=r"no journal|another"), JournalFile(path, {}):
        pass
