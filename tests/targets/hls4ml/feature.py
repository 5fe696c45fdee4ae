"""Feature: a model that has one thing which hls4ml takes, needs rewritten, or gets wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.targets.hls4ml.nets import Net


@dataclass(frozen=True)
class Feature:
    """A model, and what comes of it.

    Attributes:
        name: What it is about.
        make: Builds it.
        tolerance: Of the outputs, relative to the largest; 0 where all scales are powers of two.
        refused: Rule of the checker that refuses it; None if hls4ml is to compute it.
        step: Grid on which half of the inputs lie.
    """

    name: str
    make: Callable[[], Net]
    tolerance: float = 0.0
    refused: str | None = None
    step: float = 0.125
