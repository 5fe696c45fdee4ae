"""threshold: the levels of a quantiser as a MultiThreshold of the whole numbers behind it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.tensor_values import Float64s, IntegerGrid
from anybit.errors import Refusal
from anybit.exact.chain import Chain, step_function_of
from anybit.exact.numbers import Floats, Integers, Pairs
from anybit.exact.step_function import Proof, StepFunction
from anybit.formats.thresholds.emit import LAYOUTS, Written, integer_type
from anybit.formats.thresholds.residual_add import pair_rows
from anybit.formats.thresholds.rows import Levels, Rows, Ties, rows_of
from anybit.graph.annotations import annotate_number_format
from anybit.graph.walk import label, shape_of
from anybit.quantizers.quantizer import read_quant

_MOST_TRIED = 1 << 20
_MATRIX = 2
_MERGED = frozenset(("Conv", "MatMul"))
"""FINN has bipolar thresholds only as part of these; elsewhere -1 and 1 are integers of two bits."""


@dataclass(frozen=True)
class ThresholdLayer:
    """What became of one quantiser.

    Attributes:
        node: The quantiser.
        tensor: Name of the tensor whose numbers are compared.
        rows: Number of rows of thresholds.
        steps: Thresholds in each row.
        integers: Whether they are whole numbers.
        lo: Smallest number that occurs; places of float32 numbers where they are not whole.
        hi: Largest one.
        proof: How the thresholds were shown to be right for all of them.
        ties: Sums whose level float32 leaves open; None where it decides every level.
    """

    node: str
    tensor: str
    rows: int
    steps: int
    integers: bool
    lo: float
    hi: float
    proof: Proof
    ties: Ties | None = None


def declared_levels(node: ir.Node, model: ir.Model) -> Levels | None:
    """The levels of a Quant or BipolarQuant, zero point taken off; None for another quantiser."""
    quantizer = read_quant(node, model)
    if isinstance(quantizer, Refusal):
        return None
    lo, hi = (bound - quantizer.zero_point for bound in (quantizer.lo, quantizer.hi))
    return Levels(int(lo.min()), int(hi.max()), quantizer.is_bipolar and not quantizer.zero_point.any())


def threshold(
    written: Written,
    node: ir.Node,
    chain: Chain,
    grid: IntegerGrid | None,
    declared: Levels | None,
    *,
    ties: bool = False,
) -> tuple[Integers, ThresholdLayer | None] | Refusal:
    """The numbers at the end of a chain, and how they are made; no layer where they are those that it starts from.

    Args:
        written: What is added to the model.
        node: The last node of the chain.
        chain: Its numbers, and the nodes up to this one.
        grid: The proven grid of its output.
        declared: The levels of a quantiser; None for those that the grid has.
        ties: Whether the level of a sum may be that of the sum rounded once, where float32 leaves it open.
    """
    output = node.outputs[0]
    centred = None if grid is None else grid.centred()
    rank = len(shape_of(output) or ())
    if grid is None or centred is None or rank < _MATRIX:
        return Refusal(
            problem="its levels are no integers by channel",
            node=label(node),
            expected="whole zero points, an axis for the batch",
        )
    place = _axis_of(grid.scale, rank)
    if grid.scale.size > 1 and (place is None or (chain.channels > 1 and place != chain.axis)):
        return Refusal(problem="a scale that is not one by channel", node=label(node))
    axis = chain.axis if chain.channels > 1 else place
    if axis is not None and rank > _MATRIX and (rank, axis) not in LAYOUTS:
        return Refusal(problem="channels along an axis that no layout has", node=label(node), got=f"{axis} of {rank}")
    levels = declared or Levels(int(centred.lo.min()), int(centred.hi.max()))
    levels = replace(levels, hi=max(levels.hi, levels.lo + 1))  # a row has a threshold, and be it out of reach
    scale, root = grid.scale.reshape(-1), chain.root
    if not isinstance(root, Pairs):
        same = _unchanged(step_function_of(chain, root, scale, node), root, scale, axis)
        if same is not None:
            written.roots[output] = same
            return same, None
    rows = _rows(chain, scale, levels, node, ties=ties)
    if isinstance(rows, Refusal):
        return rows
    source, ends = _source(written, node, chain, rows)
    whole, maker = not isinstance(root, Floats), source.producer()
    if levels.bipolar and whole and (maker is None or maker.op_type not in _MERGED):
        rows, levels = replace(rows, thresholds=np.repeat(rows.thresholds, 2, axis=1)), Levels(-1, 1)
    value = written.multi_threshold(node, source, rows, levels, axis, whole=whole)
    numbers = Integers(
        value,
        axis if scale.size > 1 else None,
        scale,
        np.full(1, float(levels.lo)),
        np.full(1, float(levels.hi)),
        parity=1 if levels.bipolar else None,
    )
    written.roots[output] = numbers
    count, steps = rows.thresholds.shape
    return numbers, ThresholdLayer(label(node), str(source.name), count, steps, whole, *ends, rows.proof, rows.ties)


def _rows(chain: Chain, scale: Float64s, levels: Levels, node: ir.Node, *, ties: bool) -> Rows | Refusal:
    if isinstance(chain.root, Pairs):
        return pair_rows(chain, chain.root, scale, levels, node, ties=ties)
    return rows_of(chain, chain.root, scale, levels, node, ties=ties)


def _source(written: Written, node: ir.Node, chain: Chain, rows: Rows) -> tuple[ir.Value, tuple[float, float]]:
    """The tensor that is compared with the thresholds, and the ends of what it holds."""
    root = chain.root
    if isinstance(root, Pairs):
        sign = int(rows.sign[0])
        p, q = rows.multipliers or (1, 1)
        value = written.sum_of(node, node.outputs[0], root, (sign * p, sign * q))
        ends = [sign * (p * a + q * b) for a, b in ((root.a.lo, root.b.lo), (root.a.hi, root.b.hi))]
        lo, hi = float(np.minimum(*ends).min()), float(np.maximum(*ends).max())
        annotate_number_format(value, integer_type(lo, hi))
        return value, (lo, hi)
    if (rows.sign < 0).any():
        _, root = written.negated(chain, root, rows.sign, node)
    return root.value, (float(root.lo.min()), float(root.hi.max()))


def _unchanged(function: StepFunction, root: Integers | Floats, scale: Float64s, axis: int | None) -> Integers | None:
    """The numbers themselves, where they are the levels."""
    if isinstance(root, Floats) or not root.is_exact or function.total > _MOST_TRIED:
        return None
    ends, every = np.stack(function.ends), function.every()
    if not np.array_equal(function(ends), ends) or not np.array_equal(function(every), every):
        return None
    size = max(scale.size, root.lo.size)
    along = None if size == 1 else root.axis if root.axis is not None else axis
    return Integers(root.value, along, np.broadcast_to(scale, size), root.lo, root.hi, parity=root.parity)


def _axis_of(scale: Float64s, rank: int) -> int | None:
    """The axis along which a scale varies, if it is one behind that of the batch."""
    long = [i for i, n in enumerate(scale.shape) if n != 1]
    place = rank - scale.ndim + long[0] if len(long) == 1 else 0
    return place or None
