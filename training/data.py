"""Data sets to train on: what ships with scikit-learn, or is drawn from a seed. Inputs are whole numbers throughout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from anybit.zoo.card import DataSet

Array = npt.NDArray[Any]

WORDS = ((400, 800), (800, 400), (400, 400), (800, 800), (600, 1200), (1200, 600), (1200, 1200), (300, 1500))
"""Pitches in hertz with which each word of `words` begins and ends."""
NAMES, VALUES, STEPS = 8, 8, 12
"""Names, digits and assignments of `assignments`."""
_RATE = 8000  # samples a second


@dataclass(frozen=True)
class Data:
    """Samples to train on, held-out ones, and what a card says of them.

    Attributes:
        task: What is to be done.
        source: Where the samples are from.
        prepared: How an input is prepared.
        input: Name of the input.
        output: Name of the output.
        train: Inputs [N, ...].
        train_labels: Classes [N], or numbers [N, 1] for a regression.
        test: Held-out inputs.
        test_labels: Their labels.
    """

    task: str
    source: DataSet
    prepared: str
    input: str
    output: str
    train: Array
    train_labels: Array
    test: Array
    test_labels: Array

    @property
    def regression(self) -> bool:
        """Whether labels are numbers, not classes."""
        return self.train_labels.dtype.kind == "f"


def digits() -> Data:
    """The digits of scikit-learn as images [1, 8, 8], pixels 0 to 16; of each class a fifth is held out, 360 in all."""
    return _digits((1, 8, 8))


def flat_digits() -> Data:
    """The same as vectors [64]."""
    return _digits((64,))


def _digits(shape: tuple[int, ...]) -> Data:
    # Here because only training needs scikit-learn; the package itself does not depend on it.
    from sklearn import datasets, model_selection  # pyright: ignore[reportMissingTypeStubs]

    loaded = cast("Any", datasets.load_digits())
    split = cast("Any", model_selection.train_test_split)  # pyright: ignore[reportUnknownMemberType]
    train, test, train_labels, test_labels = split(
        loaded.data.reshape(-1, *shape).astype(np.float32),
        loaded.target,
        test_size=0.2,
        stratify=loaded.target,
        random_state=0,
    )
    return Data(
        task="image classification",
        source=DataSet(
            name="digits of scikit-learn, held-out fifth",
            url="https://scikit-learn.org/stable/modules/generated/sklearn.datasets.load_digits.html",
        ),
        prepared=f"[N, {', '.join(map(str, shape))}] floats: the 8 x 8 pixels, 0 to 16, row by row",
        input="pixels",
        output="logits",
        train=train,
        train_labels=train_labels,
        test=test,
        test_labels=test_labels,
    )


def friedman() -> Data:
    """Friedman's first regression problem: y = 10 sin(pi a b) + 20 (c - 1/2)^2 + 10 d + 5 e + noise of variance 1.

    a to e are five of ten features of 0 to 1, which are given in whole steps of 1/256.
    """
    rng = np.random.default_rng(0)
    features = rng.integers(0, 256, (21_000, 10))
    a, b, c, d, e = ((features[:, :5] + 0.5) / 256).T
    y = 10 * np.sin(np.pi * a * b) + 20 * (c - 0.5) ** 2 + 10 * d + 5 * e + rng.standard_normal(len(a))
    return _split(
        features.astype(np.float32),
        y[:, None].astype(np.float32),
        held_out=1000,
        task="tabular regression",
        source=DataSet(
            name="Friedman #1 from seed 0, noise of variance 1",
            url="https://scikit-learn.org/stable/modules/generated/sklearn.datasets.make_friedman1.html",
        ),
        prepared="[N, 10] floats: features of 0 to 1 times 256, rounded down",
        names=("features", "value"),
    )


def assignments() -> Data:
    """What a variable holds: STEPS assignments of digits to names, then a name; the last digit that it was given.

    Token 8d + n assigns digit d of 0 to 7 to name n of 0 to 7, token 64 + n asks for it. The name
    asked for is that of a random assignment.
    """
    rng = np.random.default_rng(0)
    count = 21_000
    names, values = rng.integers(0, NAMES, (count, STEPS)), rng.integers(0, VALUES, (count, STEPS))
    asked = np.take_along_axis(names, rng.integers(0, STEPS, (count, 1)), axis=1)
    last = STEPS - 1 - (names == asked)[:, ::-1].argmax(axis=1)
    return _split(
        np.concatenate([NAMES * values + names, NAMES * VALUES + asked], axis=1),
        values[np.arange(count), last],
        held_out=1000,
        task="sequence recall",
        source=DataSet(name="assignments to variables from seed 0"),
        prepared="[N, 13] integers: 12 tokens 8d + n, which assign digit d of 0 to 7 to name n of 0 to 7, then 64 + n",
        names=("tokens", "logits"),
    )


def words() -> Data:
    """Eight words of synthetic speech: 1,024 samples at 8 kHz, 8 bits, each word a glide between two pitches.

    A word is a buzz of four harmonics that starts somewhere in the first quarter and lasts about half of the time; its
    pitch, loudness and length vary, and there is noise, from a third as loud to louder.
    """
    rng = np.random.default_rng(0)
    count, length = 3300, 1024
    labels = rng.integers(0, len(WORDS), count)
    pitch = np.array(WORDS)[labels] * rng.uniform(0.93, 1.07, (count, 1))
    start, span = rng.uniform(0, length / 4, (count, 1)), rng.uniform(400, 640, (count, 1))
    place = (np.arange(length) - start) / span
    inside = (place > 0) & (place < 1)
    hertz = pitch[:, :1] + (pitch[:, 1:] - pitch[:, :1]) * np.clip(place, 0, 1)
    phase = 2 * np.pi * np.cumsum(hertz, axis=1) / _RATE + rng.uniform(0, 2 * np.pi, (count, 1))
    buzz = sum(np.sin(k * phase) / k for k in (1, 2, 3, 4)) * np.sin(np.pi * np.clip(place, 0, 1))
    loud = rng.uniform(15, 60, (count, 1))
    noise = rng.standard_normal((count, length)) * loud * rng.uniform(0.3, 1.5, (count, 1))
    audio = np.clip(np.round(buzz * inside * loud + noise), -128, 127)
    return _split(
        audio[:, None].astype(np.float32),
        labels,
        held_out=300,
        task="keyword spotting",
        source=DataSet(name="eight words of synthetic speech from seed 0"),
        prepared="[N, 1, 1024] floats: 8-bit samples, -128 to 127, at 8 kHz",
        names=("audio", "logits"),
    )


def _split(
    inputs: Array, labels: Array, *, held_out: int, task: str, source: DataSet, prepared: str, names: Sequence[str]
) -> Data:
    """Independent samples: the last ones are held out."""
    return Data(
        task=task,
        source=source,
        prepared=prepared,
        input=names[0],
        output=names[1],
        train=inputs[:-held_out],
        train_labels=labels[:-held_out],
        test=inputs[-held_out:],
        test_labels=labels[-held_out:],
    )
