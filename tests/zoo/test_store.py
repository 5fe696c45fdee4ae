"""The cache: what is in it is what its card says, whatever servers, disks and other processes do."""

from __future__ import annotations

import errno
import hashlib
import io
import multiprocessing
import os
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from anybit.zoo.catalogue import open_catalogue
from anybit.zoo.errors import DownloadError
from anybit.zoo.places import cache_folder
from anybit.zoo.store import State, Store
from tests.zoo.server import card_of, file_of

DATA = np.random.default_rng(0).bytes(300_000)


def only(paths):
    (path,) = paths.values()
    return path


def visible(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))


def test_a_file_comes_once(server, own_cache):
    server.files["m"] = DATA
    card = card_of(file_of(DATA, server.url("m")))
    pieces = []
    path = only(Store().fetch(card, progress=pieces.append))
    assert path.read_bytes() == DATA
    assert path.is_relative_to(own_cache)
    assert sum(pieces) == len(DATA)
    assert only(Store().fetch(card)) == path
    assert server.sent == [("m", 0)]


@pytest.mark.parametrize("lengths", [True, False])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_is_continued(server, ranges, lengths):
    server.files["m"], server.ranges, server.lengths = DATA, ranges, lengths
    server.breaks_after, server.breaks = 100_000, 2
    path = only(Store().fetch(card_of(file_of(DATA, server.url("m")))))
    assert path.read_bytes() == DATA
    starts = [start for _, start in server.sent]
    if ranges:
        assert 0 == starts[0] < starts[1] < starts[2] <= 200_000
    else:
        assert starts == [0, 0, 0]


def test_another_process_continues_it(server, own_cache):
    server.files["m"], server.breaks_after, server.breaks = DATA, 100_000, 1
    card = card_of(file_of(DATA, server.url("m")))

    class Stop(Exception):  # noqa: N818
        pass

    def stop(_):
        raise Stop

    with pytest.raises(Stop):
        Store().fetch(card, progress=stop)
    assert visible(own_cache) == []
    assert only(Store().fetch(card)).read_bytes() == DATA
    assert server.sent[1][1] > 0


def test_pieces_of_another_file_are_had_anew(server, own_cache):
    server.files["m"] = DATA
    card = card_of(file_of(DATA, server.url("m")))
    folder = Store()._folder_of(card)
    folder.mkdir(parents=True)
    (folder / ".model.onnx.part").write_bytes(b"of another one")
    assert only(Store().fetch(card)).read_bytes() == DATA
    assert [start for _, start in server.sent] == [14, 0]


def test_too_many_pieces_are_had_anew(server):
    server.files["m"] = DATA
    card = card_of(file_of(DATA, server.url("m"), sized=False))
    folder = Store()._folder_of(card)
    folder.mkdir(parents=True)
    (folder / ".model.onnx.part").write_bytes(bytes(len(DATA) + 1))
    assert only(Store().fetch(card)).read_bytes() == DATA


def test_mirrors_in_their_order(server):
    server.files |= {"wrong": DATA[::-1], "right": DATA, "never": DATA}
    urls = ("http://127.0.0.1:9/x", server.url("absent"), server.url("wrong"), server.url("right"), server.url("never"))
    assert only(Store().fetch(card_of(file_of(DATA, *urls)))).read_bytes() == DATA
    assert [name for name, _ in server.sent] == ["wrong", "right"]


def test_a_wrong_hash_is_refused(server, own_cache):
    server.files["m"] = DATA[::-1]
    with pytest.raises(DownloadError, match="another hash"):
        Store().fetch(card_of(file_of(DATA, server.url("m"))))
    assert visible(own_cache) == []


@pytest.mark.parametrize("lengths", [True, False])
def test_a_truncated_download_is_refused(server, own_cache, lengths):
    server.files["m"], server.lengths = DATA[:1000], lengths
    with pytest.raises(DownloadError, match="no address has the file"):
        Store().fetch(card_of(file_of(DATA, server.url("m"))))
    with pytest.raises(DownloadError, match="no address has the file"):
        Store().fetch(card_of(file_of(DATA, server.url("m"), sized=False)))
    assert visible(own_cache) == []


