"""Data sets: what is streamed is what the file holds, and bad data are named."""

from __future__ import annotations

import io
import sys
import zipfile

import numpy as np
import pytest

from anybit.engines.prepare import TensorInfo
from anybit.errors import InputError, UnsupportedError, UsageError
from anybit.evaluation.datasets import open_data
from anybit.evaluation.images import ImageFolder
from tests.models import samples

X = TensorInfo("x", np.dtype(np.float32), ("N", 6))
LABELS = np.arange(20) % 3


def gathered(dataset, size):
    blocks = list(dataset.blocks(size))
    assert all(len(b.labels) == size for b in blocks[:-1])
    joined = {name: np.concatenate([b.feeds[name] for b in blocks]) for name in blocks[0].feeds}
    return joined, np.concatenate([b.labels for b in blocks])


@pytest.fixture
def files(tmp_path):
    x = samples(20, 6)
    np.savez(tmp_path / "plain.npz", x=x, labels=LABELS)
    np.savez_compressed(tmp_path / "small.npz", x=x, labels=LABELS)
    np.savez(tmp_path / "columns.npz", x=np.asfortranarray(x), labels=LABELS)
    np.savez(tmp_path / "swapped.npz", x=x.astype(">f4"), labels=LABELS.astype(">i2"))
    np.savez(tmp_path / "other.npz", pixels=x, labels=LABELS)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "columns.npy", np.asfortranarray(x))
    np.save(tmp_path / "labels.npy", LABELS)
    return tmp_path


@pytest.mark.parametrize("size", [1, 2, 3, 7, 19, 20, 21, None])
@pytest.mark.parametrize("name", ["plain", "small", "columns", "swapped", "other"])
def test_an_npz_is_streamed(files, name, size):
    labels = "labels" if name == "other" else None
    dataset = open_data([X], files / f"{name}.npz", labels)
    assert dataset.samples == 20
    for _ in range(2):  # it can be gone through again
        feeds, found = gathered(dataset, size or 20)
        np.testing.assert_array_equal(feeds["x"], samples(20, 6))
        np.testing.assert_array_equal(found, LABELS)


@pytest.mark.parametrize("size", [1, 6, 20, 100])
@pytest.mark.parametrize("name", ["x", "columns"])
def test_an_npy_is_mapped(files, name, size):
    for labels in (LABELS, files / "labels.npy", str(files / "labels.npy"), LABELS.tolist()):
        feeds, found = gathered(open_data([X], files / f"{name}.npy", labels), size)
        np.testing.assert_array_equal(feeds["x"], samples(20, 6))
        np.testing.assert_array_equal(found, LABELS)


def test_an_npz_is_read_a_block_at_a_time(tmp_path, monkeypatch):
    np.savez(tmp_path / "d.npz", x=samples(1000, 6), labels=np.zeros(1000))
    read: list[int] = []
    original = zipfile.ZipExtFile.read

    def counted(self, n=-1):
        data = original(self, n)
        read.append(len(data))
        return data

    monkeypatch.setattr(zipfile.ZipExtFile, "read", counted)
    blocks = open_data([X], tmp_path / "d.npz", None).blocks(10)
    next(blocks)
    blocks.close()
    assert sum(read) < 2000
    assert max(read) == 240


def test_several_inputs(tmp_path):
    infos = [X, TensorInfo("z", np.dtype(np.int64), ("N",))]
    np.savez(tmp_path / "d.npz", x=samples(4, 6), z=np.arange(4), t=np.ones(4))
    feeds, labels = gathered(open_data(infos, tmp_path / "d.npz", None), 3)
    np.testing.assert_array_equal(feeds["z"], np.arange(4))
    np.testing.assert_array_equal(labels, np.ones(4))
    with pytest.raises(InputError, match=r"one array given: expected 'x', 'z'"):
        open_data(infos, samples(4, 6), np.ones(4))


