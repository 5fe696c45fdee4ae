"""ImageFolder: pictures in one folder for each class, as a model takes them."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anybit.arrays import Array
from anybit.engines.prepare import TensorInfo
from anybit.errors import InputError, UnsupportedError
from anybit.io.files.regular import open_regular

_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"))
_FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # Pillow would else start Ghostscript for what is PostScript
_DAMAGE = (  # what the decoders of Pillow raise for files that are broken
    *(OSError, ValueError, TypeError, LookupError, SyntaxError, EOFError, OverflowError, MemoryError, RuntimeError),
    *(struct.error, zlib.error),
)
_MODES = {1: ("L", ("1", "L")), 3: ("RGB", ("1", "L", "P", "RGB"))}  # what becomes it without a loss


@dataclass(frozen=True)
class ImageFolder:
    """Pictures, one folder for each class; classes are numbered from 0 in the order of the names of their folders.

    A model of floats is fed ``pixel * scale + offset`` with pixels from 0 to 255, one of bytes the pixels themselves.
    Nothing is resized or cropped: every picture has the size that the model takes.

    Attributes:
        path: The folder.
        scale: Factor of the pixels, or one for each channel.
        offset: What is added then, or one number for each channel.
    """

    path: str | os.PathLike[str]
    scale: float | tuple[float, ...] = 1 / 255
    offset: float | tuple[float, ...] = 0.0

    def files(self) -> list[tuple[Path, int]]:
        """The pictures with their classes, by class and name.

        Raises:
            InputError: There are no classes, a class has no pictures, or a file is none.
        """
        root = Path(self.path)
        classes = sorted(p for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
        if not classes:
            raise InputError("no classes", node=str(root), expected="a folder for each class")
        return [(file, label) for label, folder in enumerate(classes) for file in self._of_class(folder)]

    def _of_class(self, folder: Path) -> list[Path]:
        files = sorted(p for p in folder.iterdir() if not p.is_dir() and not p.name.startswith("."))
        if not files:
            raise InputError("a class without pictures", node=str(folder), expected="at least one")
        for file in files:
            if not file.is_file() or file.suffix.lower() not in _SUFFIXES:
                raise InputError("no picture", node=str(file), expected=", ".join(sorted(_SUFFIXES)))
        return files

    def read(self, file: Path, info: TensorInfo) -> Array:
        """One picture without the batch axis.

        Args:
            file: The picture.
            info: The input of the model, [N, C, H, W] or [N, H, W, C] with 1 or 3 channels.

        Raises:
            InputError: The picture cannot be read, or its size or colours are not those of the input.
            UnsupportedError: Pillow is not installed.
        """
        channels, first, size = _layout(info)
        pixels = _pixels(file, channels, size)
        if info.dtype != np.uint8:
            scale, offset = np.asarray(self.scale, np.float32), np.asarray(self.offset, np.float32)
            if scale.size not in (1, channels) or offset.size not in (1, channels):
                numbers = f"{scale.size} and {offset.size} numbers"
                raise InputError("scale and offset", got=numbers, expected="one, or one a channel")
            pixels = (pixels.astype(np.float32) * scale + offset).astype(info.dtype)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)) if first else pixels


def _layout(info: TensorInfo) -> tuple[int, bool, tuple[int | str, int | str]]:
    """Number of channels, whether they come first, and height and width; a free size takes any."""
    where = f"input '{info.name}'"
    if info.dtype.kind != "f" and info.dtype != np.uint8:
        raise InputError("pictures are floats or bytes", node=where, got=info.dtype)
    match info.shape:
        case (_, 1 | 3 as channels, height, width):
            return channels, True, (height, width)
        case (_, height, width, 1 | 3 as channels):
            return channels, False, (height, width)
        case _:
            raise InputError("no pictures", node=where, got=info, expected="[N, C, H, W] or [N, H, W, C]")


def _pixels(file: Path, channels: int, size: tuple[int | str, int | str]) -> Array:
    """Height, width, channels. What the file's header says is checked before anything is decoded."""
    mode, accepted = _MODES[channels]
    with _reading(file), open_regular(file) as opened, _image_module().open(opened, formats=_FORMATS) as image:
        actual = (image.height, image.width)
        if any(isinstance(want, int) and want != have for want, have in zip(size, actual, strict=True)):
            got, expected = (" x ".join(map(str, numbers)) for numbers in (actual, size))
            raise InputError("height x width of the picture", node=str(file), got=got, expected=expected)
        if image.mode not in accepted:
            raise InputError("colours", node=str(file), got=image.mode, expected=" or ".join(accepted))
        return np.asarray(image.convert(mode), np.uint8).reshape(*actual, channels)


@contextmanager
def _reading(file: Path) -> Generator[None]:
    """Says in one line what is wrong with a picture.

    Raises:
        InputError: Something is.
    """
    image = _image_module()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what stands beside the pixels
            warnings.simplefilter("error", image.DecompressionBombWarning)
            yield
    except (image.DecompressionBombWarning, image.DecompressionBombError) as error:
        expected = f"at most {image.MAX_IMAGE_PIXELS:,} pixels"
        raise InputError("the picture is too large", node=str(file), expected=expected) from error
    except image.UnidentifiedImageError as error:
        expected = ", ".join(_FORMATS)
        raise InputError("cannot read the picture", node=str(file), got="no known format", expected=expected) from error
    except _DAMAGE as error:
        text = (isinstance(error, OSError) and error.strerror) or str(error)
        got = " ".join(text.split()) or type(error).__name__
        raise InputError("cannot read the picture", node=str(file), got=got) from error


def _image_module() -> Any:
    try:
        from PIL import Image  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UnsupportedError("pictures need Pillow", hint="pip install 'anybit[images]'") from error
    return Image