def test_what_never_ends_is_cut_off(server, own_cache):
    server.files["m"] = DATA + b"x"
    with pytest.raises(DownloadError, match="too large"):
        Store().fetch(card_of(file_of(DATA, server.url("m"))))
    assert [p for p in own_cache.rglob("*") if p.is_file() and p.stat().st_size] == []


def test_a_damaged_cache_is_repaired(server):
    server.files["m"] = DATA
    card = card_of(file_of(DATA, server.url("m")))
    path = only(Store().fetch(card))
    path.write_bytes(b"rotten")
    assert [s.state for s in Store().states(card)] == [State.DAMAGED]
    assert only(Store().fetch(card)).read_bytes() == DATA
    assert [s.state for s in Store().states(card)] == [State.SOUND]
    path.write_bytes(b"rotten")
    server.files.clear()
    with pytest.raises(DownloadError, match="404"):
        Store().fetch(card)


def test_what_is_cached_needs_no_server(server):
    server.files["m"] = DATA
    address = server.url("m")
    Store().fetch(card_of(file_of(DATA, address)))
    server.files.clear()
    assert only(Store().fetch(card_of(file_of(DATA, address)))).read_bytes() == DATA


def test_unpinned_files_are_refused_unless_accepted_and_pinned_then(server, own_cache):
    server.files["m"] = DATA
    card = card_of(file_of(DATA, server.url("m"), pinned=False))
    assert [s.state for s in Store().states(card)] == [State.UNPINNED]
    with pytest.raises(DownloadError, match=r"not pinned.*--accept-unpinned"):
        Store().fetch(card)
    assert not server.sent
    path = only(Store().fetch(card, accept_unpinned=True))
    assert [(s.state, s.sha256) for s in Store().states(card)] == [(State.SOUND, hashlib.sha256(DATA).hexdigest())]
    assert only(Store().fetch(card)) == path
    assert len(server.sent) == 1
    path.unlink()
    server.files["m"] = DATA[::-1]
    with pytest.raises(DownloadError, match="another hash"):
        Store().fetch(card, accept_unpinned=True)
    assert visible(own_cache) == []


def test_an_unpinned_download_that_breaks_starts_anew(server):
    server.files["m"], server.breaks_after = DATA, 100_000
    card = card_of(file_of(DATA, server.url("m"), pinned=False))
    assert only(Store().fetch(card, accept_unpinned=True)).read_bytes() == DATA
    assert [start for _, start in server.sent] == [0, 0]


def test_files_of_this_machine_are_used_where_they_are(tmp_path, own_cache):
    (tmp_path / "model.onnx").write_bytes(DATA)
    card = card_of(file_of(DATA, (tmp_path / "model.onnx").as_uri()))
    assert only(Store().fetch(card)) == tmp_path / "model.onnx"
    assert not own_cache.exists()
    (tmp_path / "model.onnx").write_bytes(b"changed")
    with pytest.raises(DownloadError, match="another hash"):
        Store().fetch(card)
    assert [s.state for s in Store().states(card)] == [State.DAMAGED]


def test_files_that_are_here_in_part_lie_together(tmp_path, server, own_cache):
    (tmp_path / "model.onnx").write_bytes(DATA)
    server.files["w"] = b"weights"
    weights = msgspec.structs.replace(file_of(b"weights", server.url("w"), name="model.onnx.data"), role="weights")
    from anybit.zoo.card import Role

    weights = msgspec.structs.replace(weights, role=Role.WEIGHTS)
    paths = Store().fetch(card_of(file_of(DATA, (tmp_path / "model.onnx").as_uri()), weights))
    assert {p.parent for p in paths.values()} == {paths["model.onnx"].parent}
    assert paths["model.onnx"].read_bytes() == DATA
    assert paths["model.onnx.data"].read_bytes() == b"weights"


class FullDisk(io.FileIO):
    """A file on a disk that takes 100,000 bytes."""

    def write(self, data):
        if self.tell() + len(data) > 100_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


