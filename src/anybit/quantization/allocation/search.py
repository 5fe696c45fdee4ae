"""allocate: the bits of each tensor under a budget: measured losses, an integer program, a second look at its plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from anybit.errors import InputError
from anybit.quantization.allocation.budget import CostBudget
from anybit.quantization.allocation.costs import CostModel
from anybit.quantization.allocation.program import Losses, allocated
from anybit.quantization.plan import Plan
from anybit.quantization.sensitivity.divergence import Divergence
from anybit.quantization.sensitivity.measurements import Measurements

_LOOKS = 1  # around the plan, at most
_MOVES = 12  # a look changes one of so many tensors, or one
_GAIN = 0.85  # share of the loss below which another plan is clearly better, whatever rounding makes up for later
_AGREEMENT = 0.5  # share of the predicted loss within which the measured one shows no interaction worth a look
_TRIES = 6  # to come below a target loss


@dataclass(frozen=True)
class Allocation:
    """Bits of tensors under a budget.

    Attributes:
        bits: Bits by tensor.
        sensitivity: What was measured with one tensor quantised, by tensor and bits.
        costs: What the plan costs, by the names of `CostBudget`.
        budget: What was asked for.
        predicted: Loss of the plan as the sum of those of its tensors.
        measured: What was measured with all tensors of the plan quantised.
        model: What any choice of bits costs.
        looks: How often the program was solved again around the plan and found a better one.
    """

    bits: dict[str, int]
    sensitivity: dict[str, dict[int, Divergence]]
    costs: dict[str, int]
    budget: CostBudget
    predicted: float
    measured: Divergence
    model: CostModel
    looks: int

    @property
    def losses(self) -> Losses:
        """Loss by tensor and bits, never lower for fewer bits."""
        return losses_of(self.sensitivity)


@dataclass(frozen=True)
class Free:
    """Tensors whose bits are chosen together, and what may be chosen.

    Attributes:
        tensors: Their names; the first one stands for all in the program.
        widths: The bits to choose from, rising.
    """

    tensors: tuple[str, ...]
    widths: tuple[int, ...]


def losses_of(sensitivity: Mapping[str, Mapping[int, Divergence]]) -> dict[str, dict[int, float]]:
    """Loss by tensor and bits; where fewer bits were measured to lose less, they count as losing as much."""
    losses: dict[str, dict[int, float]] = {}
    for tensor, by_bits in sensitivity.items():
        least = 0.0
        losses[tensor] = {}
        for bits in sorted(by_bits, reverse=True):
            least = max(least, by_bits[bits].loss)
            losses[tensor][bits] = least
    return losses


def questions_of(free: Sequence[Free]) -> list[dict[str, int]]:
    """One group of tensors quantised at a time, to each of its widths."""
    return [dict.fromkeys(group.tensors, bits) for group in free for bits in group.widths]


def allocate(
    free: Sequence[Free],
    costs: CostModel,
    budget: CostBudget,
    measurements: Measurements,
    *,
    progress: Callable[[int], None] | None = None,
) -> Allocation:
    """The plan of least loss within a budget.

    The loss of a tensor is that of the outputs with it alone quantised; the integer program takes their sum for the
    loss of a plan. The plan is then measured as a whole, and the tensors are measured again with one of them moved to
    the next width and all others as the plan has them; the program is solved again with these, for few moves at a
    time, and the better plan is kept.

    Args:
        free: What is chosen.
        costs: What a choice costs; it knows a group by its first tensor.
        budget: The bounds.
        measurements: What measures.
        progress: Called with 1 for each measurement.

    Raises:
        InputError: Nothing meets the budget; the error names the costs of the nearest plan.
    """
    asked = questions_of(free)
    answers = iter(measurements.measure(asked, progress))
    sensitivity = {group.tensors[0]: {bits: next(answers) for bits in group.widths} for group in free}
    losses = losses_of(sensitivity)
    search = _Search(free, costs, budget, measurements, progress)
    found = search.within_target(losses) if budget.target_loss is not None else search.within_costs(losses)
    bits, measured, looks = found
    return Allocation(
        bits=search.whole(bits),
        sensitivity=sensitivity,
        costs=costs.costs(bits),
        budget=budget,
        predicted=sum(losses[t][b] for t, b in bits.items()),
        measured=measured,
        model=costs,
        looks=looks,
    )


class _Search:
    def __init__(
        self,
        free: Sequence[Free],
        costs: CostModel,
        budget: CostBudget,
        measurements: Measurements,
        progress: Callable[[int], None] | None,
    ) -> None:
        self._groups = {group.tensors[0]: group for group in free}
        self._costs = costs
        self._budget = budget
        self._measurements = measurements
        self._progress = progress

    def whole(self, bits: Mapping[str, int]) -> dict[str, int]:
        """The bits of all tensors from those of the first ones of the groups."""
        return {tensor: b for first, b in bits.items() for tensor in self._groups[first].tensors}

    def measured(self, plans: Sequence[Mapping[str, int]]) -> list[Divergence]:
        return self._measurements.measure([self.whole(bits) for bits in plans], self._progress)

    def within_costs(self, losses: Losses) -> tuple[dict[str, int], Divergence, int]:
        bits = allocated(losses, self._costs, self._budget)
        measured = self.measured([bits])[0]
        predicted = sum(losses[t][b] for t, b in bits.items())
        if abs(measured.loss - predicted) < _AGREEMENT * predicted:
            return bits, measured, 0  # tensors hardly interact: the sum was right
        for look in range(_LOOKS):
            around = self._around(bits, measured)
            better = self._moved(bits, measured, around)
            if better is None:
                return bits, measured, look
            bits, measured = better
        return bits, measured, _LOOKS

    def _around(self, bits: Mapping[str, int], measured: Divergence) -> dict[str, dict[int, float]]:
        """By how much the loss of the plan changes with one tensor at the next width."""
        asked = [(t, b) for t in bits for b in self._next(t, bits[t])]
        answers = self.measured([{**bits, t: b} for t, b in asked])
        around: dict[str, dict[int, float]] = {t: {b: 0.0} for t, b in bits.items()}
        for (tensor, width), answer in zip(asked, answers, strict=True):
            around[tensor][width] = answer.loss - measured.loss
        return around

    def _next(self, tensor: str, bits: int) -> list[int]:
        widths = self._groups[tensor].widths
        place = widths.index(bits)
        return [*widths[max(place - 1, 0) : place], *widths[place + 1 : place + 2]]

    def _moved(
        self, bits: Mapping[str, int], measured: Divergence, around: Losses
    ) -> tuple[dict[str, int], Divergence] | None:
        for moves in (3 * max(1, len(bits) // _MOVES), max(1, len(bits) // _MOVES)):
            moved = allocated(around, self._costs, self._budget, near=(bits, max(2, moves)))
            if moved == bits:
                return None
            found = self.measured([moved])[0]
            if found.loss < _GAIN * measured.loss:
                return moved, found
        return None

    def within_target(self, losses: Losses) -> tuple[dict[str, int], Divergence, int]:
        """The cheapest plan whose measured loss is below the target: what the sum leaves out tightens its bound."""
        target = self._budget.target_loss or 0.0
        asked = target
        best: tuple[dict[str, int], Divergence] | None = None
        for attempt in range(_TRIES):
            bits = self._cheapest(losses, asked, must=best is None)
            if bits is None:
                break
            measured = self.measured([bits])[0]
            predicted = sum(losses[t][b] for t, b in bits.items())
            if measured.loss <= target and (best is None or self._bops(bits) < self._bops(best[0])):
                best = bits, measured
            if measured.loss > target or attempt == 0:
                asked = predicted * target / max(measured.loss, 1e-30) * (0.9 if measured.loss > target else 1.0)
            elif best is not None:
                break
        if best is None:
            bits = {t: max(by_bits) for t, by_bits in losses.items()}
            least = self.measured([bits])[0].loss
            raise InputError(
                "nothing meets the budget",
                got=f"a loss of {least:.4g} at the widest bits",
                expected=f"a loss of at most {target:.4g}",
            )
        return *best, 0

    def _cheapest(self, losses: Losses, target: float, *, must: bool) -> dict[str, int] | None:
        least = sum(min(by_bits.values()) for by_bits in losses.values())
        wanted = replace(self._budget, target_loss=max(target, least * (1 + 1e-6), 1e-30))
        try:
            return allocated(losses, self._costs, wanted)
        except InputError:
            if must:
                raise
            return None

    def _bops(self, bits: Mapping[str, int]) -> int:
        return self._costs.costs(bits)["bops"]


def with_bits(plan: Plan, bits: Mapping[str, int], reasons: Mapping[str, str]) -> Plan:
    """The plan with these bits for some of its tensors."""
    activations = tuple(
        replace(t, bits=bits[t.tensor], reason=reasons[t.tensor]) if t.tensor in bits else t for t in plan.activations
    )
    weights = tuple(
        replace(t, bits=bits[t.tensor], reason=reasons[t.tensor]) if t.tensor in bits else t for t in plan.weights
    )
    return replace(plan, activations=activations, weights=weights)
