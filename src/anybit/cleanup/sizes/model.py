"""sizes_of: the sizes of a model; reshape_target: a shape as the second input of a Reshape."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from anybit.cleanup.sizes.contents import contents_rule
from anybit.cleanup.sizes.formula import Formula
from anybit.cleanup.sizes.shapes import shape_rule
from anybit.cleanup.sizes.symbolic import Shape, SymbolicSizes
from anybit.io.shapes import Inference, infer_shapes


def sizes_of(model: ir.Model, inference: Inference | None = None) -> SymbolicSizes:
    """The sizes of all tensors of a model, whose types and shapes are inferred before, unless that has been done."""
    inference = infer_shapes(model, data_propagation=True) if inference is None else inference
    return SymbolicSizes(model, inference, shape_rule, contents_rule)


def reshape_target(shape: Sequence[Formula | None], source: Shape | None) -> list[int] | None:
    """What a Reshape is told to make a shape of a tensor: numbers, 0 for a size that stays, -1 for one other size.

    Args:
        shape: Dimensions, None for one that is not known.
        source: The shape before.

    Returns:
        None, where two sizes are neither numbers nor those of the same axis before, or a number is beyond int64.
    """
    target = [_entry(formula, axis, source) for axis, formula in enumerate(shape)]
    return target if target.count(-1) < 2 and max(target, default=0) < 1 << 63 else None


def _entry(formula: Formula | None, axis: int, source: Shape | None) -> int:
    if formula is not None and formula.number is not None:
        return formula.number
    kept = source is not None and axis < len(source) and formula is not None and source[axis] == formula
    return 0 if kept else -1
