"""Arrays in files of any damage: what numpy wrote comes back, all else is one line."""

from __future__ import annotations

import io
import os
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest

from anybit.budget import limits
from anybit.engines.prepare import TensorInfo
from anybit.errors import InputError, LimitError
from anybit.evaluation.datasets import open_data
from anybit.io.files.arrays import map_array, read_arrays

ARRAYS = {
    "row": np.arange(6, dtype=np.float32),
    "column": np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
    "scalar": np.array(3.5),
    "empty": np.empty((0, 4), np.uint8),
    "big": np.arange(4, dtype=">i4"),
    "flags": np.array([True, False]),
    "half": np.ones((1, 1, 2), np.float16),
    "words": np.array(["a", "größe"]),
    "/path/to/../x": np.zeros(1, np.int8),
}
X = TensorInfo("x", np.dtype(np.float32), ("N", 4))


def npy(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version)
    return file.getvalue()


def with_header(text: str, data: bytes = bytes(48), *, version: int = 1, length: int | None = None) -> bytes:
    header = text.encode("latin-1")
    count = len(header) if length is None else length
    return b"\x93NUMPY" + bytes([version, 0]) + count.to_bytes(2 if version == 1 else 4, "little") + header + data


def archive(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return file.getvalue()


GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }"
ARCHIVES = {
    name: archive({"x.npy": npy(np.arange(24, dtype=np.float32).reshape(6, 4)), "t.npy": npy(np.arange(6))}, kind)
    for name, kind in {"stored": 0, "deflated": 8, "bzip2": 12, "lzma": 14}.items()
}


def reads(content: bytes) -> list:
    """All ways to read a file: whole, mapped, and as a data set in blocks."""
    path = Path("f.npz" if content.startswith(b"PK") else "f.npy")
    path.write_bytes(content)
    labels = None if path.suffix == ".npz" else np.zeros(3)
    ways = [lambda: read_arrays(path), lambda: list(open_data([X], path, labels).blocks(2))]
    return ways if path.suffix == ".npz" else [*ways, lambda: map_array(path)]


@pytest.mark.parametrize("compression", [0, 8, 12, 14])
def test_what_numpy_wrote_comes_back(compression):
    Path("f").write_bytes(archive({f"{n}.npy": npy(a) for n, a in ARRAYS.items()}, compression))
    found = read_arrays(Path("f"))
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("name", ARRAYS)
def test_a_single_array(name, version):
    Path("f").write_bytes(npy(ARRAYS[name], version))
    for found in (read_arrays(Path("f")), map_array(Path("f"))):
        np.testing.assert_array_equal(found, ARRAYS[name], strict=True)


@pytest.mark.parametrize(
    "header",
    [
        "{'shape':(3,4),'descr':'<f4','fortran_order':False}",
        '{"descr": "<f4", "fortran_order": False, "shape": (3L, 4L)}\n',
        "  {'descr': '<f4',\n 'fortran_order': False,\t'shape': ( 3 , 4 , ) , }   \n",
    ],
)
def test_headers_of_other_writers(header):
    for read in reads(with_header(header)):
        read()
    assert read_arrays(Path("f.npy")).shape == (3, 4)


@pytest.mark.parametrize(
    ("header", "text"),
    [
        (GOOD.replace("(3, 4)", "(3, 10000000000000)"), "truncated"),
        (GOOD.replace("(3, 4)", "(9223372036854775807, 9223372036854775807)"), "truncated"),
        (GOOD.replace("(3, 4)", "(0, 9999999999999999999)"), "bytes behind"),
        (GOOD.replace("(3, 4)", "(3, -4)"), "malformed header"),
        (GOOD.replace("(3, 4)", "(12)"), "malformed header"),
        (GOOD.replace("(3, 4)", "(3, 4.0)"), "malformed header"),
        (GOOD.replace("(3, 4)", "(3, True)"), "malformed header"),
        (GOOD.replace("(3, 4)", "(" + "1" * 5000 + ",)"), "malformed header"),
        (GOOD.replace("(3, 4)", "(3,,4)"), "malformed header"),
        (GOOD.replace("(3, 4)", "[3, 4]"), "malformed header"),
        (GOOD.replace("(3, 4)", "(" + "1, " * 70 + "12)"), "cannot read|number"),
        (GOOD.replace("False", "0"), "malformed header"),
        (GOOD.replace("'<f4'", "'|O'"), "pickled objects"),
        (GOOD.replace("'<f4'", "'O'"), "pickled objects"),
        (GOOD.replace("'<f4'", "[('a', '<f4')]"), "malformed header"),
        (GOOD.replace("'<f4'", "'<f3'"), "type of the array"),
        (GOOD.replace("'<f4'", "'|S0'"), "type of the array"),
        (GOOD.replace("'<f4'", "'<U999999999'"), "type of the array|truncated"),
        (GOOD.replace("'<f4'", "'4f4'"), "type of the array"),
        (GOOD.replace("'<f4'", "'f4, f4'"), "type of the array"),
        (GOOD.replace("'<f4'", "'<M8[ns]'"), "type of the array"),
        (GOOD[:-1], "malformed header"),
        (GOOD + "x", "malformed header"),
        (GOOD.replace(", }", ", 'shape': (3, 4)}"), "malformed header"),
        (GOOD.replace("'descr'", "'desc'"), "malformed header"),
        ("__import__('os').system('true')", "malformed header"),
        ("(" * 9000, "malformed header"),
        ("-" * 9000 + "1", "malformed header"),
        ("{" * 60000, "malformed header"),
        ("", "malformed header"),
        ("\0" * 100, "malformed header"),
    ],
    ids=lambda value: value[:60],
)
@pytest.mark.parametrize("version", [1, 2, 3])
def test_headers_that_are_none(header, text, version):
    content = with_header(header, version=version)
    for member in (content, archive({"x.npy": content, "t.npy": npy(np.zeros(3))}, zipfile.ZIP_DEFLATED)):
        for read in reads(member):
            with pytest.raises(InputError, match=text) as caught:
                read()
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\xff",
        b"\x93NUMPY\x09\x00" + bytes(100),
        with_header(GOOD, length=4000),
        with_header(GOOD, version=2, length=2**32 - 1),
        with_header(GOOD, bytes(47)),
        with_header(GOOD, bytes(49)),
        b"\x80\x04\x95.",  # a pickle
    ],
)
def test_files_that_are_cut_short_or_something_else(content):
    for read in reads(content):
        with pytest.raises(InputError):
            read()


