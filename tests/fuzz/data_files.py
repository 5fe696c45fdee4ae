"""Calls on a sound model whose data are damaged: arrays, weights in another file, the cache, a catalogue, a journal."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from onnx import helper

import anybit
from anybit.errors import UsageError
from anybit.evaluation.evaluate import evaluate
from anybit.evaluation.metrics import ScoredSamples
from anybit.zoo.catalogue import encoded, open_catalogue
from anybit.zoo.journal import JournalFile
from tests.fuzz.mutate import damaged
from tests.models import mlp, model

_SAMPLES = 6
_DECIDES = {"model": "m"}


def arrays(index: int, folder: Path) -> object:
    """Evaluates a model on a damaged .npz file, or on a damaged .npy file."""
    kind = index % 3
    write = (np.savez, np.savez_compressed, None)[kind]
    path = folder / ("data.npy" if write is None else "data.npz")
    path.write_bytes(_changed(_arrays(kind), index))
    return evaluate(_session(), path, None if write is not None else np.zeros(_SAMPLES, np.int64))


def pictures(index: int, folder: Path) -> object:
    """Reads a folder of classes with a damaged picture."""
    format_of = ("png", "jpeg", "bmp", "tiff", "webp", "ppm")[index % 6]
    place = folder / "pictures" / "class"
    place.mkdir(parents=True, exist_ok=True)
    for old in place.iterdir():
        old.unlink()
    (place / f"a.{format_of}").write_bytes(_changed(_picture(format_of), index))
    return evaluate(_image_session(), anybit.evaluation.ImageFolder(folder / "pictures"))


def weights(index: int, folder: Path) -> object:
    """Loads and runs a model whose weights are damaged, or fewer or more than it says."""
    path = folder / "external.onnx"
    anybit.save(anybit.load(mlp(hidden=64)), path, external_data=True)
    (data,) = folder.glob("external.onnx.*.data")
    data.write_bytes(_changed(data.read_bytes(), index))
    try:
        return anybit.run(path, np.zeros((1, 6), np.float32), engine="reference")
    finally:
        data.unlink(missing_ok=True)


def cached(index: int, folder: Path) -> object:
    """Starts a session from a damaged cache."""
    cache_folder = folder / "cache"
    anybit.Session(_model(), cache=cache_folder)
    for file in cache_folder.iterdir():
        file.write_bytes(_changed(file.read_bytes(), index))
    result = anybit.Session(_model(), cache=cache_folder).run(np.zeros((1, 6), np.float32))
    for file in cache_folder.iterdir():
        file.unlink()
    return result


def catalogue(index: int, folder: Path) -> object:
    """Reads a damaged catalogue."""
    path = folder / "catalogue.json"
    path.write_bytes(_changed(_catalogue(), index))
    return open_catalogue(path)


def journal(index: int, folder: Path) -> object:
    """Continues an evaluation whose journal is damaged."""
    path = folder / f"journal-{index}"
    path.write_bytes(_changed(_journal(), index))
    try:
        with JournalFile(path, _DECIDES) as found:
            found.record(7, ScoredSamples(1, 1, 1, ()))
            return found.finished
    except UsageError:  # it is no journal any more, or that of another evaluation
        return None
    finally:
        for file in folder.glob(f"journal-{index}*"):
            file.unlink()


DATA_FILES: Mapping[str, Callable[[int, Path], object]] = {
    "data arrays": arrays,
    "data pictures": pictures,
    "data weights": weights,
    "data cache": cached,
    "data catalogue": catalogue,
    "data journal": journal,
}
"""The calls, each with a number that decides the damage, and a folder for the files."""


def _changed(data: bytes, index: int) -> bytes:
    return damaged(data, random.Random(f"data:{index}"))  # noqa: S311  (it is meant to be predictable)


@cache
def _journal() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "journal"
        with JournalFile(path, _DECIDES) as made:
            for number in range(4):
                made.record(number, ScoredSamples(8, number, number, (0.5,)))
        return path.read_bytes()


@cache
def _catalogue() -> bytes:
    return encoded(list(open_catalogue().cards.values())[:3])


@cache
def _picture(format_of: str) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    Image.fromarray(pixels).save(file, format_of)
    return file.getvalue()


@cache
def _image_session() -> anybit.Session:
    nodes = [helper.make_node("Flatten", ["x"], ["y"])]
    return anybit.Session(model(nodes, {}, inputs={"x": ["N", 3, 4, 5]}, outputs=["y"]), engine="reference")


@cache
def _model() -> bytes:
    return mlp().SerializeToString(deterministic=True)


@cache
def _session() -> anybit.Session:
    return anybit.Session(_model(), engine="reference")


@cache
def _arrays(kind: int) -> bytes:
    file = io.BytesIO()
    x, labels = np.ones((_SAMPLES, 6), np.float32), np.zeros(_SAMPLES, np.int64)
    if kind == 2:
        np.save(file, x)
    else:
        (np.savez_compressed if kind else np.savez)(file, x=x, labels=labels)
    return file.getvalue()
