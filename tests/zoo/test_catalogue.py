"""Catalogues: what is in the built-in ones, and that everything malformed is refused with its place."""

from __future__ import annotations

import json
import os
from importlib.resources import files

import pytest

from anybit import cost
from anybit.errors import UsageError
from anybit.zoo.card import Role
from anybit.zoo.catalogue import below, encoded, open_catalogue, parse, read_folder, resolved, schema
from anybit.zoo.errors import CatalogueError, DownloadError
from tests.counting import calls
from tests.integration.corpus import ZOO
from tests.zoo.server import card_of, file_of, sha256, write_catalogue

PUBLIC = (
    *("TFC_1W1A", "TFC_1W2A", "TFC_2W2A", "CNV_1W1A", "CNV_1W2A", "CNV_2W2A", "mobilenet_4W4A", "CNV_1W1A_GTSRB"),
    *("kwsmlp_w3a3", "unsw_nb15_mlp_w2a2", "qkeras_jettagging"),
)


def test_the_public_zoo_is_in_it():
    cards = open_catalogue().cards
    assert set(PUBLIC) <= set(cards)
    for name in PUBLIC:
        assert cards[name].claim is not None
        assert cards[name].files[0].urls[0].startswith("https://")
    assert {name for name in PUBLIC if not cards[name].pinned} == {
        *("CNV_1W1A", "CNV_1W2A", "CNV_2W2A", "mobilenet_4W4A", "CNV_1W1A_GTSRB")
    }


def test_shipped_models_are_in_it_with_their_files():
    shipped = [c for c in open_catalogue().cards.values() if c.model.urls[0].startswith("file:")]
    assert "digits_mlp_2w2a" in [c.name for c in shipped]
    assert all(c.pinned and c.data and c.judging and c.claim and c.claim.verified for c in shipped)


@pytest.mark.parametrize("name", ["TFC_1W1A", "TFC_2W2A", "qkeras_jettagging"])
def test_what_the_cards_say_is_what_the_files_are(name):
    if not ZOO.is_dir():
        pytest.skip("the files of the public zoo are not beside the project")
    card = open_catalogue().cards[name]
    data = (ZOO / card.model.name).read_bytes()
    assert (card.model.sha256, card.model.size) == (sha256(data), len(data))
    dense = cost(data).dense
    assert (card.cost.macs, card.cost.bit_operations, card.cost.weight_bits) == (
        *(dense.macs, dense.bit_operations, dense.weight_bits),
    )


def test_the_schema_beside_the_classes_is_theirs():
    stored = files("anybit.zoo").joinpath("catalogue.schema.json").read_bytes()
    assert stored == schema(), "write it again: python -m anybit.zoo.catalogue > src/anybit/zoo/catalogue.schema.json"


def test_a_catalogue_is_read_as_it_was_written(tmp_path):
    card = card_of(file_of(b"x", "sub/model.onnx", "https://example.org/model.onnx"))
    assert parse(encoded([card]), "here") == (card,)
    path = write_catalogue(tmp_path, card)
    for source in (path, tmp_path, path.as_uri(), str(tmp_path)):
        (read,) = open_catalogue(source).cards.values()
        assert read.files[0].urls == ((tmp_path / "sub/model.onnx").as_uri(), "https://example.org/model.onnx")


def test_the_environment_names_the_catalogue(tmp_path, monkeypatch):
    write_catalogue(tmp_path, card_of(file_of(b"x", "model.onnx"), name="own"))
    monkeypatch.setenv("ANYBIT_CATALOGUE", str(tmp_path))
    assert list(open_catalogue().cards) == ["own"]


def test_a_folder_of_cards_is_a_catalogue(tmp_path):
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        card = card_of(file_of(b"x", "model.onnx"), name=name)
        (tmp_path / name / "card.json").write_bytes(json.dumps(_plain(card)).encode())
    cards = read_folder(tmp_path)
    assert [c.name for c in cards] == ["a", "b"]
    assert cards[0].model.urls == ((tmp_path / "a" / "model.onnx").as_uri(),)
    (tmp_path / "b").rename(tmp_path / "c")
    with pytest.raises(CatalogueError, match="name of the card"):
        read_folder(tmp_path)


