"""Rules of MatMul, Gemm, QLinearMatMul, MatMulInteger and of ONNX Runtime's products of bytes.

    y = a (.., M, K) @ b (.., K, N);  by row of a: [M] or (.., M, 1);  by column of b: [N] or (.., 1, N)

Where ONNX Runtime 1.32 takes more: scale and zero point of QLinearMatMul may differ in shape. Where it takes less:
there is nothing by row of a.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

from anybit.errors import Finding
from anybit.ops.standard.checks.call import Shape, StandardCall
from anybit.ops.standard.checks.parameters import (
    check_pair,
    check_shape,
    check_single,
    check_vector,
    dimension,
    fits,
    may_be_single,
    rule_of,
    written,
)


def matmul(call: StandardCall) -> Iterator[Finding]:
    """MatMul: the last axis of A is as long as the last but one of B, and the axes before them broadcast."""
    yield from _product(call, "A", "B")


def gemm(call: StandardCall) -> Iterator[Finding]:
    """Rules of Gemm: two matrices, either of them transposed, and what is added."""
    yield from _matrices(call)


def matmul_integer(call: StandardCall) -> Iterator[Finding]:
    """Rules of MatMulInteger."""
    yield from _product(call, "A", "B")
    yield from _by_row(call, "A", "a_zero_point")
    yield from _by_column(call, "B", "b_zero_point")


def qlinear_matmul(call: StandardCall) -> Iterator[Finding]:
    """Rules of QLinearMatMul."""
    yield from _product(call, "a", "b")
    for kind in ("scale", "zero_point"):
        yield from _by_row(call, "a", f"a_{kind}")
        yield from _by_column(call, "b", f"b_{kind}")
    yield from check_pair(call, "a_scale", "a_zero_point")
    yield from check_pair(call, "b_scale", "b_zero_point")
    yield from check_single(call, "y_scale", "y_zero_point")


def dynamic_quantize_matmul(call: StandardCall) -> Iterator[Finding]:
    """Rules of ONNX Runtime's DynamicQuantizeMatMul and MatMulIntegerToFloat."""
    yield from _product(call, "A", "B")
    columns = dimension(call.shapes.get("B"), -1)
    yield from check_single(call, "a_scale", "a_zero_point")
    for name in ("b_scale", "b_zero_point"):
        yield from check_vector(call, name, columns, "columns of B")
    yield from check_shape(call, "bias", (columns,), hint="one number for each column of B")


def matmul_integer_16(call: StandardCall) -> Iterator[Finding]:
    """Rules of ONNX Runtime's MatMulInteger16."""
    yield from _product(call, "A", "B")


def qgemm(call: StandardCall) -> Iterator[Finding]:
    """Rules of ONNX Runtime's QGemm: two matrices, either of them transposed."""
    if not (yield from _matrices(call)):
        return
    columns = dimension(call.shapes.get("B"), 0 if call.integer("transB") else 1)
    yield from check_single(call, "a_scale", "a_zero_point", "y_scale", "y_zero_point")
    for name in ("b_scale", "b_zero_point"):
        yield from check_vector(call, name, columns, "columns of B")
    yield from check_pair(call, "b_scale", "b_zero_point")
    if ("y_scale" in call.given) != ("y_zero_point" in call.given):
        given = "y_scale" if "y_scale" in call.given else "y_zero_point"
        hint = "with both the output is of bytes, with neither of float32"
        yield call.finding(
            "inputs", "y_scale and y_zero_point", got=f"only {given}", expected="both or none", hint=hint
        )


def _matrices(call: StandardCall) -> Generator[Finding, None, bool]:
    """The factors of Gemm and what is added to their product; returns whether both factors are matrices."""
    sides: list[Shape] = []
    for name, flag in (("A", "transA"), ("B", "transB")):
        shape = call.shapes.get(name, (None, None))
        if len(shape) != len("MK"):
            yield call.finding("operand-shape", f"rank of {name}", got=len(shape), expected="2")
            return False
        sides.append(shape[::-1] if call.integer(flag) else shape)
    (rows, inner), (terms, columns) = sides
    if None not in (inner, terms) and inner != terms:
        yield call.finding("operand-shape", "rows of B", got=terms, expected=f"{inner}, the columns of A")
    addend = call.shapes.get("C")
    if addend is not None and not _broadcasts(addend, (rows, columns)):
        expected = f"a shape that broadcasts to {written((rows, columns))}"
        yield call.finding("bias-shape", "shape of C", got=written(addend), expected=expected)
    return True


def _broadcasts(shape: Shape, whole: Shape) -> bool:
    aligned = whole[len(whole) - len(shape) :]
    return len(shape) <= len(whole) and all(
        a in (1, None) or b is None or a == b for a, b in zip(shape, aligned, strict=True)
    )


def _product(call: StandardCall, first: str, second: str) -> Iterator[Finding]:
    """The factors of a numpy matmul."""
    a, b = call.shapes.get(first), call.shapes.get(second)
    for name, shape in ((first, a), (second, b)):
        if shape == ():
            yield call.finding("operand-shape", f"rank of {name}", got=0, expected="1 or more")
    if not a or not b:
        return
    inner, terms = a[-1], b[-1] if len(b) == 1 else b[-2]
    if inner is not None and terms is not None and inner != terms:
        yield call.finding(
            "operand-shape",
            f"{first} and {second} do not fit",
            got=f"{inner} columns of {first}, {terms} rows of {second}",
            expected="as many",
        )
    pairs = zip(reversed(a[:-2]), reversed(b[:-2]), strict=False)
    if any(m not in (1, None) and n not in (1, None) and m != n for m, n in pairs):
        yield call.finding(
            "operand-shape",
            f"batches of {first} and {second} do not broadcast",
            got=f"{written(a)} and {written(b)}",
            expected="equal dimensions, or 1",
        )


def _by_row(call: StandardCall, factor: str, name: str) -> Iterator[Finding]:
    yield from _along(call, factor, name, -2, "row")


def _by_column(call: StandardCall, factor: str, name: str) -> Iterator[Finding]:
    yield from _along(call, factor, name, -1, "column")


def _along(call: StandardCall, factor: str, name: str, axis: int, what: str) -> Iterator[Finding]:
    """One number, a vector for a matrix, or one number in place of each row or column of a tensor of matrices."""
    whole, shape = call.shapes.get(factor), call.shapes.get(name)
    if whole is None or shape is None or may_be_single(shape):
        return
    lone = len(whole) < len("MK")  # a vector has no rows, or no columns
    replaced = {-2: -1, -1: -2}[axis]
    allowed: list[Shape] = []
    if not lone:
        spread = list(whole)
        spread[replaced] = 1
        allowed.append(tuple(spread))
    if len(whole) == len("MK"):
        allowed.insert(0, (whole[axis],))
    if not any(fits(shape, one) for one in allowed):
        expected = " or ".join(["a scalar", *map(written, allowed)])
        hint = f"one for each {what} of {factor}, of shape {written(whole)}"
        yield call.finding(rule_of(name), f"shape of {name}", got=written(shape), expected=expected, hint=hint)
