"""Rounding by mode inside the bodies of operators, and the rule for the attribute that names the mode."""

from __future__ import annotations

from collections.abc import Iterable

from anybit.errors import Finding, UsageError
from anybit.ops.bodies.traced import traced_when_needed
from anybit.ops.operator import Call
from anybit.rounding import Rounding


@traced_when_needed()
def rounded(script, op):
    """`Rounding` in ONNX operators. A chain of If, not Where: runtimes fold it, since the mode is a constant."""

    @script
    def rounded(v, rounding_mode: str = "ROUND"):
        mode = op.Constant(value_string=rounding_mode)
        if op.Equal(mode, op.Constant(value_string="ROUND")):
            y = op.Round(v)
        elif op.Equal(mode, op.Constant(value_string="FLOOR")):
            y = op.Floor(v)
        elif op.Equal(mode, op.Constant(value_string="CEIL")):
            y = op.Ceil(v)
        elif op.Equal(mode, op.Constant(value_string="UP")):
            y = op.Mul(op.Sign(v), op.Ceil(op.Abs(v)))
        elif op.Equal(mode, op.Constant(value_string="DOWN")):
            y = op.Mul(op.Sign(v), op.Floor(op.Abs(v)))
        else:
            whole = op.Floor(op.Abs(v))
            rest = op.Sub(op.Abs(v), whole)
            half = op.CastLike(op.Constant(value_float=0.5), v)
            if op.Equal(mode, op.Constant(value_string="HALF_UP")):
                step = op.GreaterOrEqual(rest, half)
            else:
                step = op.Greater(rest, half)
            y = op.Mul(op.Sign(v), op.Add(whole, op.CastLike(step, v)))
        return y

    return rounded


def check_rounding(call: Call) -> Iterable[Finding]:
    """The rounding mode must be one that anybit knows."""
    mode = str(call.attributes["rounding_mode"])
    try:
        Rounding.parse(mode)
    except UsageError as error:
        yield call.finding("rounding-mode", "rounding_mode", got=mode, expected=error.diagnosis.expected)
