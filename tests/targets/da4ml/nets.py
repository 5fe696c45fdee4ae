"""Nets whose every number is exact: bits and scales by element, every rounding mode, wrapping."""

from __future__ import annotations

import numpy as np
from onnx import helper

from tests.models import model, parameters, quant


def mlp(mode: str, *, seed: int = 0, narrow: int = 0, zeropt: float = 0.0):
    """Two layers; activations of 2 to 6 bits, each element with its own, whose steps are coarser than the sums'."""
    rng = np.random.default_rng(seed)
    first, second = (rng.integers(-7, 8, s).astype(np.float32) / 8 for s in ((6, 5), (5, 3)))
    nodes = [
        quant("x", "xq", rounding_mode=mode),
        helper.make_node("MatMul", ["xq", "w1"], ["s1"]),
        helper.make_node("Add", ["s1", "b1"], ["t1"]),
        quant("t1", "a1", rounding_mode=mode, narrow=narrow),
        helper.make_node("Relu", ["a1"], ["r1"]),
        helper.make_node("Mul", ["r1", "half"], ["h1"]),
        helper.make_node("MatMul", ["h1", "w2"], ["s2"]),
        helper.make_node("Neg", ["s2"], ["n2"]),
        quant("n2", "a2", rounding_mode=mode),
        helper.make_node("Flatten", ["a2"], ["y"]),
    ]
    constants = {"w1": first, "w2": second, "b1": np.float32([0.25, -0.125, 0, 0.5, 1]), "half": np.float32(0.5)}
    constants |= parameters("xq", scale=np.float32([0.25, 0.5, 0.125, 0.25, 1, 0.25]), bits=5.0)
    constants |= parameters(
        "a1", scale=np.float32([0.25, 0.5, 0.125, 0.25, 1]), bits=np.float32([4, 3, 6, 5, 2]), zeropt=zeropt
    )
    constants |= parameters("a2", scale=0.5)
    return model(nodes, constants, inputs={"x": ["N", 6]}, outputs=["y"])


def wrapping():
    """x - floor(x / 4) * 4 behind a product."""
    nodes = [
        quant("x", "xq"),
        helper.make_node("MatMul", ["xq", "w"], ["s"]),
        helper.make_node("Add", ["s", "two"], ["a"]),
        helper.make_node("Div", ["a", "four"], ["d"]),
        helper.make_node("Floor", ["d"], ["f"]),
        helper.make_node("Mul", ["f", "four"], ["m"]),
        helper.make_node("Sub", ["a", "m"], ["r"]),
        helper.make_node("Sub", ["r", "two"], ["y"]),
    ]
    constants = {"w": np.random.default_rng(1).integers(-7, 8, (4, 3)).astype(np.float32) / 4}
    constants |= {"two": np.float32(2), "four": np.float32(4)} | parameters("xq", scale=0.25, bits=6.0)
    return model(nodes, constants, inputs={"x": ["N", 4]}, outputs=["y"])
