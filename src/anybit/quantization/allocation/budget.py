"""CostBudget: what the tensors of a plan may cost together, or how little their outputs may change."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

from anybit.errors import UsageError

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@dataclass(frozen=True, kw_only=True)
class CostBudget:
    """Upper bounds of what `anybit.cost` says of the quantised model, on one sample; None sets no bound.

    Attributes:
        bops: Bit operations: products of one-bit numbers.
        weight_bits: Bits of all weights.
        activation_bits: Bits of the tensors that products read, apart from weights.
        file_size: Bytes of the file with packed weights (``anybit convert --to qonnx --pack``).
        target_loss: Divergence of the outputs from those of the float model, see `anybit.quantization.Divergence`:
            among the plans that stay below it the one of fewest bit operations is sought.
    """

    bops: float | None = None
    weight_bits: float | None = None
    activation_bits: float | None = None
    file_size: float | None = None
    target_loss: float | None = None

    def __post_init__(self) -> None:
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        if all(v is None for v in given.values()):
            raise UsageError("an empty budget", expected=", ".join(_written(name) for name in given))
        for name, value in given.items():
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UsageError(f"budget '{_written(name)}'", got=value, expected="a positive number")

    @classmethod
    def from_text(cls, text: str) -> CostBudget:
        """A budget from ``bops=1.5G,weight-bits=440K``; K, M, G and T stand for powers of 1000.

        Raises:
            UsageError: A name is not known, is given twice, or its value is no positive number.
        """
        names = {_written(f.name): f.name for f in fields(cls)}
        found: dict[str, float] = {}
        for part in text.split(","):
            name, equals, value = (piece.strip() for piece in part.partition("="))
            if not equals or name not in names:
                expected = ", ".join(f"{n}=..." for n in names)
                raise UsageError("budget", got=repr(part), expected=expected)
            if names[name] in found:
                raise UsageError("a budget that is given twice", got=repr(name))
            found[names[name]] = _number(name, value)
        return cls(**found)

    @property
    def limits(self) -> Mapping[str, float]:
        """The bounds of costs by name, without `target_loss`."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "target_loss"}
        return {name: float(value) for name, value in given.items() if value is not None}


def written_costs(costs: Mapping[str, float]) -> str:
    """Costs as a budget is written."""
    return ",".join(f"{_written(name)}={value:.0f}" for name, value in costs.items())


def _written(name: str) -> str:
    return name.replace("_", "-")


def _number(name: str, text: str) -> float:
    unit = text[-1:].upper() if text[-1:].upper() in _UNITS else ""
    try:
        return float(text[: len(text) - len(unit)]) * _UNITS[unit]
    except ValueError:
        raise UsageError(f"budget '{name}'", got=repr(text), expected="a number, such as 1500000 or 1.5M") from None