BAD = {
    "missing key": (
        {"a": samples(2, 6), "b": samples(2, 6), "t": np.ones(2)},
        "t",
        r"missing input: got 'a', 'b', expected 'x'",
    ),
    "no labels": ({"x": samples(2, 6)}, None, r"which array are the labels\?: got x"),
    "two candidates": ({"x": samples(2, 6), "s": np.ones(2), "t": np.ones(2)}, None, r"which array are the labels\?"),
    "wrong key": ({"x": samples(2, 6), "t": np.ones(2)}, "u", r"no such labels: got 'u', expected x, t"),
    "counts": ({"x": samples(3, 6), "t": np.ones(2)}, "t", r"numbers of samples differ: got .* 3, .* 2"),
    "empty": ({"x": samples(0, 6), "t": np.ones(0)}, "t", r"no samples"),
    "a number": ({"x": samples(3, 6), "t": np.float32(1)}, "t", r"a single number"),
}


@pytest.mark.parametrize("in_file", [True, False])
@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_arrays_that_do_not_belong_together(tmp_path, case, in_file):
    arrays, labels, message = case
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(InputError, match=message):
        open_data([X], tmp_path / "d.npz" if in_file else arrays, labels)


def _archive(path, member: bytes):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", member)
        file = io.BytesIO()
        np.save(file, np.ones(20))
        archive.writestr("t.npy", file.getvalue())


def test_files_that_are_broken(tmp_path):
    path = tmp_path / "d.npz"
    good = io.BytesIO()
    np.save(good, samples(20, 6))
    for member, message in (
        (good.getvalue()[:-5], r"'x' of .*d.npz: the array is truncated: got 475 bytes"),
        (good.getvalue() + b"more", r"'x' of .*d.npz: bytes behind the array"),
        (good.getvalue()[:20], r"'x' of .*d.npz: a malformed header"),
        (b"nothing", r"'x' of .*d.npz: no array of a format that is known"),
        (b"", r"'x' of .*d.npz: no array of a format that is known"),
    ):
        _archive(path, member)
        with pytest.raises(InputError, match=message):
            list(open_data([X], path, None).blocks(7))
    objects = io.BytesIO()
    np.save(objects, np.array([{}] * 20, object), allow_pickle=True)
    _archive(path, objects.getvalue())
    with pytest.raises(InputError, match="pickled objects are not read"):
        open_data([X], path, None)
    np.save(tmp_path / "o.npy", np.array([{}] * 20, object), allow_pickle=True)
    with pytest.raises(InputError, match="pickled objects are not read"):
        open_data([X], tmp_path / "o.npy", np.ones(20))
    path.write_bytes(b"PK")
    for name in ("d.npz", "absent.npz", "absent.npy"):
        with pytest.raises(InputError, match=rf"{name}: cannot read the arrays"):
            open_data([X], tmp_path / name, np.ones(20))


def test_a_damaged_member_is_noticed(tmp_path):
    path = tmp_path / "d.npz"
    np.savez(path, x=samples(20, 6), t=np.ones(20))
    data = path.read_bytes()
    at = data.index(samples(20, 6).tobytes()) + 100
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    with pytest.raises(InputError, match="CRC"):
        list(open_data([X], path, None).blocks(7))


def test_batches_come_as_they_are():
    batches = [(samples(n, 6), np.arange(n)) for n in (3, 1, 5)]
    dataset = open_data([X], iter(batches), None)
    assert dataset.samples is None
    assert [len(b.labels) for b in dataset.blocks(2)] == [3, 1, 5]
    for bad, message in (
        ([samples(3, 6)], r"batch 0: no pair: got ndarray"),
        ([*batches, (samples(3, 6), np.ones(2))], r"numbers of samples differ"),
        ([], r"no samples"),
    ):
        with pytest.raises(InputError, match=message):
            list(open_data([X], bad, None).blocks(2))
    with pytest.raises(UsageError, match="labels beside data that have their own"):
        open_data([X], batches, np.ones(9))


