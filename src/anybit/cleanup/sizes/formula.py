"""Formula: an integer in terms of unknown sizes; Formulas: the table that says what they are made of."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

import onnx_ir as ir


@dataclass(frozen=True, slots=True)
class Formula:
    """coefficient * product of unknown numbers, which a table of `Formulas` numbers. Equal formulas are equal numbers.

    Attributes:
        coefficient: The known factor.
        unknowns: Numbers of the unknown factors, ascending.
    """

    coefficient: int
    unknowns: tuple[int, ...] = ()

    @property
    def number(self) -> int | None:
        """The number, if it is known."""
        return self.coefficient if not self.unknowns else None

    def __mul__(self, other: Formula) -> Formula:
        if not self.coefficient * other.coefficient:
            return Formula(0)
        return Formula(self.coefficient * other.coefficient, tuple(sorted(self.unknowns + other.unknowns)))

    def divided_by(self, other: Formula) -> Formula | None:
        """The quotient, if `other` divides it whatever the unknowns are."""
        if not other.coefficient or self.coefficient % other.coefficient:
            return None
        left = Counter(self.unknowns)
        left.subtract(other.unknowns)
        if any(count < 0 for count in left.values()):
            return None
        return Formula(self.coefficient // other.coefficient, tuple(sorted(left.elements())))


ONE = Formula(1)
"""The number 1."""

_Terms = dict[tuple[int, ...], int]


class Formulas:
    """The unknown numbers of the formulas of a model: free dimensions, sums of them, and quotients.

    Equal sums are one unknown, so that formulas are compared by their numbers. An unknown that is the size of some
    dimension is taken to be at least 1 where it is a divisor or an element of the shape that a tensor is given; what
    is decided for good, such as a comparison, holds where it is 0, too.
    """

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._sums: dict[int, _Terms] = {}
        self._sizes = set[int]()

    def unknown(self, key: Hashable) -> Formula:
        """The unknown of this key."""
        return Formula(1, (self._numbers.setdefault(key, len(self._numbers)),))

    def positive(self, formula: Formula) -> bool:
        """Whether it is at least 1, if no size is 0."""
        return formula.coefficient > 0 and self._sizes.issuperset(formula.unknowns)

    def take_as_size(self, formula: Formula) -> Formula:
        """Notes that it is the size of a dimension."""
        if formula.coefficient > 0 and len(formula.unknowns) == 1:
            self._sizes.update(formula.unknowns)
        return formula

    def add(self, *formulas: Formula) -> Formula:
        """The sum."""
        terms: _Terms = {}
        for formula in formulas:
            for unknowns, coefficient in self._terms_of(formula).items():
                terms[unknowns] = terms.get(unknowns, 0) + coefficient
        terms = {unknowns: coefficient for unknowns, coefficient in terms.items() if coefficient}
        if len(terms) < 2:
            return next((Formula(coefficient, unknowns) for unknowns, coefficient in terms.items()), Formula(0))
        common = math.gcd(*terms.values()) * (1 if terms[max(terms)] > 0 else -1)
        terms = {unknowns: coefficient // common for unknowns, coefficient in terms.items()}
        total = self.unknown(frozenset(terms.items()))
        self._sums[total.unknowns[0]] = terms
        if all(self.positive(Formula(coefficient, unknowns)) for unknowns, coefficient in terms.items()):
            self.take_as_size(total)
        return Formula(common, total.unknowns)

    def negative(self, formula: Formula) -> Formula:
        """The formula times -1."""
        return Formula(-formula.coefficient, formula.unknowns)

    def product(self, formulas: Iterable[Formula]) -> Formula:
        """The product; 1 of none."""
        result = ONE
        for formula in formulas:
            result *= formula
        return result

    def floor(self, dividend: Formula, divisor: Formula) -> Formula:
        """dividend / divisor, rounded down."""
        exact = dividend.divided_by(divisor)
        if exact is not None:
            return exact
        if dividend.number is not None and divisor.number:
            return Formula(dividend.number // divisor.number)
        return self.unknown(("floor", dividend, divisor))

    def lowest(self, formula: Formula) -> int | None:
        """A number that it never falls below, even where sizes are 0; None if none is known."""
        if not formula.unknowns:
            return formula.coefficient
        if formula.coefficient < 0:
            return None
        terms = self._sums.get(formula.unknowns[0]) if len(formula.unknowns) == 1 else None
        bounds = [self.lowest(Formula(coefficient, unknowns)) for unknowns, coefficient in (terms or {}).items()]
        known = [b for b in bounds if b is not None]
        lowest = [0] if self._sizes.issuperset(formula.unknowns) else []
        lowest += [sum(known)] if terms and len(known) == len(bounds) else []
        return formula.coefficient * max(lowest) if lowest else None

    def exceeds(self, left: Formula, right: Formula, *, by: int = 1) -> bool | None:
        """Whether left >= right + by, whatever the unknowns are; None where that depends on them."""
        difference = self.add(left, self.negative(right))
        least, least_opposite = self.lowest(difference), self.lowest(self.negative(difference))
        if least is not None and least >= by:
            return True
        return False if least_opposite is not None and least_opposite > -by else None

    def equal(self, left: Formula, right: Formula) -> bool | None:
        """Whether they are one number, whatever the unknowns are; None where that depends on them."""
        difference = self.add(left, self.negative(right))
        if difference.number is not None:
            return difference.number == 0
        return False if self.exceeds(left, right) or self.exceeds(right, left) else None

    def text(self, formula: Formula) -> str | None:
        """The formula as Python writes it, in the names of free dimensions; None where it depends on something else.

        A free dimension of an input that has no name is called ``x[2]``, by input and axis.

        Example:
            >>> formulas = Formulas()
            >>> height = formulas.unknown("H")
            >>> half = formulas.floor(formulas.add(height, Formula(-1)), Formula(2))
            >>> formulas.text(formulas.add(half * height * Formula(3), Formula(5)))
            '3*H*((H - 1)//2) + 5'
        """
        return self._text(formula, {number: key for key, number in self._numbers.items()})

    def _text(self, formula: Formula, keys: Mapping[int, Hashable]) -> str | None:
        terms = sorted(self._terms_of(formula).items(), key=lambda term: (-len(term[0]), term[0]))
        texts = [self._term(coefficient, unknowns, keys) for unknowns, coefficient in terms]
        known = [text for text in texts if text is not None]
        return (" + ".join(known).replace("+ -", "- ") or "0") if len(known) == len(texts) else None

    def _term(self, coefficient: int, unknowns: tuple[int, ...], keys: Mapping[int, Hashable]) -> str | None:
        names = [(self._name(unknown, keys), count) for unknown, count in Counter(unknowns).items()]
        if coefficient == 1 and len(unknowns) == 1:
            return names[0][0]
        factors = [_factor(name) + (f"**{count}" if count > 1 else "") for name, count in names if name is not None]
        if len(factors) < len(names):
            return None
        sign = "-" if coefficient == -1 and factors else ""
        return sign + "*".join(factors if factors and abs(coefficient) == 1 else (str(coefficient), *factors))

    def _name(self, unknown: int, keys: Mapping[int, Hashable]) -> str | None:
        match keys[unknown]:
            case str(name):
                return name
            case (ir.Value() as value, int(axis)) if value.is_graph_input():
                return f"{value.name}[{axis}]"
            case frozenset():
                return self._text(Formula(1, (unknown,)), keys)
            case ("floor", Formula() as dividend, Formula() as divisor):
                above, below = (self._text(f, keys) for f in (dividend, divisor))
                return None if above is None or below is None else f"{_factor(above)}//{_factor(below)}"
            case _:
                return None

    def _terms_of(self, formula: Formula) -> _Terms:
        sum_of = self._sums.get(formula.unknowns[0]) if len(formula.unknowns) == 1 else None
        if sum_of is None:
            return {formula.unknowns: formula.coefficient} if formula.coefficient else {}
        return {unknowns: coefficient * formula.coefficient for unknowns, coefficient in sum_of.items()}


def _factor(text: str) -> str:
    """A text in brackets, if it is more than a name or a number."""
    return f"({text})" if any(sign in text for sign in " */") else text