def test_a_full_disk_leaves_nothing_behind(server, own_cache, monkeypatch):
    server.files["m"] = DATA
    card = card_of(file_of(DATA, server.url("m")))
    real = Path.open

    def opened(self, mode="r", *args, **kwargs):
        return FullDisk(self, mode) if self.name.endswith(".part") else real(self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(DownloadError, match="No space left"):
        Store().fetch(card)
    monkeypatch.undo()
    assert [p for p in own_cache.rglob("*") if p.is_file() and p.stat().st_size] == [] if own_cache.exists() else True
    assert only(Store(own_cache).fetch(card)).read_bytes() == DATA


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_cache_that_cannot_be_written(server, tmp_path):
    server.files["m"] = DATA
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(DownloadError, match="cannot make the cache"):
        Store(tmp_path / "closed" / "cache").fetch(card_of(file_of(DATA, server.url("m"))))


def test_a_cache_that_is_a_file(server, tmp_path):
    server.files["m"] = DATA
    (tmp_path / "taken").write_text("")
    with pytest.raises(DownloadError, match="cannot make the cache"):
        Store(tmp_path / "taken").fetch(card_of(file_of(DATA, server.url("m"))))


def _fetch(address: str, folder: str, results) -> None:
    path = only(Store(Path(folder)).fetch(card_of(file_of(DATA, address))))
    results.put(hashlib.sha256(path.read_bytes()).hexdigest())


def test_processes_share_a_cache(server, own_cache):
    server.files["m"] = DATA
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=_fetch, args=(server.url("m"), str(own_cache), results)) for _ in range(3)]
    for process in processes:
        process.start()
    found = {results.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    results.close()
    assert found == {hashlib.sha256(DATA).hexdigest()}
    assert server.sent == [("m", 0)]


def test_the_folder_of_the_cache(tmp_path, own_cache, monkeypatch):
    assert cache_folder() == own_cache
    assert cache_folder(tmp_path) == tmp_path
    monkeypatch.delenv("ANYBIT_CACHE")
    assert cache_folder().name == "anybit"


def test_shipped_files_are_sound(own_cache):
    card = open_catalogue().cards["digits_mlp_2w2a"]
    assert {s.state for s in Store().states(card)} == {State.SOUND}
    assert not own_cache.exists()


def test_a_copy_of_the_shipped_models_is_a_catalogue(tmp_path):
    source = open_catalogue().cards["digits_mlp_2w2a"]
    folder = Store().fetch(source)["model.onnx"].parent
    shutil.copytree(folder, tmp_path / "zoo" / "digits_mlp_2w2a")
    (card,) = open_catalogue(tmp_path / "zoo").cards.values()
    assert Store().fetch(card)["test.npz"].is_relative_to(tmp_path)


def test_pipes_in_the_cache_do_not_hang(server, own_cache):
    server.files["m"] = DATA
    card = card_of(file_of(DATA, server.url("m")))
    folder = Store()._folder_of(card)
    folder.mkdir(parents=True)
    for name in ("model.onnx", ".model.onnx.part"):
        os.mkfifo(folder / name)
    assert [s.state for s in Store().states(card)] == [State.ABSENT]
    assert only(Store().fetch(card)).read_bytes() == DATA
    assert sorted(p.name for p in folder.iterdir() if p.name != ".lock") == ["model.onnx"]


@pytest.mark.parametrize("address", ["pipe", "/dev/zero"])
def test_special_files_of_this_machine_are_no_models(tmp_path, address):
    os.mkfifo(tmp_path / "pipe")
    card = card_of(file_of(DATA, (tmp_path / address).as_uri(), name=Path(address).name))
    with pytest.raises(DownloadError, match="no regular file"):
        Store().fetch(card)


@pytest.mark.parametrize("pin", [b"", b"0" * 63, b"0" * 64 + b"\n", b"\xff" * 64, b"g" * 64])
def test_a_damaged_pin_is_an_error(server, pin):
    server.files["m"] = DATA
    card = card_of(file_of(DATA, server.url("m"), pinned=False))
    path = only(Store().fetch(card, accept_unpinned=True))
    path.with_name(".model.onnx.sha256").write_bytes(pin)
    for use in (Store().states, Store().fetch):
        with pytest.raises(DownloadError, match="a pin that is damaged"):
            use(card)


def test_an_empty_file_can_be_had(server):
    server.files["m"] = b""
    assert only(Store().fetch(card_of(file_of(b"", server.url("m"))))).read_bytes() == b""