def test_addresses_move_with_their_card():
    card = card_of(file_of(b"x", "model.onnx", "https://example.org/m.onnx"))
    moved = below(card, "net")
    assert moved.model.urls == ("net/model.onnx", "https://example.org/m.onnx")
    assert resolved(moved, "https://zoo.org/a/catalogue.json").model.urls[0] == "https://zoo.org/a/net/model.onnx"


def test_a_remote_catalogue_outlives_its_server(server, own_cache):
    server.files["a/catalogue.json"] = encoded([card_of(file_of(b"x", "net/model.onnx"))])
    address = server.url("a/catalogue.json")
    shelf = open_catalogue(address)
    assert shelf.cards["net"].model.urls == (server.url("a/net/model.onnx"),)
    assert not shelf.offline
    server.breaks_after, server.breaks = 10, 9
    again = open_catalogue(address)
    assert again.cards == shelf.cards
    assert "cannot download" in again.offline
    with pytest.raises(CatalogueError, match="404"):
        open_catalogue(server.url("b/catalogue.json"))
    with pytest.raises(CatalogueError, match="no copy"):
        open_catalogue("http://127.0.0.1:9/catalogue.json")


def test_a_remote_catalogue_names_no_file_of_this_machine(server):
    server.files["catalogue.json"] = encoded([card_of(file_of(b"x", "file:///etc/passwd"))])
    with pytest.raises(CatalogueError, match="a file of this machine"):
        open_catalogue(server.url("catalogue.json"))


def test_unknown_names_are_refused_with_the_near_one():
    with pytest.raises(UsageError, match="did you mean TFC_2W2A"):
        open_catalogue().card("TFC_2W2")
    with pytest.raises(UsageError, match="anybit zoo list"):
        open_catalogue().card("x" * 100_000)


def _plain(card):
    return json.loads(encoded([card]))["models"][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "../../etc"}, r"\$\.models\[0\]\.name"),
        ({"name": "a/b"}, r"\.name"),
        ({"name": "a\nb"}, r"\.name"),
        ({"name": "<b>x</b>"}, r"\.name"),
        ({"name": ""}, r"\.name"),
        ({"name": "x" * 101}, r"\.name"),
        ({"task": "x" * 201}, r"\.task"),
        ({"task": "x\x1b[2J"}, r"\.task"),
        ({"task": "x\ny"}, r"\.task"),
        ({"summary": "x" * 100_000}, r"\.summary"),
        ({"taks": "x"}, "taks"),
        ({"files": []}, r"\.files"),
        ({"claim": {"metric": "beauty", "value": 1.0}}, r"\.claim\.metric"),
        ({"claim": {"metric": "accuracy", "value": 1.0, "samples": 3, "correct": 4}}, "4 of 3"),
        ({"cost": {"macs": -1}}, r"\.cost\.macs"),
        ({"cost": {"macs": "many"}}, r"\.cost\.macs"),
        ({"judging": {}}, "judging without a data file"),
        ({"source": {"name": "x", "url": "javascript:alert(1)"}}, r"\.source\.url"),
    ],
)
def test_malformed_cards_are_refused_with_their_place(tmp_path, change, message):
    plain = _plain(card_of(file_of(b"x", "model.onnx")))
    (tmp_path / "catalogue.json").write_text(json.dumps({"schema": 1, "models": [plain | change]}))
    with pytest.raises(CatalogueError, match=message):
        open_catalogue(tmp_path)