PICTURES = TensorInfo("image", np.dtype(np.float32), ("N", 3, 4, 5))


def test_pictures_without_pillow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.png").write_bytes(b"")
    with pytest.raises(UnsupportedError, match=r"pictures need Pillow; pip install 'anybit\[images\]'"):
        list(open_data([PICTURES], tmp_path, None).blocks(1))


def test_a_folder_without_pictures(tmp_path):
    with pytest.raises(InputError, match="no classes"):
        open_data([PICTURES], tmp_path, None)
    (tmp_path / "cat").mkdir()
    with pytest.raises(InputError, match="cat: a class without pictures"):
        open_data([PICTURES], tmp_path, None)
    (tmp_path / "cat" / "notes.txt").write_text("")
    with pytest.raises(InputError, match=r"notes.txt: no picture"):
        open_data([PICTURES], tmp_path, None)


@pytest.fixture
def pictures(tmp_path):
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    rng = np.random.default_rng(0)
    for label, name in enumerate(("ant", "bee")):
        (tmp_path / name).mkdir()
        for k in range(2 + label):
            image.fromarray(rng.integers(0, 256, (4, 5, 3), np.uint8)).save(tmp_path / name / f"{k}.png")
    return tmp_path


def test_pictures_by_class(pictures):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (5, 4, 5, 3), np.uint8)
    feeds, labels = gathered(open_data([PICTURES], pictures, None), 2)
    np.testing.assert_array_equal(labels, [0, 0, 1, 1, 1])
    expected = pixels.transpose(0, 3, 1, 2) * np.float32(1 / 255)
    np.testing.assert_array_equal(feeds["image"], expected)
    last = TensorInfo("image", np.dtype(np.uint8), (1, 4, 5, 3))
    np.testing.assert_array_equal(gathered(open_data([last], pictures, None), 5)[0]["image"], pixels)
    folder = ImageFolder(pictures, scale=(1.0, 2.0, 3.0), offset=-1.0)
    scaled = gathered(open_data([PICTURES], folder, None), 3)[0]["image"]
    np.testing.assert_array_equal(scaled[:, 1], pixels[..., 1] * np.float32(2) - 1)


def test_pictures_of_another_size_or_colour(pictures):
    small = TensorInfo("image", np.dtype(np.float32), ("N", 3, 4, 4))
    with pytest.raises(InputError, match=r"0.png: height x width of the picture: got 4 x 5, expected 4 x 4"):
        list(open_data([small], pictures, None).blocks(1))
    grey = TensorInfo("image", np.dtype(np.float32), ("N", 1, 4, 5))
    with pytest.raises(InputError, match=r"0.png: colours: got RGB, expected 1 or L"):
        list(open_data([grey], pictures, None).blocks(1))
    (pictures / "ant" / "0.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"0.png: cannot read the picture"):
        list(open_data([PICTURES], pictures, None).blocks(1))


@pytest.mark.parametrize("source", ["npy", "npz", "memory"])
def test_only_the_wanted_blocks(tmp_path, source):
    x, labels = np.arange(22, dtype=np.float32).reshape(11, 2), np.arange(11)
    np.save(tmp_path / "x.npy", x)
    np.savez_compressed(tmp_path / "x.npz", x=x, labels=labels)
    data = {"npy": tmp_path / "x.npy", "npz": tmp_path / "x.npz", "memory": {"x": x}}[source]
    infos = [TensorInfo("x", np.dtype(np.float32), ("N", 2))]
    dataset = open_data(infos, data, "labels" if source == "npz" else labels)
    blocks = list(dataset.blocks(3, {1, 3}.__contains__))
    assert [b.labels.tolist() for b in blocks] == [[3, 4, 5], [9, 10]]
    assert [b.feeds["x"].tolist() for b in blocks] == [x[3:6].tolist(), x[9:].tolist()]
