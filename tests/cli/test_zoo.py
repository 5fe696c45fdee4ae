"""anybit zoo: what the commands print, write and exit with."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from anybit.cli.zoo import zoo
from anybit.errors import UsageError
from anybit.zoo.catalogue import open_catalogue
from anybit.zoo.errors import DownloadError
from tests.models import DIGITS
from tests.zoo.server import card_of, file_of, write_catalogue

MODEL, DATA = DIGITS / "model.onnx", DIGITS / "test.npz"
ABOUT = ("--task", "image classification", "--data-set", "digits", "--source", "me", "--licence", "MIT")


def run(*arguments: object):
    return CliRunner().invoke(zoo, [str(a) for a in arguments])


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ANYBIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ANYBIT_CATALOGUE", raising=False)


def test_list():
    table = run("list").stdout
    for cell in ("digits_mlp_2w2a", "TFC_1W1A", "93.17 %", "74,070,028,288", "BIPOLAR", "pinned"):
        assert cell in table
    cards = json.loads(run("list", "--json").stdout)
    assert {c["name"]: c["pinned"] for c in cards}["CNV_1W1A"] is False
    spotting = json.loads(run("list", "--json", "--task", "Keyword").stdout)
    assert "kwsmlp_w3a3" in [c["name"] for c in spotting]
    assert "TFC_1W1A" not in [c["name"] for c in spotting]


def test_info():
    table = run("info", "mobilenet_4W4A").stdout
    for cell in ("ImageNet", "1704.04861", "BSD-3-Clause", "0.7114", "557,381,408", "files 0 urls 0"):
        assert cell in table
    assert json.loads(run("info", "mobilenet_4W4A", "--json").stdout)["cost"]["macs"] == 557381408
    assert isinstance(run("info", "nothing").exception, UsageError)


def test_run(tmp_path):
    with np.load(DATA) as data:
        np.save(tmp_path / "pixels.npy", data["pixels"])
        labels = data["labels"]
    result = run("run", "digits_mlp_2w2a", "-i", tmp_path / "pixels.npy", "-o", tmp_path / "out.npz", "--json")
    assert json.loads(result.stdout)["samples"] == 360
    with np.load(tmp_path / "out.npz") as outputs:
        assert (outputs["logits"].argmax(axis=1) == labels).sum() == 355
    assert isinstance(run("run", "nothing", "-i", tmp_path / "pixels.npy").exception, UsageError)


def test_fetch_prints_where_the_file_is():
    result = run("fetch", "digits_mlp_2w2a")
    assert (result.exit_code, result.stdout) == (0, f"{MODEL}\n")
    files = json.loads(run("fetch", "digits_mlp_2w2a", "--json").stdout)["files"]
    assert files == {"model.onnx": str(MODEL), "test.npz": str(DATA)}


def test_unpinned_models_need_a_word(tmp_path):
    (tmp_path / "model.onnx").write_bytes(MODEL.read_bytes())
    write_catalogue(tmp_path, card_of(file_of(b"", "model.onnx", pinned=False)))
    here = ("--catalogue", tmp_path)
    result = run("fetch", "net", *here)
    assert isinstance(result.exception, DownloadError)
    assert "--accept-unpinned" in str(result.exception)
    assert run("fetch", "net", "--accept-unpinned", *here).stdout == f"{tmp_path / 'model.onnx'}\n"
    assert run("verify", "net", *here).exit_code == 0
    (tmp_path / "model.onnx").write_bytes(b"changed")
    assert run("verify", "net", *here).exit_code == 1
    assert isinstance(run("fetch", "net", "--accept-unpinned", *here).exception, DownloadError)


def test_verify_says_what_is_here():
    states = json.loads(run("verify", "--json").stdout)
    assert [f["state"] for f in states["digits_mlp_2w2a"]] == ["sound", "sound"]
    assert [f["state"] for f in states["TFC_1W1A"]] == ["absent"]
    assert [f["state"] for f in states["CNV_1W1A"]] == ["not pinned"]
    assert "digits_mlp_2w2a" in run("verify").stdout


def test_a_shipped_model_is_held_to_its_claim(tmp_path):
    result = run("evaluate", "digits_mlp_2w2a", "--journal", tmp_path / "j")
    assert result.exit_code == 0
    assert "355 of 360: which it reaches" in result.stdout
    report = json.loads(run("evaluate", "digits_mlp_2w2a", "--json", "--top", 3).stdout)
    assert (report["agrees"], report["evaluation"]["correct"], report["claim"]["correct"]) == (True, 355, 355)
    assert report["evaluation"]["top"] == 3
    card = open_catalogue().cards["digits_mlp_2w2a"]
    import msgspec

    wrong = msgspec.structs.replace(card, claim=msgspec.structs.replace(card.claim, correct=356))
    write_catalogue(tmp_path, wrong)
    result = run("evaluate", "digits_mlp_2w2a", "--catalogue", tmp_path)
    assert result.exit_code == 1
    assert "356 of 360: which it does not reach" in result.stdout


def test_a_file_is_judged_on_data_of_the_user(tmp_path):
    with np.load(DATA) as arrays:
        np.savez(tmp_path / "few.npz", pixels=arrays["pixels"][:50], labels=arrays["labels"][:50])
    for model in (MODEL, "digits_mlp_2w2a"):
        result = run(
            "evaluate", model, "--data", tmp_path / "few.npz", "--labels", "labels", "--json", "--batch-size", 7
        )
        found = json.loads(result.stdout)
        assert (result.exit_code, found["samples"], found["batch_size"]) == (0, 50, 7)
    assert "accuracy" in run("evaluate", MODEL, "--data", DATA).stdout


def test_evaluate_without_sense():
    for arguments in (
        ("x.onnx",),
        ("digits_mlp_2w2a", "--labels", "x"),
        ("digits_mlp_2w2a", "--metric", "squared-error"),
    ):
        assert isinstance(run("evaluate", *arguments).exception, UsageError)
    assert isinstance(run("evaluate", MODEL, "--data", DATA, "--metric", "beauty").exception, UsageError)


def test_add_then_evaluate_then_a_site(tmp_path):
    target = tmp_path / "zoo"
    result = run("add", MODEL, "--data", DATA, "-o", target, "--name", "mine", "--with-data", *ABOUT)
    assert result.exit_code == 0, result.output
    assert f"written to {target / 'mine'}" in result.stdout.replace("\n", "")
    here = ("--catalogue", target)
    assert json.loads(run("list", "--json", *here).stdout)[0]["name"] == "mine"
    assert run("evaluate", "mine", *here).exit_code == 0
    result = run("site", "-o", tmp_path / "site", *here)
    assert "2 pages, 1 with a report" in result.stdout
    assert (tmp_path / "site" / "models" / "mine.html").is_file()


def test_add_refuses_a_model_that_fails_its_checks(tmp_path):
    proto = onnx.load(MODEL)
    next(a for n in proto.graph.node for a in n.attribute if a.name == "rounding_mode").s = b"SIDEWAYS"
    onnx.save(proto, tmp_path / "bad.onnx")
    for extra in ((), ("--json",)):
        result = run("add", tmp_path / "bad.onnx", "--data", DATA, "-o", tmp_path / "zoo", *ABOUT, *extra)
        assert result.exit_code == 1
        assert "SIDEWAYS" in result.stdout
    assert not (tmp_path / "zoo").exists()
    assert isinstance(run("add", MODEL, "--data", DATA, "-o", tmp_path, "--metric", "x", *ABOUT).exception, UsageError)


def test_a_thousand_entries_are_listed_without_what_opens_models(tmp_path):
    import msgspec

    template = open_catalogue().cards["mobilenet_4W4A"]
    write_catalogue(tmp_path, *(msgspec.structs.replace(template, name=f"net{i}") for i in range(1000)))
    program = """
import sys
from anybit.cli.zoo import zoo
try:
    zoo(sys.argv[1:])
finally:
    print("loaded:", *sorted({"onnxruntime", "PIL", "scipy"} & set(sys.modules)))
"""
    command = [sys.executable, "-c", program, "list", "--catalogue", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert all(f"net{i} " in done.stdout for i in range(1000))
    assert done.stdout.endswith("loaded:\n")
