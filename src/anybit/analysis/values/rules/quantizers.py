"""Our quantisers: monotone in X, so their references at the bounds of X give the reachable values and integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from anybit.analysis.values.bounds.corners import of_corners, outward, widened
from anybit.analysis.values.tensor_values import Float64s, IntegerGrid, TensorValues, aligned, bounded, on_grid
from anybit.analysis.values.transfer import NodeContext, NotFollowed, Rules
from anybit.arrays import Array
from anybit.errors import UsageError
from anybit.number_formats import BipolarFormat, FloatFormat, IntFormat, NumberFormat
from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from anybit.ops.calls import call_of, operator_of
from anybit.ops.float_quant import FLOAT_QUANT
from anybit.ops.multi_threshold import MULTI_THRESHOLD, channel_axis
from anybit.ops.operator import Call, Operator
from anybit.ops.quant import QUANT
from anybit.ops.quantizer_parameters import checked_bit_width, integer_bounds
from anybit.ops.trunc import TRUNC

# Scales or widths that are further apart than this make shifts that float32 does not hold.
_LARGEST_SHIFT = 64.0

_ONE, _ZERO = np.ones(()), np.zeros(())


def quant(site: NodeContext) -> TensorValues:
    """round(clip(X/scale + zeropt)) at both bounds of X; parameters that are not constant leave lo .. hi of the width.

    Where bit widths differ by element, the declared format is the widest of them.
    """
    if any(site.constant(i) is None for i in (1, 2, 3)):
        return _quant_at_run_time(site)
    call = _Quantizer.of(site)
    scale, zero_point, bits = call.positive(1), call.finite(2), site.required_constant(3)
    datatype = call.datatype or _widest(bits, signed=bool(call.attribute("signed")))
    lo, hi = (site.evaluate([call.scaled(x, scale, zero_point), _ONE, _ZERO, bits]) for x in call.ends)
    grid = IntegerGrid(_exact(scale), _exact(zero_point), lo[0], hi[0], datatype)
    return on_grid(grid, like=call.real)


def _quant_at_run_time(site: NodeContext) -> TensorValues:
    """(q - zeropt) * scale for the integers q of the width, whatever X is."""
    scale, zero_point, width = (site.values(i) for i in (1, 2, 3))
    call = _Quantizer.of(site)
    if not np.isfinite(width.hi).all():
        raise NotFollowed("the bit width is not bounded")
    bits = np.maximum(np.floor(width.hi), 1.0)
    lo, hi = integer_bounds(bits, signed=bool(call.attribute("signed")), narrow=False)
    integers = bounded(lo, np.where(bits == 1, 1.0, hi))
    real = of_corners(
        lambda q, z, s: ((q - z) * s).astype(call.dtype), (integers, zero_point, scale), call.working_dtype
    )
    return widened(real, 2, call.dtype)


def bipolar_quant(site: NodeContext) -> TensorValues:
    """-scale or scale: one of them alone where X has one sign."""
    call = _Quantizer.of(site)
    if site.constant(1) is None:
        scale = site.values(1)
        largest = np.maximum(np.abs(scale.lo), np.abs(scale.hi))
        return bounded(outward(-largest, call.dtype, up=False), outward(largest, call.dtype, up=True))
    scale = call.positive(1)
    lo, hi = (site.evaluate([x, np.ones_like(scale)])[0].astype(np.float64) for x in call.ends)
    return on_grid(IntegerGrid(_exact(scale), np.zeros(()), lo, hi, BipolarFormat()), like=call.real)


def trunc(site: NodeContext) -> TensorValues:
    """The integers of X, less their lowest bits, at both bounds of X."""
    call = _Quantizer.of(site)
    scale, zero_point = call.positive(1), call.finite(2)
    ends = [call.scaled(x, scale, zero_point) for x in call.ends]
    if call.operator.since == 1:
        widths = [site.required_constant(3), site.required_constant(4)]
        _check_shift(checked_bit_width(widths[0]) - checked_bit_width(widths[1]))
        lo, hi = (site.evaluate([end, _ONE, _ZERO, *widths])[0] for end in ends)
        return on_grid(IntegerGrid(_exact(scale), _exact(zero_point), lo, hi, call.datatype), like=call.real)
    out_scale = call.positive(4)
    step = _merged(_exact(scale), _exact(out_scale))
    in_bits, out_bits = site.required_constant(3), site.required_constant(5)
    datatype = call.datatype or _widest(out_bits, signed=bool(call.attribute("signed")))
    lo, hi = (site.evaluate([end, _ONE, _ZERO, in_bits, step, out_bits])[0] / step for end in ends)
    return on_grid(IntegerGrid(_exact(out_scale), _exact(zero_point) / step, lo, hi, datatype), like=call.real)


def _merged(scale: Float64s, out_scale: Float64s) -> Float64s:
    """How many integers of X become one of Y: the power of two closest to the ratio of the scales (see Trunc)."""
    significand, exponent = np.frexp(out_scale / scale)
    shift = np.where(significand >= np.sqrt(0.5), exponent, exponent - 1)
    _check_shift(shift)
    return np.ldexp(1.0, shift)


def _check_shift(shift: Array) -> None:
    if (np.abs(shift) > _LARGEST_SHIFT).any():
        raise NotFollowed(f"it shifts by more than {_LARGEST_SHIFT:g} bits")


def float_quant(site: NodeContext) -> TensorValues:
    """The minifloats at both bounds of X, all of them multiples of the smallest subnormal number."""
    call = _Quantizer.of(site)
    scale = call.positive(1)
    formats = [site.required_constant(i) for i in (2, 3, 4, 5)]
    mantissa, bias = formats[1].astype(np.float64), formats[2].astype(np.float64)
    saturated = call.attributes | {"saturation": 1}
    real = [_exact(call.operator.evaluate([x, scale, *formats], saturated)) for x in call.ends]
    lo, hi = (call.operator.evaluate([call.scaled(x, scale, _ZERO), _ONE, *formats], saturated) for x in call.ends)
    if not call.attribute("saturation") and call.attribute("has_inf"):
        overflow = [np.isinf(site.evaluate([x, scale, *formats])[0]) for x in call.ends]
        if any(o.any() for o in overflow):
            return bounded(np.where(overflow[0], -np.inf, real[0]), np.where(overflow[1], np.inf, real[1]))
    values = bounded(real[0], real[1])
    with np.errstate(all="ignore"):
        step = np.exp2(1 - bias - mantissa)
        integers = [lo / step, hi / step]
        whole = all((q == np.floor(q)).all() for q in (*integers, mantissa, bias))
        step = _exact(scale) * step
    # The largest number may be cut off beside the grid; and subnormal numbers of X's own type are too coarse for one.
    if not whole or (step < np.finfo(call.dtype).smallest_normal).any():
        return values
    grid = IntegerGrid(step, np.zeros(()), integers[0], integers[1], call.datatype)
    return on_grid(grid, like=values)


def multi_threshold(site: NodeContext) -> TensorValues:
    """out_scale * count + out_bias; thresholds that are not constant leave all counts."""
    call = _Quantizer.of(site)
    scale, bias = (float(np.float32(call.attribute(name))) for name in ("out_scale", "out_bias"))
    thresholds = site.constant(1)
    if thresholds is None:
        shape = site.shape(1)
        steps = shape[1] if len(shape) == 2 else None
        if steps is None:
            raise NotFollowed("the number of thresholds is not known")
        lo, hi = np.zeros(()), np.asarray(float(steps))
    else:
        steps = thresholds.shape[1]
        lo, hi = _counts(site, call, thresholds)
    dtype = call.working_dtype.type
    with np.errstate(all="ignore"):
        ends = [_exact((q.astype(dtype) * dtype(scale) + dtype(bias)).astype(call.dtype)) for q in (lo, hi)]
    real = bounded(np.minimum(*ends), np.maximum(*ends))
    if scale == 0 or not np.isfinite([scale, bias]).all():
        return real
    forms = _staircase(scale, bias, lo, hi)
    declared = call.datatype
    if declared is None or isinstance(declared, FloatFormat):
        return on_grid(forms[-1].centred() or forms[-1], like=real)
    full = _staircase(scale, bias, np.zeros(()), np.asarray(float(steps)))
    for form, widest in zip(forms, full, strict=True):
        ends = (widest.lo, widest.hi) if declared.is_integer else (real.lo, real.hi)
        if declared.allows(ends[0]).all() and declared.allows(ends[1]).all():
            return on_grid(replace(form, datatype=declared), like=real)
    return on_grid(forms[-1].centred() or forms[-1], like=real)


def _staircase(scale: float, bias: float, lo: Float64s, hi: Float64s) -> list[IntegerGrid]:
    """Grids of scale*count + bias: of the values, where they are integers; with zero point 0; of the counts.

    A format is declared for one of the three: BIPOLAR for 2*count - 1, INT4 for counts less 8, UINT4 for counts.
    """
    size = abs(scale)
    down = scale < 0
    low, high = (0 - hi, 0 - lo) if down else (lo, hi)
    counts = IntegerGrid(np.asarray(size), np.asarray(0.0 - bias / size), low, high)
    whole = size.is_integer() and bias.is_integer()
    values = IntegerGrid(np.ones(()), np.zeros(()), size * low + bias, size * high + bias) if whole else None
    return [form for form in (values, counts.centred(), counts) if form is not None]


def _counts(site: NodeContext, call: _Quantizer, thresholds: Array) -> tuple[Float64s, Float64s]:
    """How many thresholds both bounds of X reach, by channel."""
    rank = len(site.shape(0))
    axis = channel_axis(str(call.attribute("data_layout")), rank)
    plain = call.attributes | {"out_scale": 1.0, "out_bias": 0.0}
    counts: list[Float64s] = []
    for bound in call.ends:
        x = aligned(bound, rank)
        if x.shape[axis] == 1:
            x = np.repeat(x, thresholds.shape[0], axis)
        counts.append(_exact(call.operator.evaluate([x.astype(call.working_dtype), thresholds], plain)))
    return counts[0], counts[1]


@dataclass(frozen=True)
class _Quantizer:
    """A quantiser node with constant parameters.

    Attributes:
        site: The node.
        operator: Its meaning.
        call: The node as the operator's rules see it.
        ends: Both bounds of X in its type, with an axis for each channel that the parameters tell apart.
    """

    site: NodeContext
    operator: Operator
    call: Call
    ends: tuple[Array, Array]

    @classmethod
    def of(cls, site: NodeContext) -> _Quantizer:
        operator = operator_of(site.node, dict(site.opsets))
        if operator is None or len(site.inputs) != len(operator.inputs):
            raise NotFollowed("the call does not fit the operator")
        if site.dtype().kind != "f":
            raise NotFollowed(f"X is {site.dtype()}")
        constants = {f.name: a for i, f in enumerate(operator.inputs) if (a := site.constant(i)) is not None}
        by_channel = operator is not MULTI_THRESHOLD  # whose thresholds do not broadcast to X
        parameters = [a for name, a in constants.items() if by_channel and name != operator.inputs[0].name]
        lo, hi = extremes(site.values(0), parameters)
        if not lo.size:
            raise NotFollowed("a parameter is empty")
        ends = outward(lo, site.dtype(), up=False), outward(hi, site.dtype(), up=True)
        return cls(site, operator, replace(call_of(site.node, operator), constants=constants), ends)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type of X and Y."""
        return self.site.dtype()

    @property
    def working_dtype(self) -> np.dtype[Any]:
        """The type that the operator computes in: float32 for float16."""
        return np.dtype(np.float32) if self.dtype == np.float16 else self.dtype

    @property
    def datatype(self) -> NumberFormat | None:
        """The format that the call declares."""
        try:
            return self.operator.number_format(self.call)
        except UsageError:
            return None

    @property
    def attributes(self) -> dict[str, Any]:
        return dict(self.call.attributes)

    def attribute(self, name: str) -> Any:
        """The value of an attribute, its default where it is left out."""
        return self.call.attributes[name]

    @property
    def real(self) -> TensorValues:
        """The operator at both bounds of X."""
        parameters = [self.site.required_constant(i) for i in range(1, len(self.site.inputs))]
        lo, hi = (_exact(self.site.evaluate([x, *parameters])[0]) for x in self.ends)
        return bounded(lo, hi)

    def scaled(self, x: Array, scale: Array, zero_point: Array) -> Float64s:
        """X/scale + zeropt in the type that the operator computes in."""
        with np.errstate(all="ignore"):
            return _exact(x.astype(self.working_dtype) / scale + zero_point)

    def positive(self, index: int) -> Array:
        """A scale in the working type."""
        scale = self.finite(index)
        if not (scale > 0).all():
            raise NotFollowed(f"{self.operator.inputs[index].name} is not positive")
        return scale

    def finite(self, index: int) -> Array:
        """A parameter in the working type."""
        with np.errstate(over="ignore"):
            parameter = self.site.required_constant(index).astype(self.working_dtype)
        if not np.isfinite(parameter).all():
            raise NotFollowed(f"{self.operator.inputs[index].name} is not finite")
        return parameter


