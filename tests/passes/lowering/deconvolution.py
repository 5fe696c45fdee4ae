"""What the tests of passes that make transposed convolutions share."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from anybit import Session, load


def integers(rng, *shape):
    return rng.integers(-7, 8, shape).astype(np.float32)


def applied(proto, rewrite, *, modified=True):
    read = load(proto)
    assert rewrite(read).modified == modified
    return read


def ops(read: ir.Model) -> list[str]:
    return [n.op_type for n in read.graph]


def assert_equal(a, b, x):
    """Integers below 2^24, times powers of two, are added up: every order gives the same float32."""
    for engine in ("reference", "onnxruntime"):
        ours, theirs = (Session(m, engine=engine).run(x) for m in (a, b))
        for name, array in ours.items():
            np.testing.assert_array_equal(array, theirs[name])
