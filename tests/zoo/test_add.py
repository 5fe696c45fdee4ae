"""add: what goes into a catalogue holds what its card says; what fails leaves no trace."""

from __future__ import annotations

import json
import shutil

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from anybit.errors import InputError, ModelFileError
from anybit.evaluation import Metric
from anybit.zoo import add as module
from anybit.zoo.add import About, add
from anybit.zoo.catalogue import open_catalogue, parse
from anybit.zoo.errors import CatalogueError
from anybit.zoo.evaluate import reproduce
from anybit.zoo.store import State, Store
from tests.models import DIGITS

MODEL, DATA = DIGITS / "model.onnx", DIGITS / "test.npz"
ABOUT = About("mine", "image classification", "digits", "me", "MIT")


def test_a_model_is_added_and_found_again(tmp_path):
    zoo = tmp_path / "zoo"
    added = add(MODEL, DATA, zoo, ABOUT, labels="labels", with_data=True)
    assert added.refusals == ()
    assert (zoo / "mine" / "model.onnx").stat().st_size < MODEL.stat().st_size
    for source in (zoo, zoo / "catalogue.json"):
        card = open_catalogue(source).cards["mine"]
        assert {s.state for s in Store().states(card)} == {State.SOUND}
        assert reproduce(card, Store()).agrees
    assert (card.claim.correct, card.claim.samples, card.claim.value) == (355, 360, 355 / 360)
    assert (card.cost.macs, card.cost.bit_operations, card.cost.weight_bits) == (8832, 59904, 17664)
    assert (card.quantization.weights, card.quantization.activations) == ("INT2", "UINT2, UINT5")
    assert sorted(p.name for p in zoo.iterdir()) == [".lock", "catalogue.json", "mine"]


def test_a_catalogue_that_was_added_to_serves_others(tmp_path, server):
    zoo = tmp_path / "zoo"
    add(MODEL, DATA, zoo, ABOUT, with_data=True)
    for path in (p for p in zoo.rglob("*") if p.is_file()):
        server.files[path.relative_to(zoo).as_posix()] = path.read_bytes()
    card = open_catalogue(server.url("catalogue.json")).cards["mine"]
    assert reproduce(card, Store()).agrees


def test_names_are_kept_unless_they_are_replaced(tmp_path):
    zoo = tmp_path / "zoo"
    add(MODEL, DATA, zoo, ABOUT)
    add(MODEL, DATA, zoo, About("other", "t", "d", "s", "l"))
    with pytest.raises(CatalogueError, match=r"has the name already.*--replace"):
        add(MODEL, DATA, zoo, ABOUT)
    labels = np.random.default_rng(0).random((360, 10))
    with np.load(DATA) as arrays:
        np.savez(tmp_path / "other.npz", pixels=arrays["pixels"], labels=labels)
    add(MODEL, tmp_path / "other.npz", zoo, ABOUT, metric=Metric.SQUARED_ERROR, replace=True, with_data=True)
    cards = {c.name: c for c in parse((zoo / "catalogue.json").read_bytes(), "here")}
    assert sorted(cards) == ["mine", "other"]
    assert cards["mine"].claim.metric == "squared-error"
    assert cards["other"].data is None
    assert reproduce(open_catalogue(zoo).cards["mine"], Store()).agrees
    assert not [p for p in zoo.iterdir() if p.name.startswith(".") and p.name != ".lock"]


def unchanged(folder):
    return not folder.exists() or sorted(p.name for p in folder.iterdir()) in ([], [".lock"])


def test_a_model_that_fails_its_checks_is_refused(tmp_path):
    proto = onnx.load(MODEL)
    quant = next(n for n in proto.graph.node if n.op_type == "Quant")
    next(a for a in quant.attribute if a.name == "rounding_mode").s = b"SIDEWAYS"
    onnx.save(proto, tmp_path / "bad.onnx")
    added = add(tmp_path / "bad.onnx", DATA, tmp_path / "zoo", ABOUT)
    assert added.card is None
    assert "SIDEWAYS" in str(added.findings[0])
    assert unchanged(tmp_path / "zoo")


@pytest.mark.parametrize("name", ["../mine", "a/b", "", ".hidden", "<b>x</b>", "x" * 101, "é", "a b", "x\n"])
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    with pytest.raises(CatalogueError, match="name of the model"):
        add(MODEL, DATA, tmp_path / "zoo", About(name, "t", "d", "s", "l"))
    assert unchanged(tmp_path / "zoo")


@pytest.mark.parametrize(
    ("about", "place"), [(About("x", "t" * 201, "d", "s", "l"), "task"), (About("x", "t", "d", "s", ""), "licence")]
)
def test_a_card_that_would_be_malformed_is_refused(tmp_path, about, place):
    with pytest.raises(CatalogueError, match=place):
        add(MODEL, DATA, tmp_path / "zoo", about)
    assert unchanged(tmp_path / "zoo")


def test_broken_inputs_leave_no_trace(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"no model")
    with pytest.raises(ModelFileError):
        add(tmp_path / "x.onnx", DATA, tmp_path / "zoo", ABOUT)
    (tmp_path / "x.npz").write_bytes(b"no data")
    with pytest.raises(InputError):
        add(MODEL, tmp_path / "x.npz", tmp_path / "zoo", ABOUT)
    np.save(tmp_path / "x.npy", np.zeros((4, 64), np.float32))
    np.save(tmp_path / "l.npy", np.zeros(4))
    with pytest.raises(CatalogueError, match=r"an \.npz file"):
        add(MODEL, tmp_path / "x.npy", tmp_path / "zoo", ABOUT, labels=str(tmp_path / "l.npy"), with_data=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(CatalogueError, match="no folder"):
        add(MODEL, DATA, tmp_path / "file", ABOUT)
    assert unchanged(tmp_path / "zoo")


def test_a_full_disk_leaves_no_trace(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(CatalogueError, match="No space left"):
        add(MODEL, DATA, tmp_path / "zoo", ABOUT, with_data=True)
    assert unchanged(tmp_path / "zoo")


def test_a_model_that_packing_changes_is_refused(tmp_path, monkeypatch):
    real = module.clean

    def wrong(source):
        model = real(source)
        value = next(v for v in model.graph.initializers.values() if v.const_value.size == 640)
        value.const_value = ir.tensor(-value.const_value.numpy(), name=value.name)
        return model

    monkeypatch.setattr(module, "clean", wrong)
    with pytest.raises(CatalogueError, match="reaches something else"):
        add(MODEL, DATA, tmp_path / "zoo", ABOUT)
    assert unchanged(tmp_path / "zoo")


def test_catalogues_without_cards_are_not_overwritten(tmp_path):
    shutil.copytree(DIGITS, tmp_path / "zoo" / "digits_mlp_2w2a")
    add(MODEL, DATA, tmp_path / "zoo", ABOUT)
    content = json.loads((tmp_path / "zoo" / "catalogue.json").read_text())
    assert [m["name"] for m in content["models"]] == ["digits_mlp_2w2a", "mine"]
    shutil.copyfile(tmp_path / "zoo" / "catalogue.json", tmp_path / "catalogue.json")
    with pytest.raises(CatalogueError, match="without a card"):
        add(MODEL, DATA, tmp_path, ABOUT)
