"""Cast and CastLike: the same numbers in another type, rounded, truncated, or wrapped around."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.tensor_values import IntegerGrid, TensorValues, bounded, integers, of_dtype
from anybit.analysis.values.transfer import NodeContext, NotFollowed, Rules
from anybit.arrays import is_power_of_two


def cast(site: NodeContext) -> TensorValues:
    """x in the type of the output; what an integer type does not hold becomes any of its numbers."""
    x = site.values(0)
    source, target = _dtype(site.node.inputs[0]), _dtype(site.node.outputs[0])
    if target.kind == "b":
        return bounded(((x.lo > 0) | (x.hi < 0)).astype(np.float64), 1.0)
    if target.kind in "iu":
        return _to_integer(x, source, target)
    return _rounded(_whole(x) if source.kind in "iub" else x, source, target)


def _dtype(value: ir.Value | None) -> np.dtype[Any]:
    """Element type; the narrow ones wrap, saturate or give NaN, by version and attribute."""
    dtype = None if value is None or value.dtype in (None, ir.DataType.STRING) else value.dtype.numpy()
    if dtype is None or dtype.kind not in "iubf" or (dtype.kind == "f" and dtype.type.__module__ != "numpy"):
        raise NotFollowed("an element type that is not known, or narrow")
    return dtype


def _whole(x: TensorValues) -> TensorValues:
    """Elements of an integer type, which are on a grid even where nothing made one."""
    if x.grid is not None:
        return TensorValues(x.lo, x.hi, x.grid)
    return integers(np.ceil(x.lo), np.floor(x.hi))


def _to_integer(x: TensorValues, source: np.dtype[Any], target: np.dtype[Any]) -> TensorValues:
    values = _whole(x) if source.kind in "iub" else _truncated(x)
    widest = of_dtype(target)
    fits = (values.lo >= widest.lo).all() and (values.hi <= widest.hi).all()
    # the float nearest to the largest int64 is beyond it
    held = fits and (source.kind != "f" or (values.hi < 2.0**63).all())
    return values if held else widest


def _truncated(x: TensorValues) -> TensorValues:
    """Integers of a float type; those of a grid that has no others stay."""
    grid = None if x.grid is None or not (x.grid.scale == 1).all() else x.grid.centred()
    lo, hi = np.trunc(x.lo), np.trunc(x.hi)
    return integers(lo, hi) if grid is None else bounded(lo, hi, grid)


def _rounded(x: TensorValues, source: np.dtype[Any], target: np.dtype[Any]) -> TensorValues:
    """To nearest, which is monotone; the grid stays where its numbers do."""
    with np.errstate(over="ignore"):
        lo, hi = (b.astype(target).astype(np.float64) for b in (x.lo, x.hi))
    return bounded(lo, hi, x.grid if x.grid is not None and _is_exact(x.grid, source, target) else None)


def _is_exact(grid: IntegerGrid, source: np.dtype[Any], target: np.dtype[Any]) -> bool:
    """Whether a float type tells the numbers of a grid apart; one of few bits must hold them as they are."""
    if source.kind == "f" and target.itemsize >= source.itemsize:
        return True
    info = np.finfo(target)
    largest = np.maximum(np.abs(grid.lo - grid.zero_point), np.abs(grid.hi - grid.zero_point))
    is_short = bool((largest <= 2.0 ** (info.nmant + 1)).all())
    if target != np.float16:
        return is_short
    in_range = (grid.scale >= float(info.smallest_subnormal)) & (largest * grid.scale <= float(info.max))
    return is_short and grid.is_centred and bool((is_power_of_two(grid.scale) & in_range).all())


RULES: Rules = {"Cast": cast, "CastLike": cast}
