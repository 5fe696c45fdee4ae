"""Bounds of Gemm whose operands have scales and bounds along one axis, in every orientation."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from onnx import helper

from tests import models
from tests.analysis.values.soundness import bounds_of, check_sound

_ROWS, _TERMS, _COLUMNS = 3, 4, 2


@pytest.mark.parametrize(("trans_a", "trans_b"), list(product((0, 1), repeat=2)))
@pytest.mark.parametrize("known", ["a", "b", ""])
def test_gemm_turns_vectors_that_are_told_apart_along_the_last_axis(known: str, trans_a: int, trans_b: int) -> None:
    """Scales, bounds and integers of an operand are vectors of different ranks: each one is turned with it."""
    rng = np.random.default_rng(2)
    shapes = {"a": (_ROWS, _TERMS), "b": (_TERMS, _COLUMNS)}
    shapes = {n: s[::-1] if t else s for (n, s), t in zip(shapes.items(), (trans_a, trans_b), strict=True)}
    nodes: list[Any] = []
    initializers: dict[str, np.ndarray] = {}
    for name, shape in shapes.items():
        initializers[f"{name}v"] = rng.normal(size=shape[-1]).astype(np.float32)
        initializers |= models.parameters(f"{name}q", scale=np.exp2(np.arange(shape[-1]) - 3).astype(np.float32))
        if name == known:
            initializers[name] = rng.normal(size=shape).astype(np.float32)
        nodes += [helper.make_node("Mul", [name, f"{name}v"], [f"{name}m"]), models.quant(f"{name}m", f"{name}q")]
    nodes.append(helper.make_node("Gemm", ["aq", "bq"], ["y"], transA=trans_a, transB=trans_b))
    inputs = {n: s for n, s in shapes.items() if n != known}
    values = check_sound(
        models.model(nodes, initializers, inputs=inputs, outputs=["y"]), dict.fromkeys(inputs, (-2, 3))
    )
    assert not values.unfollowed
    assert bounds_of(values, "y").is_bounded
