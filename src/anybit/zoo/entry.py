"""Entry: a card as a gallery shows it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from anybit.zoo.card import Card, CardCost

_FLOAT = 99
_NAMED = {"BIPOLAR": 1, "BINARY": 1, "TERNARY": 2}
_FORMAT = re.compile(r"U?INT(\d{1,2})(?!\d)|(\d{1,2})(?: bits|-bit(?! float))")
_CLASSES = (1, 2, 3, 4, 6, 8, 16, 32)


def colour_of(bits: int) -> str:
    """Class of the colour of a bit width: that of the next larger one which has a colour, as in a report.

    Example:
        >>> colour_of(5)
        'w6'
    """
    return next((f"w{known}" for known in _CLASSES if bits <= known), f"w{_CLASSES[-1]}")


@dataclass(frozen=True)
class Entry:
    """One card, with what was counted on its file.

    Attributes:
        card: The card.
        counted: The cost of the model, where its file is on this machine.
    """

    card: Card
    counted: CardCost | None = None

    @property
    def cost(self) -> CardCost | None:
        """What was counted, else what the card says."""
        return self.counted or self.card.cost

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
        return "float" if self.order == _FLOAT else colour_of(self.order)

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
        return None if self.cost is None else self.cost.bit_operations

    @property
    def figures(self) -> tuple[int | None, int | None, int | None]:
        """MACs, bit operations and weight bits."""
        cost = self.cost
        return (None, None, None) if cost is None else (cost.macs, cost.bit_operations, cost.weight_bits)
