"""The integer program of an allocation: for each tensor one bit width, of least loss within a budget.

With binaries x[t, b], one of which is 1 for each tensor t, the loss is sum loss[t, b] * x[t, b]. Bits of weights and of
activations are linear in x. The bit operations of a product of two tensors are macs * b * c * x[t, b] * x[u, c]; in
their place stands y[t, b, u, c] >= 0 with sum over c of y = x[t, b] and sum over b of y = x[u, c], which has no other
solution than the product. HiGHS solves it, with one thread, to the optimum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import highspy
import numpy as np

from anybit.errors import InputError, UsageError
from anybit.quantization.allocation.budget import CostBudget, written_costs
from anybit.quantization.allocation.costs import CostModel, StoredCost, Width, stored_bytes

Losses = Mapping[str, Mapping[int, float]]
"""Loss by tensor and bit width."""

_MARGIN = 1e-6  # by which rows are tightened when a solution lies beyond one within the tolerance of the solver
_GAP = 0.01  # to the optimum, as a share of it; losses are not measured more exactly
_SECONDS = 60.0  # after which the best solution found is taken


def allocated(
    losses: Losses, costs: CostModel, budget: CostBudget, *, near: tuple[Mapping[str, int], int] | None = None
) -> dict[str, int]:
    """The bits of each tensor: of least loss within the costs; with a target loss, of fewest bit operations below it.

    Args:
        losses: Loss by tensor and bit width; the loss of a plan is their sum.
        costs: What a plan costs.
        budget: The bounds.
        near: A plan, and how many tensors may get other bits than it gives them.

    Raises:
        InputError: Nothing meets the budget; the error names the costs of the nearest plan.
    """
    limits = dict(budget.limits)
    for _ in range(3):
        program = _Program(losses, costs)
        for name, limit in limits.items():
            program.bound(program.costs[name], limit)
        if budget.target_loss is not None:
            program.bound(program.loss, budget.target_loss)
        if near is not None:
            program.stay(*near)
        goal = program.loss if budget.target_loss is None else program.costs["bops"]
        bits = program.solve(goal)
        if bits is None:
            raise _unmet(losses, costs, budget)
        found = costs.costs(bits)
        beyond = {n for n, limit in budget.limits.items() if found[n] > limit}
        if not beyond:
            return bits
        limits |= {name: limits[name] * (1 - _MARGIN) for name in beyond}
    raise _unmet(losses, costs, budget)


def nearest(losses: Losses, costs: CostModel, budget: CostBudget) -> dict[str, int]:
    """The bits whose largest excess over a bound, as a share of the bound, is least."""
    program = _Program(losses, costs)
    excess = program.column(upper=float("inf"))
    for name, limit in budget.limits.items():
        program.bound(program.costs[name].plus(excess, -limit), limit)
    if budget.target_loss is not None:
        program.bound(program.loss.plus(excess, -budget.target_loss), budget.target_loss)
    bits = program.solve(_Sum().plus(excess, 1.0))
    if bits is None:
        raise UsageError("no bit widths to choose from")
    return bits


def _unmet(losses: Losses, costs: CostModel, budget: CostBudget) -> InputError:
    bits = nearest(losses, costs, budget)
    found = costs.costs(bits)
    got = written_costs({name: found[name] for name in budget.limits})
    wanted = written_costs(budget.limits)
    if budget.target_loss is not None:
        loss = sum(losses[t][b] for t, b in bits.items())
        got, wanted = (
            f"{got} at a loss of {loss:.4g}".strip(),
            f"{wanted} at a loss of {budget.target_loss:.4g}".strip(),
        )
    return InputError("nothing meets the budget", got=f"at the nearest plan {got}", expected=f"at most {wanted}")


@dataclass
class _Sum:
    """A linear sum of columns and a constant."""

    terms: dict[int, float] = field(default_factory=dict[int, float])
    constant: float = 0.0

    def plus(self, column: int, factor: float) -> _Sum:
        terms = dict(self.terms)
        terms[column] = terms.get(column, 0.0) + factor
        return _Sum(terms, self.constant)

    def add(self, column: int, factor: float) -> None:
        self.terms[column] = self.terms.get(column, 0.0) + factor


class _Quiet(highspy.Highs):
    """HiGHS without callbacks: enabling them, its own constructor prints on the standard output."""

    def __init__(self) -> None:
        super(highspy.Highs, self).__init__()
        self.setOptionValue("output_flag", False)  # noqa: FBT003  (HiGHS takes it so)


class _Program:
    """The columns of the program, its loss and its costs."""

    def __init__(self, losses: Losses, costs: CostModel) -> None:
        self._solver = _Quiet()
        for name, value in (
            ("threads", 1),
            ("random_seed", 0),
            ("mip_rel_gap", _GAP),
            ("time_limit", _SECONDS),
        ):
            self._solver.setOptionValue(name, value)
        self._columns = 0
        self._of = {t: {b: self.column(integral=True) for b in sorted(by_bits)} for t, by_bits in losses.items()}
        for columns in self._of.values():
            self._row(_Sum(dict.fromkeys(columns.values(), 1.0)), 1.0, 1.0)
        self._pairs: dict[tuple[str, str], dict[tuple[int, int], int]] = {}
        self.loss = _Sum({c: losses[t][b] for t, columns in self._of.items() for b, c in columns.items()})
        self.costs = {
            "bops": self._bops(costs),
            "weight_bits": self._stored(costs.weights),
            "activation_bits": self._stored(costs.activations),
            "file_size": self._file(costs),
        }

    def column(self, *, upper: float = 1.0, integral: bool = False) -> int:
        self._solver.addCol(0.0, 0.0, upper, 0, np.zeros(0, np.int32), np.zeros(0))
        if integral:
            self._solver.changeColIntegrality(self._columns, highspy.HighsVarType.kInteger)
        self._columns += 1
        return self._columns - 1

    def bound(self, total: _Sum, limit: float) -> None:
        """total <= limit, as shares of the limit."""
        scaled = _Sum({c: f / limit for c, f in total.terms.items()})
        self._row(scaled, -highspy.kHighsInf, 1.0 - total.constant / limit)

    def stay(self, bits: Mapping[str, int], changes: int) -> None:
        """All tensors but so many keep the bits of a plan."""
        kept = _Sum({self._of[t][b]: 1.0 for t, b in bits.items()})
        self._row(kept, float(len(bits) - changes), highspy.kHighsInf)

    def solve(self, goal: _Sum) -> dict[str, int] | None:
        """The bits of least goal; None where there are none."""
        largest = max((abs(f) for f in goal.terms.values()), default=0.0) or 1.0
        for column, factor in goal.terms.items():
            self._solver.changeColCost(column, factor / largest)
        self._solver.run()
        if self._solver.getInfo().primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
            return None
        values = self._solver.getSolution().col_value
        return {t: max(columns, key=lambda b: values[columns[b]]) for t, columns in self._of.items()}

    def _row(self, total: _Sum, lower: float, upper: float) -> None:
        columns = np.fromiter(total.terms.keys(), np.int32, len(total.terms))
        factors = np.fromiter(total.terms.values(), np.float64, len(total.terms))
        self._solver.addRow(lower, upper, len(columns), columns, factors)

    def _stored(self, stored: tuple[StoredCost, ...]) -> _Sum:
        total = _Sum()
        for one in stored:
            self._add_linear(total, one.width, float(one.elements))
        return total

    def _file(self, costs: CostModel) -> _Sum:
        total = _Sum(constant=float(costs.other_bytes))
        for one in costs.weights:
            if one.width.tensor is None:
                continue
            for bits, column in self._of[one.width.tensor].items():
                total.add(column, float(stored_bytes(one.elements, bits)))
        return total

    def _add_linear(self, total: _Sum, width: Width, factor: float) -> None:
        if width.tensor is None:
            total.constant += factor * width.bits
            return
        for bits, column in self._of[width.tensor].items():
            total.add(column, factor * bits)

    def _bops(self, costs: CostModel) -> _Sum:
        total = _Sum()
        for product in costs.products:
            left, right = product.left, product.right
            if left.tensor is None or right.tensor is None:
                known, other = (left, right) if left.tensor is None else (right, left)
                self._add_linear(total, other, float(product.macs * known.bits))
                continue
            for (b, c), column in self._both(left.tensor, right.tensor).items():
                total.add(column, float(product.macs * b * c))
        return total

    def _both(self, left: str, right: str) -> dict[tuple[int, int], int]:
        """The columns that stand for the products of the choices of two tensors."""
        if (left, right) in self._pairs:
            return self._pairs[left, right]
        if left == right:
            return {(b, b): column for b, column in self._of[left].items()}
        pairs = {(b, c): self.column() for b in self._of[left] for c in self._of[right]}
        for b, column in self._of[left].items():
            terms = {pairs[b, c]: 1.0 for c in self._of[right]}
            self._row(_Sum({**terms, column: -1.0}), 0.0, 0.0)
        for c, column in self._of[right].items():
            terms = {pairs[b, c]: 1.0 for b in self._of[left]}
            self._row(_Sum({**terms, column: -1.0}), 0.0, 0.0)
        self._pairs[left, right] = pairs
        return pairs
