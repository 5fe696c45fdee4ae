"""Certificate: what is known of two models that are compared, and on what grounds."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from anybit.number_formats import NumberFormat
from anybit.records import Record


class Verdict(enum.Enum):
    """What is known of two models, or of a tensor in them."""

    EXACT_BY_CONSTRUCTION = "exact by construction"
    """The same operators with the same constants."""
    EXACT_BY_ENUMERATION = "exact by enumeration"
    """Other operators, the same number for every integer that can occur: each one was tried, or, where both functions
    are proven to rise or to fall, those on both sides of every step."""
    EXACT_BUT_FOR_FLOAT_ROUNDING = "same integers, outputs within the bound that is stated"
    """The same integers in every layer, and outputs that differ by no more than `TensorProof.bound`, which is so small
    that the last float operations may round it away; the last scales may also be truly different."""
    DIFFERENT = "different"
    """An input is known on which outputs differ."""
    UNDECIDED = "undecided"
    """Neither a proof nor an input that shows a difference."""

    @property
    def is_exact(self) -> bool:
        """Whether it is a proof that the models make the same numbers, bit for bit but for the sign of zero."""
        return self in (Verdict.EXACT_BY_CONSTRUCTION, Verdict.EXACT_BY_ENUMERATION)

    @property
    def is_proof(self) -> bool:
        """Whether it is a proof that the models are equal, or differ by no more than a bound that is stated."""
        return self.is_exact or self is Verdict.EXACT_BUT_FOR_FLOAT_ROUNDING


@dataclass(frozen=True)
class TensorProof:
    """What leads to one tensor in both models.

    Attributes:
        a: The node of the first model that makes it, or the name of an output.
        b: That of the second model; empty if there is none.
        verdict: How it was shown to be equal, or that it was not.
        values: Number of integers that were tried; 0 where the stretch is equal by construction.
        steps: Number of runs of integers of one level that were compared.
        bound: How far real values may differ, if the verdict is that they may; the largest difference of all that were
            tried.
        detail: What differs, or stands in the way.
    """

    a: str
    b: str
    verdict: Verdict
    values: int = 0
    steps: int = 0
    bound: float = 0.0
    detail: str = ""


@dataclass(frozen=True)
class CounterExample:
    """An input on which two models differ.

    Attributes:
        inputs: By the first model's input names.
        output: Name of the first model's output that differs most.
        a: That output of the first model.
        b: Of the second one.
        largest: Their largest difference.
    """

    inputs: Mapping[str, npt.NDArray[Any]]
    output: str
    a: npt.NDArray[Any]
    b: npt.NDArray[Any]
    largest: float


@dataclass(frozen=True)
class Assumption:
    """What a file states of an input, and a proof takes for granted.

    Attributes:
        input: Name of the input, in the first model.
        datatype: Number format whose numbers are all that the input holds.
    """

    input: str
    datatype: NumberFormat

    def __str__(self) -> str:
        return f"for {self.input} in {self.datatype}, as the file states"


@dataclass(frozen=True)
class Certificate(Record):
    """Whether two models mean the same for every input that both take, and that the assumptions allow.

    Attributes:
        verdict: Of the models.
        layers: One entry a quantised tensor of the first model.
        outputs: One entry an output of the first model.
        notes: How inputs and outputs were matched where names differ, and what was not read.
        assumptions: What the proof, or the search, takes for granted of the inputs.
        samples: Number of samples on which both models were run; 0 if they were not.
        counter_example: An input on which they differ, if the verdict is that.
    """

    verdict: Verdict
    layers: tuple[TensorProof, ...]
    outputs: tuple[TensorProof, ...]
    notes: tuple[str, ...] = ()
    assumptions: tuple[Assumption, ...] = ()
    samples: int = 0
    counter_example: CounterExample | None = None

    @property
    def bound(self) -> float:
        """How far outputs may differ, where the verdict is a proof; 0 where they are equal."""
        return max((o.bound for o in self.outputs), default=0.0) if self.verdict.is_proof else float("inf")
