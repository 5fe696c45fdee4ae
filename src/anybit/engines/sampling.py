"""random_inputs: inputs to compare models on, drawn so that they meet rounding ties and overflow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.analysis.values.stated_formats import of_annotation
from anybit.errors import InputError
from anybit.graph.annotations import annotated_number_format
from anybit.graph.constants import constant, fed_inputs
from anybit.io.load import ModelSource, load
from anybit.number_formats import BipolarFormat, FloatFormat
from anybit.ops import float_quant
from anybit.ops.calls import call_of, is_call, operator_of
from anybit.ops.quant import QUANT
from anybit.ops.sizes import ELEMENT_BYTES, refuse_bytes

_BYTES = 2  # integers of up to so many bytes are taken for quantised data, wider ones for indices and sizes
_DRAWN_BYTES = ELEMENT_BYTES  # of an element while it is drawn
_LARGEST = 2.0**1000  # number to draw: a range twice as wide is one of float64
_SHARES = (0.0, -0.0, 0.25, 2.0**-6, 2.0**-12)


def random_inputs(
    model: ModelSource, samples: int, *, seed: int = 0, free: int | None = None
) -> dict[str, npt.NDArray[Any]]:
    """Inputs by name, `samples` along their first axis; inputs of different first sizes keep them.

    An input whose number format the file states is drawn from that format. Any other float input that goes straight
    into a Quant or QuantizeLinear with one scale is drawn over its whole grid and a step beyond, a quarter of it
    exactly half-way between neighbours; further ones are normally distributed. Integers that index a constant table
    stay inside it, others of up to 16 bits are drawn from all that their type holds, wider ones are 0 or 1. Inputs
    with a default are left out.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``.
        samples: Size of the first axis.
        seed: Seed of the drawing.
        free: Size of the free dimensions behind the first; None refuses them.

    Raises:
        InputError: An input has a free dimension besides the first, or a type that cannot be drawn.
        LimitError: They would take more memory than the limits allow.
    """
    read = load(model)
    generator = np.random.default_rng(seed)
    inputs = fed_inputs(read.graph)
    firsts = {str(v.name): v.shape[0] if v.shape is not None and v.shape.rank() else None for v in inputs}
    bound = len(set(firsts.values())) > 1
    counts = {name: first if bound and isinstance(first, int) else samples for name, first in firsts.items()}
    shapes = [_shape(v, counts[str(v.name)], free) for v in inputs]
    drawn = 0
    for value, shape in zip(inputs, shapes, strict=True):
        drawn += math.prod(max(size, 1) for size in shape) * _DRAWN_BYTES  # numpy addresses the others of an empty one
        refuse_bytes(drawn, f"input '{value.name}'")
    return {
        str(v.name): _draw(v, shape, generator, read.opset_imports) for v, shape in zip(inputs, shapes, strict=True)
    }


def near_zero(inputs: Mapping[str, npt.NDArray[Any]], *, seed: int = 0) -> dict[str, npt.NDArray[Any]]:
    """The same with every float -0, +0, or a small share of itself with a minus sign, which may be quantised to -0.

    Args:
        inputs: By name.
        seed: Seed of the drawing.
    """
    generator = np.random.default_rng(seed)
    shares = {n: generator.choice(_SHARES, a.shape).astype(a.dtype) for n, a in inputs.items() if a.dtype.kind == "f"}
    return {name: -np.abs(a) * shares[name] if name in shares else a for name, a in inputs.items()}


def finite(numbers: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """The numbers in a float type; those beyond it become its largest number."""
    limits = ml_dtypes.finfo(dtype)
    return np.clip(numbers, float(limits.min), float(limits.max)).astype(dtype)


def within_stated_format(array: npt.NDArray[Any], value: ir.Value) -> npt.NDArray[Any]:
    """The numbers of an array moved to numbers of the format that the file states for an input, if it states one."""
    stated = of_annotation(value)
    datatype = None if stated is None else annotated_number_format(value)
    if stated is None or datatype is None or array.dtype.kind not in "fiu":
        return array
    numbers = np.nan_to_num(array.astype(np.float64))
    if isinstance(datatype, BipolarFormat):
        return np.where(numbers >= 0, 1, -1).astype(array.dtype)
    numbers = np.clip(numbers, stated.lo, stated.hi)
    if isinstance(datatype, FloatFormat):
        fields = datatype.exponent_bits, datatype.mantissa_bits, datatype.bias, float(datatype.max)
        numbers = float_quant.reference(numbers, 1.0, *fields)
    elif stated.grid is not None:
        numbers = np.rint(numbers / stated.grid.scale) * stated.grid.scale
    return np.where(datatype.allows(numbers), numbers, 0).astype(array.dtype)


def _shape(value: ir.Value, samples: int, free: int | None) -> list[int]:
    where = f"input '{value.name}'"
    if value.shape is None or value.dtype is None:
        raise InputError("an input without shape or type cannot be drawn", node=where, hint="give inputs with -i")
    if not value.shape.rank():
        return []
    rest = [d if isinstance(d, int) else free for d in list(value.shape)[1:]]
    if None in rest:
        raise InputError("an input with free dimensions cannot be drawn", node=where, hint="give inputs with -i")
    return [samples, *(d for d in rest if d is not None)]


def _draw(
    value: ir.Value, shape: list[int], generator: np.random.Generator, opset_imports: dict[str, int]
) -> npt.NDArray[Any]:
    dtype = np.dtype(object) if value.dtype is None else value.dtype.numpy()
    stated = of_annotation(value)
    if stated is not None and dtype.kind in "fiu":
        lo, hi = (float(np.clip(b, -_LARGEST, _LARGEST)) for b in (stated.lo.min(), stated.hi.max()))
        numbers = within_stated_format(generator.uniform(lo, hi, shape), value)
        return finite(numbers, dtype) if dtype.kind == "f" else numbers.astype(dtype)
    if value.dtype is not None and value.dtype.is_floating_point():
        return finite(_floats(value, shape, generator, opset_imports), dtype)
    if value.dtype is not None and value.dtype.is_integer():
        lo, hi = _limits(value, dtype)
        return generator.integers(lo, hi, shape).astype(dtype)
    if dtype.kind == "b":
        return generator.integers(0, 2, shape).astype(np.bool_)
    raise InputError(
        "an input of this type cannot be drawn", node=f"input '{value.name}'", got=dtype, hint="give inputs with -i"
    )


@dataclass(frozen=True)
class _Grid:
    """What an input is quantised to: (integer - zero_point) * scale, integers lo .. hi."""

    scale: float
    zero_point: float
    lo: float
    hi: float


def _floats(
    value: ir.Value, shape: list[int], generator: np.random.Generator, opset_imports: dict[str, int]
) -> npt.NDArray[np.float64]:
    grids = (_grid(node, position, opset_imports) for node, position in value.uses())
    grid = next((g for g in grids if g is not None and not np.isnan([g.lo, g.hi]).any()), None)
    if grid is None:
        return generator.standard_normal(shape)
    lo, hi = (float(np.clip(bound, -_LARGEST, _LARGEST)) for bound in (grid.lo - 1, grid.hi + 1))
    integers = generator.uniform(lo, hi, shape)
    ties = generator.random(shape) < 0.25
    return (np.where(ties, np.floor(integers) + 0.5, integers) - grid.zero_point) * grid.scale


def _grid(node: ir.Node, position: int, opset_imports: dict[str, int]) -> _Grid | None:
    """The grid of a quantiser of one scale."""
    operator = operator_of(node, opset_imports)
    if position != 0:
        return None
    if operator is not None and is_call(node, QUANT):
        call = call_of(node, operator)
        known = [call.constants.get(n) for n in ("scale", "zeropt", "bitwidth")]
        if any(p is None or p.size != 1 for p in known):
            return None
        scale, zero_point, bits = (float(p.reshape(())) for p in known if p is not None)
        low = -(2 ** (bits - 1)) if call.attributes["signed"] else 0.0
        return _Grid(scale, zero_point, low, low + 2**bits - 1)
    if node.op_type != "QuantizeLinear" or node.outputs[0].dtype is None:
        return None
    scale, zero = constant(node.inputs[1]), constant(node.inputs[2]) if len(node.inputs) > 2 else np.zeros(())
    dtype = node.outputs[0].dtype.numpy()
    if scale is None or zero is None or scale.size != 1 or zero.size != 1 or dtype.kind not in "iu":
        return None
    limits = np.iinfo(dtype)
    return _Grid(float(scale.reshape(())), float(zero.reshape(())), float(limits.min), float(limits.max))


def _limits(value: ir.Value, dtype: np.dtype[Any]) -> tuple[int, int]:
    """The smallest integer to draw, and the first one that is too large."""
    for node, position in value.uses():
        table = constant(node.inputs[0])
        if node.op_type == "Gather" and position == 1 and table is not None:
            axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
            return 0, int(table.shape[axis])
    if dtype.itemsize > _BYTES:
        return 0, 2
    limits = ml_dtypes.iinfo(dtype)
    return int(limits.min), int(limits.max) + 1