def extremes(values: TensorValues, parameters: Sequence[Array]) -> tuple[Float64s, Float64s]:
    """The bounds with an axis for each channel that the parameters tell apart; those of a known tensor are tight."""
    array = values.constant
    shape = np.broadcast_shapes(*(p.shape for p in parameters))
    lo, hi = values.lo, values.hi
    if array is not None and array.size and lo.size == 1 and array.ndim >= len(shape):
        kept = (1,) * (array.ndim - len(shape)) + shape
        axes = tuple(a for a, size in enumerate(kept) if size == 1)
        wide = array if array.dtype.kind in "iuf" else array.astype(np.float32)  # small types have no minimum
        lo, hi = (_exact(f.reduce(wide, axis=axes, keepdims=True)) for f in (np.fmin, np.fmax))
    shape = np.broadcast_shapes(lo.shape, hi.shape, shape)
    return np.broadcast_to(lo, shape), np.broadcast_to(hi, shape)


def _exact(array: Array) -> Float64s:
    return np.asarray(array, np.float64)


def _widest(bits: Array, *, signed: bool) -> NumberFormat | None:
    return IntFormat(int(checked_bit_width(bits).max()), signed=signed) if bits.size else None


RULES: Rules = {
    BIPOLAR_QUANT.name: bipolar_quant,
    FLOAT_QUANT.name: float_quant,
    MULTI_THRESHOLD.name: multi_threshold,
    QUANT.name: quant,
    TRUNC.name: trunc,
}
