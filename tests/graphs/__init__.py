"""Random quantised graphs, as a hypothesis strategy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from hypothesis import strategies as st

from tests.graphs import control, elementwise, movement, products, quantisers, scopes
from tests.graphs.builder import BATCH, Builder
from tests.strategies import seeds

DEPTH = 12

_FAMILIES: tuple[Mapping[str, Callable[[Builder], None]], ...] = (
    quantisers.STEPS,
    products.STEPS,
    elementwise.STEPS,
    movement.STEPS,
    control.STEPS,
)
STEPS = {name: step for family in _FAMILIES for name, step in family.items()}
WITH_SCOPES = STEPS | scopes.STEPS
"""The steps, and those that make scopes of their own."""
_COMMON = ("quant", "convolution", "matmul", "gemm", "of_two", "with_constant", "activation", "batch_normalization")
_SHAPES = ((BATCH, 6), (BATCH, 4, 5), (BATCH, 3, 4), (BATCH, 2, 5, 4), (BATCH, 3, 4, 4), (BATCH, 4, 3, 3))
_OPSETS = (9, 11, 13, 17, 20, 21)
_RANGES = ((-1.0, 1.0), (0.0, 1.0), (-3.0, 5.0), (0.5, 2.0), (-0.3, -0.1), (-2.0, -2.0), (0.0, 255.0))


@dataclass(frozen=True)
class RandomGraph:
    """A model, and the range that each of its inputs stays in."""

    model: onnx.ModelProto
    ranges: Mapping[str, tuple[float, float]]
    seed: tuple[int, ...]

    def __repr__(self) -> str:
        return f"{onnx.printer.to_text(self.model)}\nranges {dict(self.ranges)}, seed {self.seed}"


@st.composite
def random_graphs(draw: st.DrawFn, kinds: Mapping[str, Callable[[Builder], None]] = STEPS) -> RandomGraph:
    """Graphs of up to 12 steps, each a node or a few; float32 or float64, fixed or free batch."""
    steps = draw(
        st.lists(
            st.tuples(st.sampled_from((*kinds, *_COMMON)), st.binary(min_size=3, max_size=3)),
            min_size=1,
            max_size=DEPTH,
        )
    )
    seed = tuple(draw(seeds))
    rng = np.random.default_rng(seed)
    dtype = (np.float32, np.float64)[rng.integers(2)]
    b = Builder(rng, dtype, int(rng.choice(_OPSETS)), version=int(rng.integers(1, 3)))
    shape, free_batch = _SHAPES[rng.integers(len(_SHAPES))], bool(rng.integers(2))
    for _ in range(rng.integers(1, 3)):
        b.input(shape, *_RANGES[rng.integers(len(_RANGES))], free_batch=free_batch)
    for name, own in steps:
        b.rng = np.random.default_rng([*seed, *own])
        b.attempt(kinds[name])
    return RandomGraph(b.model(), b.ranges, seed)