def test_members_that_are_refused():
    member, labels = npy(np.zeros((6, 4), np.float32)), npy(np.zeros(6))
    encrypted = bytearray(archive({"x.npy": member, "t.npy": labels}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        encrypted[encrypted.index(signature) + offset] |= 1
    twice = archive({"x.npy": member, "y.npy": member}).replace(b"y.npy", b"x.npy")
    strange = bytearray(archive({"x.npy": member, "t.npy": labels}))
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        strange[strange.index(signature) + offset] = 97  # a method of packing that nobody knows
    bomb = bytearray(archive({"x.npy": member, "t.npy": labels}, zipfile.ZIP_DEFLATED))
    bomb[bomb.index(b"PK\x01\x02") + 24 + 3] = 0x7F  # says that it holds 2 GB
    for content, text in (
        (bytes(encrypted), "'x' of f.npz: the array is encrypted"),
        (twice, "'x' of f.npz: two arrays of one name"),
        (
            archive({"x.npy": member, "t.npy": labels, "notes.txt": b""}),
            "'notes.txt' of f.npz: a member that is no array",
        ),
        (archive({"x.npy": member, "folder/": b""}), "a member that is no array"),
        (bytes(strange), "cannot read the arrays"),
        (bytes(bomb), "'x' of f.npz: more bytes than the file has"),
    ):
        for read in reads(content):
            with pytest.raises(InputError, match=text) as caught:
                read()
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ARCHIVES)
def test_each_byte_of_an_archive_damaged(kind):
    """Never another error, and never other numbers than those that numpy reads."""
    rng = random.Random(0)  # noqa: S311
    content = ARCHIVES[kind]
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= rng.randrange(1, 256)
        Path("f.npz").write_bytes(damaged)
        try:
            found = read_arrays(Path("f.npz"))
        except InputError as error:
            assert "\n" not in str(error)
            continue
        with np.load("f.npz", allow_pickle=False) as right:
            for name, array in found.items():
                np.testing.assert_array_equal(array, right[name], strict=True)


@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_cut_off_anywhere(kind):
    for end in range(0, len(ARCHIVES[kind]), 3):
        for read in reads(b"PK" + ARCHIVES[kind][2:end]):
            with pytest.raises(InputError):
                read()


def test_pipes_and_devices_do_not_hang(tmp_path):
    for name in ("p.npz", "p.npy"):
        os.mkfifo(tmp_path / name)
        for read in (read_arrays, map_array, lambda p: open_data([X], p, np.zeros(3))):
            with pytest.raises(InputError, match="no regular file"):
                read(tmp_path / name)
    with pytest.raises(InputError, match="no regular file"):
        read_arrays(Path("/dev/zero"))


def test_an_archive_of_zeros_takes_no_more_than_the_limit(tmp_path):
    path = tmp_path / "zeros.npz"
    np.savez_compressed(path, x=np.zeros(1 << 24, np.uint8))
    assert path.stat().st_size < 1 << 17
    with limits(memory=1 << 20), pytest.raises(LimitError, match=r"'x' of .*zeros\.npz: it takes more memory"):
        read_arrays(path)
    assert read_arrays(path)["x"].size == 1 << 24
