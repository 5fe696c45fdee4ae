"""Traits: what an operator is like; STANDARD: the one table of these facts for the standard operators.

A fact holds for every node of the operator as it stands in a model that is run: a Dropout or BatchNormalization that
trains is none of these. It holds for the first output, and for the first input where nothing else is said.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass


class Movement(enum.Enum):
    """Where an operator puts elements of its first input, of which alone its output is made."""

    ORDER = "keeps all elements in their order"
    PERMUTATION = "keeps all elements, in another order"
    SELECTION = "leaves elements out, or repeats them"
    MAXIMUM = "takes the largest element of each window"


class Monotone(enum.Enum):
    """How the output follows one input while the others stay."""

    RISING = "rising"
    FALLING = "falling"
    BY_PARAMETERS = "rising or falling, as other inputs and attributes say"


class MonotoneProof(enum.Enum):
    """What shows that the float32 results of an operator keep the order that its real ones have."""

    COMPOSITION = "each step is an operation of IEEE 754, whose rounding keeps order"
    WALK = "nothing but trying all of float32 in order; see `anybit.exact.walks`"


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What an operator is like; the defaults claim nothing.

    Attributes:
        elementwise: Each output element depends on the element of the first input at its place, and on what further
            inputs have there.
        broadcasting: It is elementwise, and its inputs are broadcast together; without it, further inputs of an
            elementwise operator are numbers for all elements.
        movement: Where it puts elements, if its output holds nothing but elements of its first input.
        keeps_channels: Channel c of the output, on axis 1, is made of channel c of the input alone.
        monotone: How the output follows each input, in order; the last entry holds of all further inputs of a
            broadcasting operator. None, or no entry, claims nothing. It is a fact of real arithmetic.
        proof: What shows that float32 keeps it.
        finite: Finite inputs make finite outputs, as long as no sum or product overflows the element type.
        homogeneous: f(a * x) = a * f(x) for every a > 0, exactly where a is a power of two and nothing overflows.
        sums: It adds products of elements of two inputs: it has an accumulator.
        transcendental: A library computes it by approximation, not by operations of IEEE 754 alone.
        retypes: The element type of the output is another one than that of the input.
        random: Equal inputs may make different outputs.
    """

    elementwise: bool = False
    broadcasting: bool = False
    movement: Movement | None = None
    keeps_channels: bool = False
    monotone: tuple[Monotone | None, ...] = ()
    proof: MonotoneProof = MonotoneProof.COMPOSITION
    finite: bool = False
    homogeneous: bool = False
    sums: bool = False
    transcendental: bool = False
    retypes: bool = False
    random: bool = False

    @property
    def keeps_elements(self) -> bool:
        """Whether the output holds all elements of the first input, each once."""
        return self.movement in (Movement.ORDER, Movement.PERMUTATION)

    def monotone_in(self, position: int) -> Monotone | None:
        """How the output follows the input at `position`; None where nothing is known of it."""
        if position < len(self.monotone):
            return self.monotone[position]
        return self.monotone[-1] if self.monotone and self.broadcasting else None


NO_TRAITS = Traits()
"""Of an operator of which nothing is known."""

QUANTIZER_TRAITS = Traits(
    elementwise=True,
    broadcasting=True,
    keeps_channels=True,
    monotone=(Monotone.RISING, None),
    finite=True,
)
"""Of our quantisers: they treat each element of X by itself, with parameters that broadcast to it.

They rise in X, where the scale is finite and not 0: what divides by it multiplies by it, too.
"""

