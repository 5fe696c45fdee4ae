"""Tracer: a Network as a circuit. da4ml imports it by its entry point; nothing of anybit does."""

from __future__ import annotations

from typing import Any

import numpy as np
from da4ml.converter.plugin import DAISTracerPluginBase
from da4ml.trace import FixedVariableArray

from anybit.targets.da4ml.network import Modulo, Network, Quantize
from anybit.targets.da4ml.rounding import Bit, floor_of


class Tracer(DAISTracerPluginBase):
    """Applies the steps of a `Network` to da4ml's arrays of fixed-point variables."""

    model: Network

    def get_input_shapes(self) -> list[tuple[int, ...]]:
        return [b.lo.shape for b in self.model.inputs.values()]

    def _get_inputs(self, inputs: Any, inputs_kif: Any) -> tuple[Any, ...]:
        if inputs is not None or inputs_kif is not None:
            return super()._get_inputs(inputs, inputs_kif)
        return tuple(
            FixedVariableArray.from_lhs(b.lo, b.hi, b.step, self.hwconf, 0.0, self.solver_options)
            for b in self.model.inputs.values()
        )

    def apply_model(
        self,
        verbose: bool,  # noqa: FBT001  (da4ml's own signature)
        inputs: tuple[Any, ...],
    ) -> tuple[dict[str, Any], list[str]]:
        held = dict(zip(self.model.inputs, inputs, strict=True))
        for step in self.model.steps:
            if verbose:
                print(f"{step.y}: {step.node}")  # noqa: T201  (what da4ml's own plugins do with this flag)
            xs = [held[x] for x in step.xs]
            match step.operation:
                case Quantize() as quantize:
                    held[step.y] = _each(xs[0], lambda i, v, q=quantize: _quantized(v, q, i))
                case Modulo() as modulo:
                    held[step.y] = _each(xs[0], lambda i, v, m=modulo: _modulo(v, float(m.by.flat[i])))
                case apply:
                    held[step.y] = apply.function(*xs)
        return held, list(self.model.outputs)


def _each(x: Any, function: Any) -> Any:
    variables = [function(i, v) for i, v in enumerate(x._vars.ravel())]  # noqa: SLF001  (it has no public name)
    return FixedVariableArray(np.array(variables).reshape(x.shape), x.solver_options, hwconf=x.hwconf)


def _quantized(v: Any, quantize: Quantize, i: int) -> Any:
    scale, zero, lo, hi = (
        float(np.broadcast_to(a, quantize.scale.shape).flat[i])
        for a in (quantize.scale, quantize.zero_point, quantize.lo, quantize.hi)
    )
    moved = v + zero * scale if zero else v
    d = float(moved.step) / scale
    fraction = round(-np.log2(scale))
    if d < 1:
        floor = floor_of(quantize.rounding, d)
        bit = _bit(moved, floor.bit, fraction)
        moved = moved + floor.constant * scale if floor.constant else moved
        moved = moved if bit is None else moved + bit * (floor.shift * scale)
        keep, integers, _ = moved.kif
        moved = moved.quantize(int(keep), int(max(integers, 1 - fraction)) + 1, fraction, "WRAP", "TRN")
    clipped = moved.max_of(lo * scale).min_of(hi * scale)
    return clipped - zero * scale if zero else clipped


def _bit(v: Any, bit: Bit, fraction: int) -> Any:
    """0 or 1."""
    match bit:
        case Bit.ODD:
            return v.quantize(0, 1 - fraction, fraction, "WRAP", "TRN") * 2.0**fraction
        case Bit.NEGATIVE:
            return v.is_negative()
        case Bit.NONE:
            return None


def _modulo(v: Any, by: float) -> Any:
    return v.quantize(0, round(np.log2(by)), int(max(v.kif[2], 0)), "WRAP", "TRN")
