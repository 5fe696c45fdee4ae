"""Walks: which library functions were seen to rise over all of float32, and with which libraries.

Mathematically Sigmoid, Tanh, Exp... rise; what computes them is a library in double precision, rounded to float32, and
no library promises that its rounding errors keep the order of neighbouring results. An error bound does not decide it
either: two neighbours whose true values differ by less than the error, on both sides of a rounding boundary, may change
places. What decides it is a walk: `python -m tests.proofs.walk_float32 Sigmoid` computes the operator's kernel for
every float32 number from -infinity to infinity in order, NaN aside, and records that no result was below the one
before it.

A walk holds for the very code that was walked, which numpy and the C library choose by version and by processor. A
record therefore names both, and is believed only where all that it names is the same, and where the kernel gives the
very results at some thousand numbers that it gave then. Anywhere else the operator counts as not proven, and what
depends on it is decided by trying every integer. Attributes are the defaults: of other ones nothing was walked.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from importlib.metadata import version
from typing import Any

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.exact.ordinals import INFINITY, float_at
from anybit.ops.standard.kernels import compile_node
from anybit.ops.standard_schemas import standard_schema

RECORDS = "walks.json"
"""Name of the file beside this one that the walks are recorded in."""

_SAMPLES = 1 << 15


@dataclass(frozen=True)
class Walk:
    """What a walk over float32 has shown.

    Attributes:
        operator: A standard operator of one input, with its default attributes.
        rises: Whether no result was below the one before it, and NaN stood at the ends alone.
        numbers: How many numbers were tried.
        samples: Digest of the results at `sample_points`.
        environment: What it holds for, see `environment`.
        counterexample: The first number whose result was below that of the number before it.
    """

    operator: str
    rises: bool
    numbers: int
    samples: str
    environment: Mapping[str, str]
    counterexample: float | None = None


def is_walked(node: ir.Node, opset: int) -> bool:
    """Whether a walk has shown that the kernel of this node rises, here and as the node's attributes are."""
    schema = standard_schema(node.op_type, opset)
    if schema is None or node.domain != "" or len(node.inputs) != 1:
        return False
    x, y = node.inputs[0], node.outputs[0]
    if x is None or x.dtype != ir.DataType.FLOAT or y.dtype not in (None, ir.DataType.FLOAT):
        return False
    defaults = {n: a.default_value for n, a in schema.attributes.items()}
    if any(n not in defaults or a.value != ir.from_proto(defaults[n]).value for n, a in node.attributes.items()):
        return False
    return _is_recorded(node.op_type, opset)


@lru_cache(maxsize=1024)
def _is_recorded(operator: str, opset: int) -> bool:
    here = environment()
    found = [w for w in recorded() if w.operator == operator and w.rises and w.environment == here]
    return bool(found) and found[0].samples == samples_of(kernel_of(operator, opset))


def recorded() -> tuple[Walk, ...]:
    """All walks that come with the package."""
    text = resources.files(__package__ or "").joinpath(RECORDS).read_text(encoding="utf-8")
    return tuple(Walk(**entry) for entry in json.loads(text))


def kernel_of(operator: str, opset: int) -> Callable[[Array], Array]:
    """The function of float32 that the reference engine computes for an operator with default attributes.

    Raises:
        UnsupportedError: There is no such operator.
    """
    kernel = compile_node(ir.node(operator, [ir.Value(name="x")]), opset)

    def run(x: Array) -> Array:
        (y,) = kernel([x])
        return y

    return run


def samples_of(function: Callable[[Array], Array]) -> str:
    """A digest of what the function gives for numbers of every magnitude; NaN is one number, whatever its bits."""
    ordinals = np.linspace(-INFINITY, INFINITY, _SAMPLES).astype(np.int64)
    y = function(float_at(ordinals))
    bits = np.where(np.isnan(y), np.float32(np.nan), y).astype("<f4")
    return hashlib.sha256(bits.tobytes()).hexdigest()


@cache
def environment() -> dict[str, str]:
    """What decides which code computes a library function here: versions, processor, and its instructions."""
    build: Any = np.show_config(mode="dicts")
    extensions: Mapping[str, Any] = build.get("SIMD Extensions", {})
    used = [str(n) for kind in ("baseline", "found") for n in extensions.get(kind, ())]
    return {
        "machine": platform.machine(),
        "instructions": " ".join(used),
        "libc": " ".join(platform.libc_ver()),
        "python": f"{platform.python_implementation()} {sys.version_info.major}.{sys.version_info.minor}",
        "numpy": np.__version__,
        "onnx": version("onnx"),
    }
