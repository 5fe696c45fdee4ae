"""Pictures of any damage, size and kind: what is not one of the formats, or too large, is one line."""

from __future__ import annotations

import io
import os
import random
import struct
import subprocess
import zlib

import numpy as np
import pytest

from anybit.engines.prepare import TensorInfo
from anybit.errors import InputError
from anybit.evaluation.images import ImageFolder

PIL = pytest.importorskip("PIL.Image", reason="needs Pillow")
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
FIXED = TensorInfo("image", np.dtype(np.uint8), ("N", 4, 5, 3))
FREE = TensorInfo("image", np.dtype(np.uint8), ("N", "h", "w", 3))
FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


def encoded(kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    PIL.fromarray(PIXELS).save(file, kind, **options)
    return file.getvalue()


def png(width: int, height: int) -> bytes:
    """A picture of a size that only its header says."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [header, b"IDAT" + zlib.compress(bytes(100)), b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks
    )


def read(path, info=FIXED):
    return ImageFolder(path.parent).read(path, info)


@pytest.mark.parametrize("kind", FORMATS)
def test_formats_are_told_by_content(tmp_path, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    (tmp_path / "a.bmp").write_bytes(encoded(kind, **options))
    with PIL.open(io.BytesIO(encoded(kind, **options))) as image:
        np.testing.assert_array_equal(read(tmp_path / "a.bmp"), np.asarray(image))


@pytest.mark.parametrize("kind", ["EPS", "GIF", "PDF", "ICO", "TGA", "PCX", "SGI", "JPEG2000", "DDS"])
def test_other_formats_start_nothing(tmp_path, monkeypatch, kind):
    def started(*arguments: object, **_: object) -> None:
        raise AssertionError(f"a process was started: {arguments}")

    for name in ("Popen", "run", "call", "check_call", "check_output"):
        monkeypatch.setattr(subprocess, name, started)
    monkeypatch.setattr(os, "system", started)
    (tmp_path / "a.png").write_bytes(encoded(kind))
    for info in (FIXED, FREE):
        with pytest.raises(InputError, match=r"a\.png: cannot read the picture: got no known format, expected BMP"):
            read(tmp_path / "a.png", info)


def test_sizes_are_refused_before_anything_is_decoded(tmp_path, monkeypatch):
    from PIL import ImageFile

    def decoded(*_: object) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decoded)
    (tmp_path / "a.png").write_bytes(png(5000, 4000))
    with pytest.raises(InputError, match="height x width of the picture: got 4000 x 5000, expected 4 x 5"):
        read(tmp_path / "a.png")
    for size in ((10_000, 10_000), (2**31 - 1, 2**31 - 1)):
        (tmp_path / "a.png").write_bytes(png(*size))
        for info in (FIXED, FREE):
            with pytest.raises(InputError, match=r"a\.png: the picture is too large: expected at most|cannot read"):
                read(tmp_path / "a.png", info)


@pytest.mark.parametrize("kind", FORMATS)
def test_each_byte_damaged(tmp_path, capfd, kind):
    rng = random.Random(0)  # noqa: S311
    content = encoded(kind)
    (tmp_path / "a.png").write_bytes(content)
    right = read(tmp_path / "a.png")
    for position in range(min(len(content), 700)):
        damaged = bytearray(content)
        damaged[position] ^= rng.randrange(1, 256)
        (tmp_path / "a.png").write_bytes(damaged)
        try:
            read(tmp_path / "a.png", rng.choice((FIXED, FREE)))
        except InputError as error:
            assert "\n" not in str(error)
        (tmp_path / "a.png").write_bytes(content[:position])
        try:  # what is behind the pixels is no loss
            np.testing.assert_array_equal(read(tmp_path / "a.png"), right)
        except InputError as error:
            assert "\n" not in str(error)
    capfd.readouterr()  # what libtiff says of it


def test_special_files_are_no_pictures(tmp_path):
    (tmp_path / "cat").mkdir()
    os.mkfifo(tmp_path / "cat" / "a.png")
    with pytest.raises(InputError, match=r"a\.png: no picture"):
        ImageFolder(tmp_path).files()
    with pytest.raises(InputError, match=r"a\.png: cannot read the picture: got no regular file"):
        read(tmp_path / "cat" / "a.png")
