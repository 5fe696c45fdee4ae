"""losses: what the outputs lose tensor by tensor, and the plans that a search could choose from, as a page has it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from anybit.quantization import Front, Sensitivity
from anybit.reporting.model import FrontPoint, Loss, Losses
from anybit.reporting.text import finite, shown


def losses_of(found: Sensitivity, block_of_tensor: Mapping[str, int]) -> Losses:
    """A sensitivity with the block of each tensor; one that the model does not have belongs to none.

    Args:
        found: What was measured.
        block_of_tensor: Index of the block that makes or reads a tensor, by its name.
    """
    rows = (
        Loss(
            tensor=shown(t.tensor),
            block=block_of_tensor.get(t.tensor),
            is_weight=t.is_weight,
            bits=t.bits,
            sqnr=finite(t.divergence.sqnr),
            kl=t.divergence.kl,
            changed=t.divergence.changed,
            accuracy=t.divergence.accuracy,
        )
        for t in found.tensors
    )
    return Losses(found.samples, found.accuracy, tuple(rows))


def front_of(front: Front) -> tuple[FrontPoint, ...]:
    """The plans of a front, each with how many tensors have which bits."""
    return tuple(
        FrontPoint(p.loss, tuple(p.costs.items()), tuple(sorted(Counter(p.bits.values()).items())))
        for p in front.points
    )
