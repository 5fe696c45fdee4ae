"""Shapes of scales and zero points: one number, or one for each channel.

A tensor of one axis and one element counts as a scalar: the specification asks for a scalar, but every exporter writes
`[1]` somewhere, and every runtime reads it so.
"""

from __future__ import annotations

from collections.abc import Iterator

from anybit.errors import Finding
from anybit.ops.standard.checks.call import Shape, StandardCall


def may_be_single(shape: Shape) -> bool:
    """Whether a tensor of this shape, as far as it is known, is one number."""
    return not shape or (len(shape) == 1 and shape[0] in (1, None))


def fits(shape: Shape, wanted: Shape) -> bool:
    """Whether two shapes, as far as they are known, are the same."""
    return len(shape) == len(wanted) and all(
        a is None or b is None or a == b for a, b in zip(shape, wanted, strict=True)
    )


def written(shape: Shape) -> str:
    """A shape as messages show it; `?` for a dimension that is not known."""
    return f"[{', '.join('?' if d is None else str(d) for d in shape)}]"


def rule_of(name: str) -> str:
    """The rule that a finding about the shape of this input belongs to."""
    return "zero-point-shape" if "zero_point" in name else "scale-shape" if "scale" in name else "operand-shape"


def check_single(call: StandardCall, *names: str) -> Iterator[Finding]:
    """One number for the whole tensor."""
    for name in names:
        shape = call.shapes.get(name)
        if shape is not None and not may_be_single(shape):
            yield call.finding(
                rule_of(name),
                f"shape of {name}",
                got=written(shape),
                expected="a scalar",
                hint="the operator has one for the whole tensor",
            )


def check_scalar(call: StandardCall, *names: str) -> Iterator[Finding]:
    """A tensor without axes: ONNX Runtime refuses `[1]` for the operators that this is asked of."""
    for name in names:
        shape = call.shapes.get(name)
        if shape:
            yield call.finding(rule_of(name), f"shape of {name}", got=written(shape), expected="[]: a scalar")


def check_vector(call: StandardCall, name: str, length: int | None, of: str) -> Iterator[Finding]:
    """One number for the whole tensor, or a vector of one for each of its channels."""
    shape = call.shapes.get(name)
    if shape is None or may_be_single(shape) or fits(shape, (length,)):
        return
    each = "one for each" if length is None else f"one for each of {length}"
    yield call.finding(rule_of(name), f"shape of {name}", got=written(shape), expected=f"a scalar, or {each} {of}")


def check_pair(call: StandardCall, scale: str, zero_point: str) -> Iterator[Finding]:
    """Scale and zero point have the same shape."""
    shapes = call.shapes.get(scale), call.shapes.get(zero_point)
    if shapes[0] is None or shapes[1] is None or all(may_be_single(s) for s in shapes if s is not None):
        return
    if not fits(shapes[0], shapes[1]):
        yield call.finding(
            "zero-point-shape",
            f"{zero_point} and {scale} differ in shape",
            got=written(shapes[1]),
            expected=written(shapes[0]),
            hint="repeat the shorter one",
        )


def check_shape(call: StandardCall, name: str, *allowed: Shape, hint: str = "") -> Iterator[Finding]:
    """The shape of an operand is one of these."""
    shape = call.shapes.get(name)
    if shape is not None and not any(fits(shape, wanted) for wanted in allowed):
        expected = " or ".join(written(wanted) for wanted in allowed)
        rule = "bias-shape" if name in ("B", "bias") and len(allowed[0]) == 1 else rule_of(name)
        yield call.finding(rule, f"shape of {name}", got=written(shape), expected=expected, hint=hint)


def check_axis(call: StandardCall, attribute: str, axis: int, rank: int, of: str) -> Iterator[Finding]:
    """-rank <= axis < rank."""
    if not -rank <= axis < rank:
        expected = f"{-rank} .. {rank - 1}" if rank else "no axis: the tensor is a scalar"
        yield call.finding(
            "axis", f"attribute '{attribute}'", got=axis, expected=expected, hint=f"{of} has rank {rank}"
        )


def check_choice(call: StandardCall, attribute: str, *allowed: int) -> Iterator[Finding]:
    """The attribute, where it is given, is one of these numbers."""
    value = call.attributes.get(attribute)
    if value is not None and value not in allowed:
        expected = ", ".join(map(str, allowed))
        yield call.finding("attribute", f"attribute '{attribute}'", got=value, expected=expected)


def dimension(shape: Shape | None, axis: int) -> int | None:
    """The length along an axis, None where it is not known."""
    return shape[axis] if shape is not None and -len(shape) <= axis < len(shape) else None
