"""Models of arithmetic that quantises, as exporters write it, and what they are fed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper

from tests.formats.qdq.linear_models import linear_model
from tests.strategies import Array

Step = tuple[Any, ...]
"""An operator and its further inputs; `_` stands for the last tensor where that is not the first input."""


def chain(steps: Sequence[Step], constants: Mapping[str, Any], shape: Sequence[int | str], *, opset: int = 13,
          start: str = "x", unnamed: bool = False) -> onnx.ModelProto:  # fmt: skip
    """x -> the steps one after the other -> y; every tensor is named after its position."""
    nodes, last = list[onnx.NodeProto](), start
    for place, (op_type, *rest) in enumerate(steps):
        attributes = rest.pop() if rest and isinstance(rest[-1], dict) else {}
        inputs = [last if r == "_" else r for r in rest] if "_" in rest else [last, *rest]
        last = f"t{place}"
        name = None if unnamed else f"{op_type}_{place}"
        nodes.append(helper.make_node(op_type, inputs, [last], name=name, **attributes))
    nodes.append(
        helper.make_node("Identity" if start == "x" else "Mul", [last] if start == "x" else ["x", last], ["y"])
    )
    return linear_model(nodes, constants, shape=shape, opset=opset)


def near_ties(rng: np.random.Generator, scale: Array, shape: Sequence[int]) -> Array:
    """Numbers on, between and beside the integers times a scale, beside 0, and far out."""
    quarters = rng.integers(-90, 91, shape) / 4
    x = np.asarray(quarters * scale, np.float32)
    beside = np.nextafter(x, np.asarray(rng.choice([-np.inf, np.inf], shape), np.float32))
    far = rng.normal(size=shape) * 10.0 ** rng.integers(-9, 12, shape)
    choice = rng.integers(0, 4, shape)
    return np.select([choice == 0, choice == 1, choice == 2], [x, beside, far], x).astype(np.float32)