_UNARY = frozenset(
    """Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Cast CastLike Ceil Celu Clip Cos Cosh Dropout Elu Erf Exp Floor
    Gelu HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Log Mish Neg Not Reciprocal Relu Round Selu Shrink
    Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu""".split()
)
_BROADCASTING = frozenset(
    """Add And BitShift BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min
    Mod Mul Or Pow PRelu Sub Sum Where Xor""".split()
)
_MOVEMENTS = {
    Movement.ORDER: "Flatten Identity Reshape Squeeze Unsqueeze",
    Movement.PERMUTATION: "DepthToSpace ReverseSequence SpaceToDepth Transpose",
    Movement.SELECTION: "Compress Expand Gather GatherElements GatherND Slice Split Tile",
    Movement.MAXIMUM: "GlobalMaxPool MaxPool",
}
_MOVES = frozenset(name for names in _MOVEMENTS.values() for name in names.split())
_POOLS = frozenset("AveragePool GlobalAveragePool GlobalLpPool GlobalMaxPool LpPool MaxPool".split())
_NORMALIZATIONS = frozenset(("BatchNormalization", "InstanceNormalization"))
_MONOTONE: Mapping[str, tuple[Monotone | None, ...]] = {
    **dict.fromkeys(
        """Acosh Add Asin Asinh Atan Atanh Ceil Celu Clip Elu Erf Exp Floor Identity Log Max Mean Min Relu Round Selu
        Sigmoid Sign Sinh Softplus Softsign Sqrt Sum Tanh""".split(),
        (Monotone.RISING,),
    ),
    "Acos": (Monotone.FALLING,),
    "Neg": (Monotone.FALLING,),
    "Sub": (Monotone.RISING, Monotone.FALLING),
    **dict.fromkeys("HardSigmoid LeakyRelu Mul ThresholdedRelu".split(), (Monotone.BY_PARAMETERS,)),
    **dict.fromkeys("BatchNormalization Div PRelu".split(), (Monotone.BY_PARAMETERS, None)),
}
_FINITE = frozenset(
    """Abs Add And ArgMax ArgMin Asinh Atan AveragePool BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast
    CastLike Ceil Celu Clip Compress Concat Constant ConstantOfShape Conv ConvInteger ConvTranspose Cos DepthToSpace
    DequantizeLinear Dropout Einsum Elu Equal Erf Expand Flatten Floor Gather GatherElements GatherND Gelu Gemm
    GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual HardSigmoid HardSwish Hardmax Identity IsInf IsNaN LeakyRelu
    Less LessOrEqual LogSoftmax MatMul MatMulInteger Max MaxPool Mean Min Mish Mul Neg Not Or PRelu Pad QuantizeLinear
    ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence
    Round Selu Shape Shrink Sigmoid Sign Sin Size Slice Softmax Softplus Softsign SpaceToDepth Split Squeeze Sub Sum
    Swish Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Where Xor""".split()
)
_HOMOGENEOUS = _MOVES | frozenset(
    """Abs AveragePool Dropout GlobalAveragePool LeakyRelu Neg PRelu ReduceL1 ReduceMax ReduceMean ReduceMin ReduceSum
    Relu""".split()
)
_SUMS = frozenset(
    """Conv ConvInteger ConvTranspose DeformConv Einsum Gemm MatMul MatMulInteger QLinearConv QLinearMatMul""".split()
)
_TRANSCENDENTAL = frozenset(
    """Acos Acosh Asin Asinh Atan Atanh Celu Cos Cosh Elu Erf Exp Gelu Log LogSoftmax Mish Pow ReduceLogSum
    ReduceLogSumExp Selu Sigmoid Sin Sinh Softmax Softplus Swish Tan Tanh""".split()
)
_WALKED = _TRANSCENDENTAL | {"Softsign"}  # x / (1 + |x|) rounds numerator and denominator apart
_RETYPES = frozenset(
    """ArgMax ArgMin Cast CastLike ConvInteger DequantizeLinear DynamicQuantizeLinear Equal Greater GreaterOrEqual IsInf
    IsNaN Less LessOrEqual MatMulInteger NonZero QuantizeLinear Shape Size""".split()
)
_RANDOM = frozenset("Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike".split())


def _movement_of(name: str) -> Movement | None:
    return next((m for m, names in _MOVEMENTS.items() if name in names.split()), None)


def _traits_of(name: str) -> Traits:
    elementwise = name in _UNARY or name in _BROADCASTING
    return Traits(
        elementwise=elementwise,
        broadcasting=name in _BROADCASTING,
        movement=_movement_of(name),
        keeps_channels=elementwise or name in _POOLS or name in _NORMALIZATIONS,
        monotone=_MONOTONE.get(name, ()),
        proof=MonotoneProof.WALK if name in _WALKED else MonotoneProof.COMPOSITION,
        finite=name in _FINITE,
        homogeneous=name in _HOMOGENEOUS,
        sums=name in _SUMS,
        transcendental=name in _TRANSCENDENTAL,
        retypes=name in _RETYPES,
        random=name in _RANDOM,
    )


_NAMED = (
    _UNARY | _BROADCASTING | _MOVES | _POOLS | _NORMALIZATIONS | _MONOTONE.keys() | _FINITE | _HOMOGENEOUS | _SUMS
) | (_TRANSCENDENTAL | _RETYPES | _RANDOM)
STANDARD: Mapping[str, Traits] = {name: _traits_of(name) for name in sorted(_NAMED)}
"""By name of a standard operator, what it is like; one that is not named claims nothing."""


def standard(holds: Callable[[Traits], object]) -> frozenset[str]:
    """The names of the standard operators whose traits satisfy a condition.

    Example:
        >>> sorted(standard(lambda t: t.movement is Movement.ORDER))
        ['Flatten', 'Identity', 'Reshape', 'Squeeze', 'Unsqueeze']
    """
    return frozenset(name for name, traits in STANDARD.items() if holds(traits))


MOVING = standard(lambda t: t.movement)
"""Standard operators whose output holds nothing but elements of their first input."""
UNARY = standard(lambda t: t.elementwise and not t.broadcasting)
"""They treat each element of their first input by itself; further inputs are numbers for all elements."""
BROADCASTING = standard(lambda t: t.broadcasting)
"""They treat the elements of their inputs together that meet when the inputs are broadcast."""
