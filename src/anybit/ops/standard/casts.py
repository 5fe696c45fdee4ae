"""Cast and CastLike: to text in the format of ONNX Runtime, and from types that numpy lacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.ops.standard.kernel import Kernel, Spec

_DIGITS = {np.dtype(np.float64): 17}
_SPECIAL = {"nan": "NaN", "inf": "INF", "-inf": "-INF"}


def make_cast(spec: Spec) -> Kernel:
    """Cast: to text by the format below, to all else by onnx's reference."""
    if spec.attributes.get("to") != ir.DataType.STRING:
        generic = spec.generic()
        return lambda inputs: generic([_in_bytes(inputs[0]), *inputs[1:]])
    return lambda inputs: (_as_text(inputs[0]),)


def make_cast_like(spec: Spec) -> Kernel:
    """CastLike: as Cast, to the type of its second input."""
    generic = spec.generic()

    def run(inputs: Sequence[Any]) -> tuple[Any, ...]:
        return (_as_text(inputs[0]),) if inputs[1].dtype.kind in "OU" else generic([_in_bytes(inputs[0]), inputs[1]])

    return run


def _in_bytes(x: Any) -> Any:
    """A tensor of a type that numpy lacks in one that it has, exactly, from which it casts to all others."""
    if not isinstance(x, np.ndarray) or x.dtype.kind != "V":
        return x
    return x.astype(np.int16 if ir.DataType.from_numpy(x.dtype).is_integer() else np.float32)


def _as_text(x: Array) -> Array:
    """Numbers with as many digits as tell those of their type apart: 8 of float32, 17 of float64."""
    if x.dtype.kind in "OU":
        return x
    if x.dtype.kind in "iub":
        texts = [str(int(v)) for v in x.reshape(-1)]
    else:
        texts = [format(float(v), f".{_DIGITS.get(x.dtype, 8)}g") for v in x.reshape(-1)]
    return np.array([_SPECIAL.get(t, t) for t in texts], object).reshape(x.shape)
