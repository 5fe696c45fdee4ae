"""Whole writes: links, modes, pipes and devices, names, what the dead left behind."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest

from anybit import load, save
from anybit.errors import ModelFileError
from anybit.io.files.temporary import file_beside, folder_beside
from anybit.io.files.whole import destination, put_folder, whole, write_whole
from tests.models import mlp

CONTENT = b"new" * 1000


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield
    os.umask(before)


def names(folder) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_new_file_has_the_mode_of_the_umask_and_an_old_one_keeps_its_own(tmp_path, umask):
    write_whole(tmp_path / "f", b"old")
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o640
    for mode in (0o600, 0o444, 0o755, 0o666):
        (tmp_path / "f").chmod(mode)
        write_whole(tmp_path / "f", CONTENT)
        assert (stat.S_IMODE((tmp_path / "f").stat().st_mode), (tmp_path / "f").read_bytes()) == (mode, CONTENT)
    assert names(tmp_path) == ["f"]


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("existing", [True, False])
def test_links_are_followed(tmp_path, monkeypatch, absolute, existing):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    real = tmp_path / "a" / "f"
    (tmp_path / "b" / "link").symlink_to(real if absolute else "../a/f")
    (tmp_path / "c" / "second").symlink_to("../b/link")
    if existing:
        real.write_bytes(b"old")
    monkeypatch.chdir(tmp_path / "c")
    write_whole(tmp_path / "c" / "second", CONTENT)
    assert (tmp_path / "c" / "second").is_symlink()
    assert (tmp_path / "b" / "link").is_symlink()
    assert real.read_bytes() == CONTENT
    assert [names(tmp_path / n) for n in "abc"] == [["f"], ["link"], ["second"]]


def test_a_loop_of_links_is_an_error(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(ModelFileError, match="cannot write the file"):
        save(load(mlp()), tmp_path / "a")
    assert names(tmp_path) == ["a", "b"]


def test_a_pipe_is_written_into(tmp_path):
    os.mkfifo(tmp_path / "p")
    got = []
    reader = Thread(target=lambda: got.append((tmp_path / "p").read_bytes()))
    reader.start()
    while True:
        try:
            os.close(os.open(tmp_path / "p", os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            continue  # the reader is not there yet
        break
    reader.join()
    reader = Thread(target=lambda: got.append((tmp_path / "p").read_bytes()))
    reader.start()
    large = os.urandom(300_000)  # more than a pipe holds
    for _ in range(1000):
        try:
            write_whole(tmp_path / "p", large)
        except OSError:
            continue
        break
    reader.join(timeout=20)
    assert got == [b"", large]
    assert stat.S_ISFIFO((tmp_path / "p").stat().st_mode)


def test_a_pipe_that_nobody_reads_is_an_error_and_no_wait(tmp_path):
    os.mkfifo(tmp_path / "p")
    with pytest.raises(ModelFileError, match="p: cannot write the file"):
        save(load(mlp()), tmp_path / "p")
    assert stat.S_ISFIFO((tmp_path / "p").stat().st_mode)


def test_devices_are_written_into(tmp_path):
    devices = (Path("/dev/null"), Path("/dev/full"))
    before = [device.stat() for device in devices]
    save(load(mlp()), "/dev/null")
    with pytest.raises(ModelFileError, match="No space left"):
        save(load(mlp()), "/dev/full")
    with pytest.raises(ModelFileError, match="external data need a file"):
        save(load(mlp()), "/dev/null", external_data=True)
    assert all(os.path.samestat(old, device.stat()) for old, device in zip(before, devices, strict=True))
    script = "import sys; from anybit import load, save; save(load(sys.stdin.buffer.read()), '/dev/stdout')"
    piped = subprocess.run(
        [sys.executable, "-c", script], input=mlp().SerializeToString(), capture_output=True, check=True, timeout=60
    )
    save(load(mlp()), tmp_path / "m.onnx")
    assert piped.stdout == (tmp_path / "m.onnx").read_bytes()


@pytest.mark.parametrize("place", ["", "folder", "socket", "a\0b", "absent/f", "f/g", "x" * 256])
def test_what_is_no_place_for_a_file_is_named(tmp_path, place):
    (tmp_path / "folder").mkdir()
    (tmp_path / "f").write_bytes(b"old")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "socket"))
    for external_data in (False, True):
        with pytest.raises(ModelFileError, match="cannot write the file") as caught:
            save(load(mlp()), tmp_path / place, external_data=external_data)
        assert "\n" not in str(caught.value)
    assert names(tmp_path) == ["f", "folder", "socket"]
    server.close()


@pytest.mark.parametrize("name", ["x" * 255, "ü" * 127, "-o", "a b\n.onnx", ".hidden"])
def test_any_name_that_the_file_system_takes(tmp_path, name):
    for content in (b"old", CONTENT):
        write_whole(tmp_path / name, content)
    assert (tmp_path / name).read_bytes() == CONTENT
    assert names(tmp_path) == [name]


def test_a_file_that_another_writer_replaces_between_two_looks_is_still_a_place(tmp_path, monkeypatch):
    (tmp_path / "m.onnx").write_bytes(b"")
    same = iter([False, True])
    monkeypatch.setattr(Path, "samefile", lambda *_: next(same))
    assert destination(tmp_path / "m.onnx") == tmp_path / "m.onnx"


def test_an_error_leaves_all_as_it_was(tmp_path):
    (tmp_path / "f").write_bytes(b"old")

    def fail() -> None:
        with whole(tmp_path / "f") as temporary:
            temporary.write_bytes(CONTENT)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert (names(tmp_path), (tmp_path / "f").read_bytes()) == (["f"], b"old")


def test_what_the_dead_left_is_removed_and_what_the_living_write_is_not(tmp_path):
    left = [tmp_path / ".f.0123abcd.tmp", tmp_path / ".f.89abcdef.tmp"]
    for path in left:
        path.write_bytes(b"half")
    (tmp_path / ".f.89abcdef.tmp.d").mkdir()
    (tmp_path / ".f.89abcdef.tmp.d" / "page").write_bytes(b"half")
    others = [".f.0123abcd", ".f.tmp", ".ff.0123abcd.tmp", ".f.0123ABCD.tmp", "f.0123abcd.tmp"]
    for name in others:
        (tmp_path / name).write_bytes(b"of somebody else")
    with file_beside(tmp_path / "f") as living, folder_beside(tmp_path / "f") as folder:
        assert not any(path.exists() for path in left)
        write_whole(tmp_path / "f", CONTENT)
        assert living.exists()
        assert folder.is_dir()
    assert names(tmp_path) == sorted(["f", *others])


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_takes_the_place_of_another(tmp_path, monkeypatch, exchange):
    if not exchange:  # a file system, or a system, that cannot do it at once
        monkeypatch.setattr("anybit.io.files.whole._exchanged", lambda *_: False)
    for content in (b"old", b"new"):
        with folder_beside(tmp_path / "site") as temporary:
            (temporary / content.decode()).write_bytes(content)
            put_folder(temporary, tmp_path / "site")
    assert (names(tmp_path), names(tmp_path / "site")) == (["site"], ["new"])
