"""Card: what a catalogue says of one model; `Catalogue`: many of them, the content of a `catalogue.json`.

The classes are the schema: `msgspec` reads JSON straight into them, names the place of each mistake, and makes the
JSON Schema that stands beside this file (`catalogue.schema.json`). A field that is not in them is refused: it would be
a misspelt one, or belong to a later version.
"""

from __future__ import annotations

import enum
from typing import Annotated, Literal

from msgspec import Meta, Struct

VERSION: Literal[1] = 1
"""Version of the schema. It grows by one when a card of before would be read as something else, or not at all."""

_END = r"$(?!\n)"  # the end in Python, whose $ comes before a last line feed as well, and in JSON Schema
_NAME = rf"^[A-Za-z0-9][A-Za-z0-9._-]{{0,99}}{_END}"
_RELATIVE = r"(?:[A-Za-z0-9_-][A-Za-z0-9._-]*/)*[A-Za-z0-9_-][A-Za-z0-9._-]*"
_ADDRESS = rf"^(?:https?://[!-~]+|file:///[!-~]+|{_RELATIVE}){_END}"

Name = Annotated[str, Meta(pattern=_NAME)]
Line = Annotated[str, Meta(pattern=rf"^[^\x00-\x1f\x7f-\x9f]+{_END}", max_length=200)]
Text = Annotated[str, Meta(max_length=2000)]
Address = Annotated[str, Meta(pattern=_ADDRESS, max_length=1000)]
Page = Annotated[str, Meta(pattern=rf"^https?://[!-~]+{_END}", max_length=1000)]
Sha256 = Annotated[str, Meta(pattern=rf"^[0-9a-f]{{64}}{_END}")]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Positive = Annotated[int, Meta(ge=1, le=2**63 - 1)]


class Role(enum.Enum):
    """What a file is for."""

    MODEL = "model"
    """The ONNX file; there is one."""
    WEIGHTS = "weights"
    """External data of the ONNX file, under the name that it is referred to by."""
    DATA = "data"
    """Samples with labels, which the claimed metric was measured on."""


class File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file.

    Attributes:
        name: Its name in the cache.
        role: What it is for.
        urls: Where it is, the first one first: http, https and file addresses, or paths below the folder of the card.
        sha256: Its hash. None for a file that nobody has seen who wrote the card: it is not pinned.
        size: Its bytes.
    """

    name: Name
    role: Role
    urls: Annotated[tuple[Address, ...], Meta(min_length=1, max_length=20)]
    sha256: Sha256 | None = None
    size: Count | None = None


class DataSet(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a model was trained for, and where the data are from."""

    name: Line
    url: Page | None = None


class Source(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a model is from: who made it, a page, a paper."""

    name: Line
    url: Page | None = None
    paper: Page | None = None


class Quantization(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The dominant number formats, as INT2, BIPOLAR or FLOAT<4,3,7>, and what else there is to say."""

    weights: Line
    activations: Line
    note: Text = ""


class Claim(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a model is said to reach.

    Attributes:
        metric: "accuracy" is a share of the samples; "squared-error" is one of `anybit.evaluation.Metric` as well.
        value: The figure.
        samples: How many samples it is over.
        correct: For accuracy, how many of them are right.
        verified: Whether anybit measured it on the file of the card; else it is what its source published.
    """

    metric: Literal["accuracy", "squared-error"]
    value: float
    samples: Positive | None = None
    correct: Count | None = None
    verified: bool = False


class CardCost(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one sample costs, as `anybit.cost` counts it, or as its source published it."""

    macs: Count | None = None
    bit_operations: Count | None = None
    weight_bits: Count | None = None
    verified: bool = False


class Judging(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the data file of a card is judged: key of the labels in it, and the options of `anybit.evaluate`."""

    labels: Line | None = None
    metric: Literal["accuracy", "squared-error"] = "accuracy"
    output: Line | None = None


class Card(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model.

    Attributes:
        name: Its name in the catalogue.
        task: What it does, as "image classification".
        data_set: Data that it was trained and judged on.
        source: Where it is from.
        licence: SPDX identifier, or what is known of it.
        input: How an input is prepared.
        framework: What trained and exported it.
        quantisation: Its number formats.
        files: Its files.
        summary: What else a reader wants to know.
        claim: What it reaches.
        cost: What it costs.
        judging: How to judge it on its data file.
    """

    name: Name
    task: Line
    data_set: DataSet
    source: Source
    licence: Line
    input: Text
    framework: Line
    quantization: Quantization
    files: Annotated[tuple[File, ...], Meta(min_length=1, max_length=1000)]
    summary: Text = ""
    claim: Claim | None = None
    cost: CardCost | None = None
    judging: Judging | None = None

    @property
    def model(self) -> File:
        """The ONNX file."""
        return next(f for f in self.files if f.role is Role.MODEL)

    @property
    def data(self) -> File | None:
        """The data file, None where none comes with the model."""
        return next((f for f in self.files if f.role is Role.DATA), None)

    @property
    def pinned(self) -> bool:
        """Whether the hash of each file is known."""
        return all(f.sha256 is not None for f in self.files)


class Catalogue(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Models, each under a name of its own."""

    schema: Literal[1]
    models: tuple[Card, ...]
