"""Entry: a card as a gallery shows it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from anybit.zoo.card import Card

_FLOAT = 99
_NAMED = {"BIPOLAR": 1, "BINARY": 1, "TERNARY": 2}
_FORMAT = re.compile(r"U?INT(\d{1,2})(?!\d)|(\d{1,2})(?: bits|-bit(?! float))")
_CLASSES = (1, 2, 3, 4, 6, 8, 16, 32)


@dataclass(frozen=True)
class Entry:
    """One card."""

    card: Card

    @property
    def order(self) -> int:
        """Bits of the dominant format of the weights; floats come last."""
        text = self.card.quantization.weights
        named = next((bits for name, bits in _NAMED.items() if text.startswith(name)), None)
        found = _FORMAT.match(text)
        return named or (int(found.group(1) or found.group(2)) if found else _FLOAT)

    @property
    def bits(self) -> str:
        """The same, as a person reads it."""
        return "float" if self.order == _FLOAT else f"{self.order} bit" + ("s" if self.order > 1 else "")

    @property
    def css(self) -> str:
        """Class of its colour: that of the next larger number of bits which has one, as in a report."""
        return next((f"b{bits}" for bits in _CLASSES if self.order <= bits), "float")

    @property
    def value(self) -> str:
        """What it reaches, as a number to sort by; empty if that is not known."""
        return "" if self.card.claim is None else repr(self.card.claim.value)

    @property
    def reaches(self) -> str:
        """What it reaches."""
        claim = self.card.claim
        if claim is None:
            return ""
        return f"{claim.value * 100:.2f} %" if claim.metric == "accuracy" else f"error {claim.value:.4g}"

    @property
    def bit_operations(self) -> int | None:
        """Bit operations of one sample."""
        return None if self.card.cost is None else self.card.cost.bit_operations

    @property
    def figures(self) -> tuple[int | None, int | None, int | None]:
        """MACs, bit operations and weight bits."""
        cost = self.card.cost
        return (None, None, None) if cost is None else (cost.macs, cost.bit_operations, cost.weight_bits)