@pytest.mark.parametrize(
    "place",
    ["name", "task", "licence", "data_set name", "data_set url", "source paper", "quantization weights"]
    + [f"files 0 {field}" for field in ("name", "sha256", "urls 0")],
)
@pytest.mark.parametrize("end", ["\n", "\r", "\u0085", "\0"])
def test_lines_and_names_end_where_they_end(tmp_path, place, end):
    """Python's $ comes before a last line feed as well."""
    plain = _plain(card_of(file_of(b"x", "model.onnx")))
    plain["data_set"]["url"] = plain["source"]["paper"] = "https://example.org/x"
    (tmp_path / "catalogue.json").write_text(json.dumps({"schema": 1, "models": [plain]}))
    open_catalogue(tmp_path)
    *path, last = [int(part) if part.isdigit() else part for part in place.split()]
    inner = plain
    for part in path:
        inner = inner[part]
    inner[last] += end
    (tmp_path / "catalogue.json").write_text(json.dumps({"schema": 1, "models": [plain]}))
    with pytest.raises(CatalogueError, match="malformed catalogue"):
        open_catalogue(tmp_path)


@pytest.mark.parametrize("name", ["catalogue.json", "net/card.json"])
def test_a_pipe_in_the_place_of_a_catalogue_does_not_hang(tmp_path, name):
    (tmp_path / "net").mkdir()
    os.mkfifo(tmp_path / name)
    for source in (tmp_path, tmp_path / name):
        with pytest.raises(CatalogueError, match="no regular file"):
            open_catalogue(source)


@pytest.mark.parametrize(
    "address",
    [
        "../model.onnx",
        "a/../../model.onnx",
        "/etc/passwd",
        "C:\\model.onnx",
        "ftp://example.org/model.onnx",
        "javascript:alert(1)",
        "https://exa mple.org/x",
        "http://example.org/\nx",
        "%2e%2e/model.onnx",
        "",
    ],
)
def test_addresses_that_lead_elsewhere_are_refused(tmp_path, address):
    plain = _plain(card_of(file_of(b"x", "model.onnx")))
    plain["files"][0]["urls"] = [address]
    (tmp_path / "catalogue.json").write_text(json.dumps({"schema": 1, "models": [plain]}))
    with pytest.raises(CatalogueError, match="urls"):
        open_catalogue(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff\xfe", b'{"schema": 2, "models": []}', b'{"models": []}', b"[" * 100_000],
    ids=["empty", "cut", "list", "no UTF-8", "other version", "no version", "deep"],
)
def test_what_is_no_catalogue_is_refused(tmp_path, content):
    (tmp_path / "catalogue.json").write_bytes(content)
    with pytest.raises(CatalogueError, match=r"malformed catalogue.*catalogue.json|catalogue.json: malformed"):
        open_catalogue(tmp_path / "catalogue.json")


def test_two_of_one_name_are_refused(tmp_path):
    one, two = (card_of(file_of(b"x", "model.onnx"), name=n) for n in ("net", "NET"))
    write_catalogue(tmp_path, one, two)
    with pytest.raises(CatalogueError, match="two models of one name"):
        open_catalogue(tmp_path)
    write_catalogue(tmp_path, card_of(file_of(b"x", "m"), file_of(b"y", "n", name="other.onnx")))
    with pytest.raises(CatalogueError, match="one model"):
        open_catalogue(tmp_path)


def test_a_missing_catalogue_is_refused(tmp_path):
    with pytest.raises(CatalogueError, match="cannot read"):
        open_catalogue(tmp_path / "nowhere.json")
    with pytest.raises(CatalogueError, match="nothing in the folder"):
        open_catalogue(tmp_path)


def test_a_thousand_entries_cost_a_thousand_times_one(tmp_path):
    template = open_catalogue().cards["mobilenet_4W4A"]
    import msgspec

    def cost(count):
        write_catalogue(tmp_path, *(msgspec.structs.replace(template, name=f"net{i}") for i in range(count)))
        assert len(open_catalogue(tmp_path).cards) == count
        return calls(lambda: open_catalogue(tmp_path))

    cost(1)
    assert cost(1000) < 12 * cost(100)


def test_errors_of_the_zoo_are_of_anybit():
    from anybit import AnybitError

    assert issubclass(CatalogueError, AnybitError)
    assert issubclass(DownloadError, AnybitError)
    assert [r.value for r in Role] == ["model", "weights", "data"]
