"""Plan: the bit width and range of every tensor that is quantised, as a value and as JSON."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from anybit.errors import InputError, ModelFileError
from anybit.io.files.whole import write_whole
from anybit.quantization.recipe import LEAST_BITS, MOST_BITS, Scales, Target

_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class ActivationPlan:
    """How one activation is quantised.

    Attributes:
        tensor: Its name.
        bits: Bit width; None leaves it in float.
        signed: Whether its integers are signed; None decides by what it holds.
        scale: The scale; None finds it on the calibration data.
        zero_point: The zero point; None finds it.
        reason: Why it is so.
    """

    tensor: str
    bits: int | None
    signed: bool | None = None
    scale: float | None = None
    zero_point: int | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class WeightPlan:
    """How one weight is quantised: signed integers of a symmetric range.

    Attributes:
        tensor: Its name.
        layer: Name of the tensor that its layer makes.
        bits: Bit width; None leaves it in float.
        reason: Why it is so.
    """

    tensor: str
    layer: str
    bits: int | None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Bit widths and ranges of all tensors of a model; the same plan, model and data give the same bytes.

    Attributes:
        activations: In the order of the graph.
        weights: In the order of the graph.
        scales: Which numbers a scale may be.
        per_tensor: One scale for a weight in place of one for each output channel.
        block: Entries of a row of the weights that share a scale; None for all of them.
        accumulator: Bits of the accumulator that every layer must fit; None for no limit.
        target: The tool that the model is made for.
        version: Version of this format.
    """

    activations: tuple[ActivationPlan, ...]
    weights: tuple[WeightPlan, ...]
    scales: Scales = Scales.FLOAT
    per_tensor: bool = False
    block: int | None = None
    accumulator: int | None = None
    target: Target | None = None
    version: int = _VERSION

    def to_json(self) -> str:
        """The plan as text that can be edited."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode() + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Plan:
        """A plan from its text.

        Raises:
            InputError: The text is no plan.
        """
        try:
            plan = msgspec.json.decode(text, type=cls)
        except msgspec.DecodeError as error:
            raise InputError("no plan", got=str(error), expected="the JSON of a plan") from error
        if plan.version != _VERSION:
            raise InputError("version of the plan", got=plan.version, expected=_VERSION)
        for tensor in (*plan.activations, *plan.weights):
            if tensor.bits is not None and not LEAST_BITS <= tensor.bits <= MOST_BITS:
                expected = f"{LEAST_BITS} to {MOST_BITS}, or null"
                raise InputError("bit width", node=f"tensor '{tensor.tensor}'", got=tensor.bits, expected=expected)
        for activation in plan.activations:
            if activation.scale is not None and not 0 < activation.scale < float("inf"):
                raise InputError("scale", node=f"tensor '{activation.tensor}'", got=activation.scale, expected="> 0")
        names = [t.tensor for t in (*plan.activations, *plan.weights)]
        for name in {n for n in names if names.count(n) > 1} if len(set(names)) < len(names) else ():
            raise InputError("a tensor is planned twice", node=f"tensor '{name}'")
        return plan

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Plan:
        """A plan from a file.

        Raises:
            ModelFileError: The file cannot be read.
            InputError: It holds no plan.
        """
        try:
            text = Path(path).read_bytes()
        except OSError as error:
            raise ModelFileError("cannot read the plan", node=str(path), got=error.strerror or error) from error
        return cls.from_json(text)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Writes the plan to a file, whole or not at all.

        Raises:
            ModelFileError: The file cannot be written.
        """
        try:
            write_whole(Path(path), self.to_json().encode())
        except OSError as error:
            raise ModelFileError("cannot write the plan", node=str(path), got=error.strerror or error) from error
