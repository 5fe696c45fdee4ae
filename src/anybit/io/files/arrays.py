"""Arrays in .npy and .npz files that anyone may have written: read without trust, refused in one line.

Of a header only its three fields are read, by a pattern: nothing in it is parsed as Python. What it says is compared
with the size of the file before memory is taken, and so is what an archive says of its members.
"""

from __future__ import annotations

import lzma
import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from anybit.errors import InputError
from anybit.io.files.regular import open_regular
from anybit.ops.sizes import refuse_bytes

_MAGIC = b"\x93NUMPY"
_LENGTHS = {(1, 0): "<H", (2, 0): "<I", (3, 0): "<I"}
_LONGEST_HEADER = 1 << 16
_FIELD = re.compile(
    r"""['"]descr['"]\s*:\s*['"](?P<descr>[^'"]*)['"]"""
    r"""|['"]fortran_order['"]\s*:\s*(?P<order>True|False)"""
    r"""|['"]shape['"]\s*:\s*\((?P<shape>[\sL\d,]*)\)""",
    re.ASCII,
)
_SPACE = re.compile(r"\s+", re.ASCII)
_SHAPE = re.compile(r"(?:\d{1,19}L?,)*(?:\d{1,19}L?)?", re.ASCII)  # L: written by Python 2
_TYPE = re.compile(r"[<>|=]?[?biufcSUV]\d{0,9}", re.ASCII)
_BUFFER = 1 << 20
_ENCRYPTED = 1  # bit of a member's flags
_DEFLATED_MOST = 1032  # bytes that deflate can make of one


