"""mixed_plan: the plan of a recipe with the bits that a budget allows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from anybit.arrays import Array
from anybit.quantization.allocation.budget import CostBudget
from anybit.quantization.allocation.costs import CostModel, cost_model
from anybit.quantization.allocation.search import Allocation, Free, allocate, questions_of, with_bits
from anybit.quantization.equal_scales import joined_activations
from anybit.quantization.plan import Plan
from anybit.quantization.prepare import Prepared
from anybit.quantization.recipe import Target
from anybit.quantization.sensitivity.measurements import Measurements, Subject, sampled

_SAMPLES = 64  # that ranges and weights fit while plans are compared on half of them


def mixed_plan(
    prepared: Prepared,
    blocks: Iterable[dict[str, Array]],
    plan: Plan,
    *,
    fixed: Collection[str],
    widths: Sequence[int],
    budget: CostBudget,
    folder: Path | None = None,
    ray: str | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Plan, Allocation]:
    """The plan with the bits of least loss within the budget for all tensors but the fixed ones.

    Args:
        prepared: The model.
        blocks: The samples; up to 64 from all over them are used. Plans are compared on half of these, or, where the
            budget has a target loss, on all.
        plan: Which tensors are quantised, and how.
        fixed: Tensors that keep the bits that the plan has for them.
        widths: The bits to choose from.
        budget: The bounds.
        folder: Where measurements are kept, see `Measurements`.
        ray: Address of a Ray cluster that measures.
        workers: How many of its actors.
        progress: Called with what is done and with how much there is to do for the first measurements.

    Raises:
        InputError: Nothing meets the budget; the error names the costs of the nearest plan.
        UnsupportedError: The budget needs the shapes of all products, and one is not known.
    """
    groups = joined_activations(prepared) if plan.target is Target.FINN else []
    free = free_tensors(plan, fixed, widths, groups)
    costs: CostModel = cost_model(prepared, plan, groups)
    if budget.bops is not None or budget.activation_bits is not None or budget.target_loss is not None:
        costs.refuse_open()
    few = sampled(iter(blocks), _SAMPLES, whole=not prepared.free_batch)
    subject = Subject(
        prepared=prepared,
        blocks=few,
        scales=plan.scales,
        per_tensor=plan.per_tensor,
        zero_points=plan.target is None and plan.accumulator is None,
        compared=-(-len(few) // 2) if budget.target_loss is None else None,
    )
    total = len(questions_of(free))
    done = 0

    def advance(count: int) -> None:
        nonlocal done, total
        done += count
        total = max(total, done)
        if progress is not None:
            progress(done, total)

    with Measurements(subject, folder=folder, ray=ray, workers=workers) as measurements:
        found = allocate(free, costs, budget, measurements, progress=advance)
    reasons = {tensor: _reason(found, free, tensor) for tensor in found.bits}
    return with_bits(plan, found.bits, reasons), found


def free_tensors(
    plan: Plan, fixed: Collection[str], widths: Sequence[int], groups: Iterable[tuple[str, ...]]
) -> list[Free]:
    """What is chosen: each quantised tensor by itself, tensors of a group together; fixed ones have one width."""
    planned: Mapping[str, int] = {t.tensor: t.bits for t in (*plan.activations, *plan.weights) if t.bits is not None}
    together = {tensor: group for group in groups for tensor in group if all(t in planned for t in group)}
    free: dict[str, Free] = {}
    for tensor, bits in planned.items():
        group = together.get(tensor, (tensor,))
        held = {planned[t] for t in group if t in fixed}
        choice = (max(held),) if held else tuple(sorted(set(widths)))
        free.setdefault(group[0], Free(group, choice if len(choice) else (bits,)))
    return list(free.values())


def _reason(found: Allocation, free: Sequence[Free], tensor: str) -> str:
    group = next(g for g in free if tensor in g.tensors)
    losses = found.losses[group.tensors[0]]
    bits = found.bits[tensor]
    if len(group.widths) == 1:
        return "fixed by the recipe"
    total = found.predicted or 1.0
    return f"budget: {losses[bits] / total:.1%} of the loss at {bits} bits"
