"""Rules of QuantizeLinear and DequantizeLinear: granularity, axis, blocks, types.

    scalar                                    one scale for the tensor
    [D_axis]                from opset 13     one for each channel
    [D_0, .. ceil(D_axis / block_size), ..]   from opset 21, one for each block

The zero point has the shape of the scale. Where ONNX Runtime 1.32 takes more: scales of several elements at opset 10,
a zero point of int32 that is not 0 (it is ignored), `saturate` other than 0 and 1, vectors without `axis` in its own
domain. Where it takes less: `precision` may not be bfloat16.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from anybit.errors import Finding
from anybit.graph.walk import element_name, numbered_type
from anybit.ops.standard.checks.call import Shape, StandardCall
from anybit.ops.standard.checks.parameters import (
    check_axis,
    check_choice,
    check_pair,
    dimension,
    fits,
    may_be_single,
    written,
)

_PER_AXIS, _BLOCKED = 13, 21
_NEVER_DIVIDES = "int32"  # a type of the scale, but not one to divide in
_POWER_OF_TWO = "float8e8m0"  # a type of the scale, but not of the result


@dataclass(frozen=True)
class _Parameters:
    """Names of the inputs, and what the version allows."""

    scale: str
    zero_point: str
    per_axis: bool = True
    blocked: bool = False


def quantize_linear(call: StandardCall) -> Iterator[Finding]:
    """Rules of QuantizeLinear."""
    per_axis, blocked = call.version >= _PER_AXIS, call.version >= _BLOCKED
    yield from _granularity(call, _Parameters("y_scale", "y_zero_point", per_axis, blocked))
    yield from check_choice(call, "saturate", 0, 1)
    if "precision" in call.attributes:
        allowed = call.signature.types_of("y_scale") - {_NEVER_DIVIDES, _POWER_OF_TWO}
        yield from _type_attribute(call, "precision", allowed)
    yield from _type_attribute(call, "output_dtype", call.signature.types_of("y"))
    chosen = _chosen(call, "output_dtype")
    given = call.types.get("y_zero_point")
    if chosen is not None and given is not None and chosen != given:
        yield call.finding(
            "output-type",
            "attribute 'output_dtype' and the type of y_zero_point differ",
            got=chosen,
            expected=given,
            hint="leave one of the two out",
        )


def dequantize_linear(call: StandardCall) -> Iterator[Finding]:
    """Rules of DequantizeLinear."""
    per_axis, blocked = call.version >= _PER_AXIS, call.version >= _BLOCKED
    yield from _granularity(call, _Parameters("x_scale", "x_zero_point", per_axis, blocked))
    yield from _no_zero_point_for_sums(call)
    yield from _type_attribute(call, "output_dtype", call.signature.types_of("y"))


def contrib_quantize_linear(call: StandardCall) -> Iterator[Finding]:
    """Rules of QuantizeLinear of ONNX Runtime's domain: per axis only where `axis` is given."""
    yield from _granularity(call, _Parameters("y_scale", "y_zero_point"))


def contrib_dequantize_linear(call: StandardCall) -> Iterator[Finding]:
    """Rules of DequantizeLinear of ONNX Runtime's domain: per axis only where `axis` is given."""
    yield from _granularity(call, _Parameters("x_scale", "x_zero_point"))
    yield from _no_zero_point_for_sums(call)


def _granularity(call: StandardCall, names: _Parameters) -> Iterator[Finding]:
    yield from check_pair(call, names.scale, names.zero_point)
    shape, block = call.shapes.get(names.scale), call.integer("block_size")
    if block < 0:
        yield call.finding("block-size", "attribute 'block_size'", got=block, expected="a positive integer")
    elif shape is None or (not block and may_be_single(shape)):
        return
    elif not names.per_axis:
        yield call.finding(
            "scale-shape",
            f"shape of {names.scale}",
            got=written(shape),
            expected="a scalar",
            hint=f"a scale for each channel needs opset {_PER_AXIS}, the model has {call.version}",
        )
    elif block:
        yield from _blocks(call, names.scale, shape, block)
    else:
        yield from _channels(call, names, shape)


def _channels(call: StandardCall, names: _Parameters, shape: Shape) -> Iterator[Finding]:
    if len(shape) != 1:
        yield call.finding(
            "scale-shape",
            f"shape of {names.scale}",
            got=written(shape),
            expected="a scalar, or one axis",
            hint="a scale for each block needs the attribute 'block_size'" if names.blocked else "flatten it",
        )
        return
    if "axis" not in call.attributes:
        hint = "without the attribute 'axis' there is one scale for the tensor"
        yield call.finding("axis", f"shape of {names.scale}", got=written(shape), expected="a scalar", hint=hint)
        return
    x, axis = call.shapes.get("x"), call.integer("axis")
    if x is None:
        return
    yield from check_axis(call, "axis", axis, len(x), "x")
    if not fits(shape, (dimension(x, axis),)) and -len(x) <= axis < len(x):
        yield call.finding(
            "scale-shape",
            f"length of {names.scale}",
            got=shape[0],
            expected=str(x[axis]),
            hint=f"x has shape {written(x)}, the axis is {axis}{_other_axis(x, shape[0])}",
        )


def _other_axis(x: Shape, length: int | None) -> str:
    """Which axis was meant, if one has the length of the scale."""
    return f"; axis {x.index(length)} has {length} channels" if length is not None and length in x else ""


def _blocks(call: StandardCall, name: str, shape: Shape, block: int) -> Iterator[Finding]:
    x, axis = call.shapes.get("x"), call.integer("axis")
    if x is None:
        return
    if -len(x) <= axis < len(x):
        lengths = list(x)
        length = lengths[axis]
        lengths[axis] = None if length is None else -(-length // block)
        if not fits(shape, tuple(lengths)):
            yield call.finding(
                "block-size",
                f"shape of {name}",
                got=written(shape),
                expected=written(tuple(lengths)),
                hint=f"x has shape {written(x)}, in blocks of {block} along axis {axis}",
            )
        return
    yield from check_axis(call, "axis", axis, len(x), "x")


def _no_zero_point_for_sums(call: StandardCall) -> Iterator[Finding]:
    """A tensor of int32 holds sums of products, whose zero point is 0."""
    if call.types.get("x") != "int32" or "x_zero_point" not in call.constants:
        return
    zero_point = call.constants["x_zero_point"]
    if zero_point.any():
        yield call.finding(
            "zero-point",
            "x_zero_point of a tensor of int32",
            got=zero_point[zero_point != 0].flat[0],
            expected="0",
            hint="subtract it before",
        )


def _type_attribute(call: StandardCall, name: str, allowed: frozenset[str]) -> Iterator[Finding]:
    number = call.integer(name)
    chosen = _chosen(call, name)
    if number and chosen not in allowed:
        expected = ", ".join(sorted(allowed))
        yield call.finding("output-type", f"attribute '{name}'", got=chosen or number, expected=expected)


def _chosen(call: StandardCall, name: str) -> str | None:
    """The element type that an attribute names, None where it names none."""
    number = call.integer(name)
    known = numbered_type(number) if number else None
    return None if known is None else element_name(known)