@dataclass(frozen=True)
class Header:
    """What stands before the elements of an array.

    Attributes:
        shape: Dimensions.
        by_column: Whether the first index runs fastest.
        dtype: Type of the elements.
    """

    shape: tuple[int, ...]
    by_column: bool
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """How many bytes all elements take that the header promises."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]] | npt.NDArray[Any]:
    """The arrays of an .npz file by name, or the one of an .npy file, whatever the file is called.

    Raises:
        InputError: The file cannot be read as either.
    """
    with reading(str(path)), open_regular(path) as file:
        if not zipfile.is_zipfile(file):
            file.seek(0)
            return read_elements(file, read_header(file, _size(file), str(path)), str(path))
    with archive_of(path) as archive:
        return {name: _member(archive, path, info) for name, info in members(archive, str(path)).items()}


def map_array(path: Path) -> npt.NDArray[Any]:
    """The array of an .npy file, of which what is used is read when it is used.

    Raises:
        InputError: The file cannot be read.
    """
    with reading(str(path)), open_regular(path) as file:
        header = read_header(file, _size(file), str(path))
        order = "F" if header.by_column else "C"
        if not header.nbytes:  # nothing can be mapped
            return np.empty(header.shape, header.dtype, order)
        return np.memmap(file, header.dtype, "r", file.tell(), header.shape, order)


@contextmanager
def archive_of(path: Path) -> Generator[zipfile.ZipFile]:
    """An .npz file, open.

    Raises:
        InputError: It cannot be read; also for errors inside the block, while its members are.
    """
    with reading(str(path)), open_regular(path) as file, zipfile.ZipFile(file) as archive:
        yield archive


def members(archive: zipfile.ZipFile, where: str) -> Mapping[str, zipfile.ZipInfo]:
    """The arrays of an archive by name, none of which has been read.

    Raises:
        InputError: A member is no array, or encrypted, or the sizes contradict each other.
    """
    found: dict[str, zipfile.ZipInfo] = {}
    packed = 0
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        here = f"'{name}' of {where}"
        packed += info.compress_size
        if name == info.filename:
            raise InputError("a member that is no array", node=here, expected="names that end with .npy")
        if name in found:
            raise InputError("two arrays of one name", node=here)
        if info.flag_bits & _ENCRYPTED:
            raise InputError("the array is encrypted", node=here, expected="a file without a password")
        most = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: _DEFLATED_MOST}.get(info.compress_type)
        if most is not None and info.file_size > most * info.compress_size:
            expected = f"at most {most * info.compress_size:,}"
            raise InputError("more bytes than the file has", node=here, got=f"{info.file_size:,}", expected=expected)
        found[name] = info
    if archive.fp is not None and packed > _size(archive.fp):
        raise InputError("members that overlap", node=where, got=f"{packed:,} bytes in all")
    return found


def read_header(file: IO[bytes], size: int, where: str) -> Header:
    """The header of an array, which the file is then behind.

    Args:
        file: A file, or a member of an archive, from its beginning.
        size: Its bytes.
        where: How messages name it.

    Raises:
        InputError: It is none that can be read, or does not fit the size.
    """
    magic = file.read(len(_MAGIC) + 2)
    length = _LENGTHS.get((magic[-2], magic[-1])) if len(magic) == len(_MAGIC) + 2 else None
    if not magic.startswith(_MAGIC) or length is None:
        raise InputError("no array of a format that is known", node=where, expected=".npy of version 1, 2 or 3")
    prefix = file.read(struct.calcsize(length))
    (count,) = struct.unpack(length, prefix.ljust(struct.calcsize(length), b"\0"))
    text = file.read(min(count, _LONGEST_HEADER)).decode("latin-1")
    header = _parsed(text, where) if len(text) == count else None
    if header is None:
        raise InputError("a malformed header", node=where, got=repr(text[:200]))
    actual = size - len(magic) - len(prefix) - count
    if actual != header.nbytes:
        expected = f"{header.nbytes:,} for {list(header.shape)} of {header.dtype}"
        problem = "the array is truncated" if actual < header.nbytes else "bytes behind the array"
        raise InputError(problem, node=where, got=f"{actual:,} bytes", expected=expected)
    return header


def read_elements(file: IO[bytes], header: Header, where: str) -> npt.NDArray[Any]:
    """The array behind a header. The file is read to its end, where the sum over a member is checked.

    Raises:
        InputError: It has too few or too many bytes.
        LimitError: It takes more memory than the limits allow: an archive may pack zeros a thousandfold.
    """
    refuse_bytes(header.nbytes, where)
    array = np.empty(header.shape, header.dtype, "F" if header.by_column else "C")
    room = array.reshape(-1, order="A").view(np.uint8)
    filled = 0
    while piece := file.read(_BUFFER):
        if filled + len(piece) > len(room):
            raise InputError("bytes behind the array", node=where)
        room[filled : filled + len(piece)] = np.frombuffer(piece, np.uint8)
        filled += len(piece)
    if filled < len(room):
        raise InputError("the array is truncated", node=where, got=f"{filled:,} bytes", expected=f"{len(room):,}")
    return array


@contextmanager
def reading(where: str) -> Generator[None]:
    """Says in one line what goes wrong while arrays are read.

    Raises:
        InputError: Something did.
    """
    try:
        yield
    except (
        *(OSError, ValueError, EOFError, RuntimeError, MemoryError, OverflowError, struct.error),
        *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError),
    ) as error:
        got = " ".join(str(error).split()) or type(error).__name__
        raise InputError("cannot read the arrays", node=where, got=got, expected="an .npz or .npy file") from error


def _parsed(text: str, where: str) -> Header | None:
    """The three fields in braces, each once, and nothing else; None if that is not so."""
    fields: dict[str, str] = {}
    for found in _FIELD.finditer(text):
        fields |= {key: value for key, value in found.groupdict().items() if value is not None}
    if len(fields) != 3 or _SPACE.sub("", _FIELD.sub("*", text)) not in ("{*,*,*}", "{*,*,*,}"):
        return None
    shape, descr = _SPACE.sub("", fields["shape"]), fields["descr"]
    if not _SHAPE.fullmatch(shape) or (shape and "," not in shape):
        return None
    if descr.endswith("O"):
        raise InputError("pickled objects are not read", node=where, got=repr(descr), expected="numbers")
    dimensions = tuple(int(number.rstrip("L")) for number in shape.split(",") if number)
    try:
        dtype = np.dtype(descr) if _TYPE.fullmatch(descr) else None
    except (TypeError, ValueError):
        dtype = None
    if dtype is None or not dtype.itemsize:
        raise InputError("type of the array", node=where, got=repr(descr[:100]), expected="numbers")
    return Header(dimensions, fields["order"] == "True", dtype)


def _member(archive: zipfile.ZipFile, path: Path, info: zipfile.ZipInfo) -> npt.NDArray[Any]:
    where = f"'{info.filename.removesuffix('.npy')}' of {path}"
    with reading(where), archive.open(info) as file:
        return read_elements(file, read_header(file, info.file_size, where), where)


def _size(file: BinaryIO | IO[bytes]) -> int:
    return os.fstat(file.fileno()).st_size
