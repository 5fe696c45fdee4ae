"""Operators that treat each element by itself: of one tensor, or of several that broadcast."""

from __future__ import annotations

UNARY = frozenset(
    """Abs Acos Acosh Asin Asinh Atan Atanh Cast CastLike Ceil Celu Clip Cos Cosh Dropout Elu Erf Exp Floor Gelu
    HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Log Mish Neg Not Reciprocal Relu Round Selu Shrink Sigmoid Sign
    Sin Sinh Softplus Softsign Sqrt Tan Tanh ThresholdedRelu""".split()
)
"""They treat each element of their first input by itself; further inputs are numbers for all elements."""

BROADCASTING = frozenset(
    """Add And Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod Mul Or Pow PRelu Sub Sum Where
    Xor""".split()
)
"""They treat the elements of their inputs together that meet when the inputs are broadcast."""


ELEMENTWISE = frozenset({"Quant", "BipolarQuant", "FloatQuant", "Trunc"})
"""Our operators that treat each element of X by itself, with parameters that broadcast to it."""
