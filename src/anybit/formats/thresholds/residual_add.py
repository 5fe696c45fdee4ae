"""pair_rows: the thresholds of a sum of two tensors, as a residual Add makes it."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.tensor_values import Float64s
from anybit.errors import Refusal
from anybit.exact.chain import Chain, levels_of
from anybit.exact.numbers import Integers, Pairs
from anybit.exact.step_function import MOST_INTEGERS, Proof, not_a_number
from anybit.formats.thresholds.rows import EXACT, SAME, Levels, Rows, shared, ties_of
from anybit.graph.walk import label

_DENOMINATORS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256, 512, 1024, 4096)


def pair_rows(
    chain: Chain, pairs: Pairs, scale: Float64s, levels: Levels, node: ir.Node, *, ties: bool = False
) -> Rows | Refusal:
    """The thresholds of p * a + q * b, for the smallest whole p and q whose sums decide every pair's level."""
    a, b = (_every(part) for part in (pairs.a, pairs.b))
    if len(a) * len(b) * chain.channels > MOST_INTEGERS:
        return Refusal(problem="too many pairs of numbers to try", node=label(node), got=f"{len(a)} * {len(b)}")
    left, right = np.repeat(a, len(b)), np.tile(b, len(a))
    reals = pairs.a.reals(left[:, None]) + pairs.b.reals(right[:, None])
    reached = levels_of(chain, reals, scale)
    if np.isnan(reached).any():
        return not_a_number(label(node))
    if not _is_certain(chain, pairs, scale, (left[:, None], right[:, None], reached)):
        return Refusal(
            problem="float rounding before it decides between two levels",
            node=label(node),
            hint="use scales that are powers of two, or Trunc",
        )
    falls = chain.rising is not None and (chain.rising < 0).all()
    sign = np.full(chain.channels, -1.0 if falls else 1.0)
    for p, q in _multipliers(pairs):
        sums = (p * left + q * right) * sign[0]
        found = _ordered(sums, reached, levels)
        if found is not None and np.abs(sums).max(initial=0) < EXACT:
            return Rows(shared(found), sign, Proof.ENUMERATION, (p, q))
    tied = _tied_rows(chain, pairs, scale, levels, (left, right, reached), sign) if ties else None
    return tied or Refusal(
        problem="no whole multiples of its summands decide its levels",
        node=label(node),
        got=f"scales {float(pairs.a.unit[0]):g} and {float(pairs.b.unit[0]):g}",
        hint="give both summands one scale",
    )


def _is_certain(chain: Chain, pairs: Pairs, scale: Float64s, tried: tuple[Float64s, Float64s, Float64s]) -> bool:
    """Whether every pair has its level whatever rounding made of the two summands."""
    if pairs.a.is_exact and pairs.b.is_exact:
        return True
    if chain.rising is None:
        return False
    left, right, reached = tried
    ends = zip(pairs.a.ends(left), pairs.b.ends(right), strict=True)
    return all(np.array_equal(levels_of(chain, a + b, scale), reached) for a, b in ends)


def _tied_rows(
    chain: Chain,
    pairs: Pairs,
    scale: Float64s,
    levels: Levels,
    tried: tuple[Float64s, Float64s, Float64s],
    sign: Float64s,
) -> Rows | None:
    """The thresholds of sums rounded once, if pairs of one sum differ by one level at most; None if they do not."""
    p, q = next(_multipliers(pairs))
    left, right, reached = tried
    unit = pairs.a.unit / p
    if pairs.a.bias is not None or pairs.b.bias is not None or (np.abs(pairs.b.unit / q / unit - 1) > SAME).any():
        return None
    sums = p * left + q * right
    once = levels_of(chain, (sums[:, None] * unit).astype(np.float32), scale)
    found = _ordered(sums * sign[0], once, levels)
    if found is None or np.abs(once - reached).max(initial=0) > 1 or np.abs(sums).max(initial=0) >= EXACT:
        return None
    found_ties = ties_of(pairs.total, chain.axis, unit, sums[:, None], once != reached)
    return Rows(shared(found), sign, Proof.ENUMERATION, (p, q), found_ties)


def _every(numbers: Integers) -> Float64s:
    return np.arange(numbers.lo.min(initial=0), numbers.hi.max(initial=0) + 1)


def _multipliers(pairs: Pairs) -> Iterator[tuple[int, int]]:
    """Whole numbers whose ratio is, more and more closely, that of the scales."""
    ratio = Fraction(float(pairs.a.unit[0]) / float(pairs.b.unit[0]))
    tried = dict.fromkeys(ratio.limit_denominator(d) for d in _DENOMINATORS)
    inverse = dict.fromkeys(1 / r for d in _DENOMINATORS if (r := (1 / ratio).limit_denominator(d)))
    both = sorted({*(f for f in tried if f), *inverse}, key=lambda f: f.numerator + f.denominator)
    return ((f.numerator, f.denominator) for f in both)


def _ordered(sums: Float64s, reached: Float64s, levels: Levels) -> Float64s | None:
    """The thresholds of (pairs,) sums, if the (pairs, channels) levels rise with them."""
    order = np.argsort(sums, kind="stable")
    sums, reached = sums[order], reached[order]
    rise, step = np.diff(reached, axis=0), np.diff(sums)[:, None]
    if (rise < 0).any() or ((rise != 0) & (step == 0)).any():
        return None
    ends = np.append(sums, sums[-1] + 1)
    return np.stack([ends[(reached < level).sum(axis=0)] for level in levels.above_lowest], axis=1)
