"""XnorPopcountMatMul: the product of two binary matrices.   Y[m, n] = number of k at which A[m, k] = B[k, n]."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from onnx.shape_inference import InferenceContext

from anybit.arrays import Array
from anybit.errors import Finding
from anybit.ops.bodies.traced import traced_when_needed
from anybit.ops.channels_last.layout import dimensions, infer_shape
from anybit.ops.operator import Bounds, Call, GridBounds, Input, Operator, Types, widened
from anybit.ops.traits import Traits

_EXACT = 2.0**11
"""The largest number up to which every element type that the operator takes has all integers; float16 is the least."""


def reference(a: npt.ArrayLike, b: npt.ArrayLike) -> Array:
    """Y = (sum over k of (2*A[m, k] - 1) * (2*B[k, n] - 1) + K) / 2, in float64.

    Of zeros and ones this is the number of places at which a row of A and a column of B are equal: a popcount of
    their exclusive nor. With bits for signs, -1 as 0, the product of the signs is 2*Y - K.

    Args:
        a: (..., M, K), float16, float32 or float64; Y, of shape (..., M, N), has its type.
        b: (K, N).

    Raises:
        TypeError: A is not floating point.
        ValueError: The shapes do not fit each other.

    Example:
        >>> reference(np.float32([[1, 0, 1]]), np.float32([[1], [1], [1]])).tolist()
        [[2.0]]
    """
    left, right = widened(a).astype(np.float64), np.asarray(b, np.float64)
    if right.ndim != 2 or not left.ndim or left.shape[-1] != right.shape[0]:
        raise ValueError(f"A has shape {left.shape} and B {right.shape}, expected (..., M, K) and (K, N)")
    signs = (2.0 * left - 1.0) @ (2.0 * right - 1.0)
    return ((signs + right.shape[0]) * 0.5).astype(np.asarray(a).dtype)


@traced_when_needed()
def body(script, op):
    """The reference in ONNX operators, in float64."""

    @script
    def body(A, B):
        two = op.Cast(op.Constant(value_float=2.0), to=11)
        one = op.Cast(op.Constant(value_float=1.0), to=11)
        left = op.Sub(op.Mul(op.Cast(A, to=11), two), one)
        right = op.Sub(op.Mul(op.Cast(B, to=11), two), one)
        terms = op.Cast(op.Shape(B, end=1), to=11)
        return op.CastLike(op.Div(op.Add(op.MatMul(left, right), terms), two), A)

    return body


def infer(context: InferenceContext) -> None:
    """The output has the shape (..., M, N): the rows of A and the columns of B."""
    a, b = dimensions(context, 0), dimensions(context, 1)
    infer_shape(context, None if not a or b is None or len(b) != 2 else [*a[:-1], b[1]])


def bounds(call: Call, a: Bounds, b: Bounds) -> Bounds:
    """0 .. K of bits; of other numbers K times what one product, (1 + (2a - 1)(2b - 1)) / 2, can be."""
    terms = _terms(call)
    if terms is None:
        return Bounds(lo=-np.inf, hi=np.inf)
    first, second = (np.array([2.0 * float(np.min(v.lo)) - 1.0, 2.0 * float(np.max(v.hi)) - 1.0]) for v in (a, b))
    corners = np.outer(first, second)
    if not np.isfinite(corners).all():
        return Bounds(lo=-np.inf, hi=np.inf)
    lo, hi = terms * (1.0 + corners.min()) / 2.0, terms * (1.0 + corners.max()) / 2.0
    if _whole(call, "A", a) and _whole(call, "B", b) and max(-lo, hi) <= _EXACT:
        return Bounds(lo=lo, hi=hi, grid=GridBounds(scale=1.0, lo=lo, hi=hi))
    slack = 2.0**-9 * max(-lo, hi)  # the result is rounded to the element type, which may be float16
    return Bounds(lo=lo - slack, hi=hi + slack)


def _terms(call: Call) -> int | None:
    """K, which either shape may state."""
    for name, axis in (("B", 0), ("A", -1)):
        shape = call.shapes.get(name)
        if shape and shape[axis] is not None:
            return shape[axis]
    return None


def _whole(call: Call, name: str, bounds: Bounds) -> bool:
    """Whether an input holds integers only."""
    grid, known = bounds.grid, call.constants.get(name)
    if known is not None:
        return bool((known == np.floor(known)).all())
    if grid is None:
        return False
    zero_point = np.asarray(grid.zero_point)
    return bool((np.asarray(grid.scale) == 1).all() and (zero_point == np.floor(zero_point)).all())


def check(call: Call) -> Iterable[Finding]:
    """B is a matrix with a row for each column of A."""
    a, b = call.shapes.get("A"), call.shapes.get("B")
    if b is not None and len(b) != 2:
        yield call.finding("rank", "rank of B", got=len(b), expected="2: (K, N)")
        return
    if a is not None and not a:
        yield call.finding("rank", "rank of A", got=0, expected="at least 1: (..., M, K)")
        return
    if a and b and None not in (a[-1], b[0]) and a[-1] != b[0]:
        yield call.finding("shape", "rows of B", got=b[0], expected=f"{a[-1]}, the columns of A")


XNOR_POPCOUNT_MAT_MUL = Operator(
    name="XnorPopcountMatMul",
    doc="The product of two binary matrices: Y[m, n] = number of k at which A[m, k] = B[k, n].",
    inputs=(
        Input("A", Types.FLOAT, "zeros and ones, (..., M, K)"),
        Input("B", Types.FLOAT, "zeros and ones, (K, N)"),
    ),
    reference=reference,
    traits=Traits(finite=True),
    body=body,
    bounds=bounds,
    infer=infer,
    check=check,
)
