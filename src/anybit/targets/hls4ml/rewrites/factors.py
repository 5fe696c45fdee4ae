"""Scalar factors move behind what they commute with, so that products read the quantiser's integers.

MatMul(Mul(q, s), w) = Mul(MatMul(q, w), s)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.tensor_values import Float64s
from anybit.arrays import as_float64
from anybit.ops.channels_last.layout import DOMAIN as CHANNELS_LAST
from anybit.targets.hls4ml.repairs import Repairs, Step, split

# What commutes with a positive factor: all of it is linear, or piecewise linear around 0.
_SAME = 2.0**-21  # relative distance of factors that are the same but for a few roundings to float32
_SMALLEST, _LARGEST = 2.0**-126, 2.0**127  # powers of two that float32 has
_COMMUTING = frozenset(("Reshape", "Flatten", "Transpose", "Relu", "LeakyRelu", "MaxPool", "MatMul", "Conv"))


def move_factors(repairs: Repairs) -> None:
    """Moves each multiplication by one positive number down, past every operator that it commutes with."""
    moved = 0
    for node in list(repairs.model.graph):
        rule = _RULES.get(node.op_type, _one_input if node.op_type in _COMMUTING else None)
        factor = None if rule is None or node.domain not in ("", CHANNELS_LAST) else rule(node)
        if factor is None:
            continue
        for position, value in enumerate(node.inputs):
            made = None if value is None else value.producer()
            known = _scalar(made)
            if made is not None and known is not None and known == factor:
                repairs.edit.rewire(node, position, made.inputs[0])
        repairs.behind(node, [Step("Mul", (np.asarray(factor, np.float32),))])
        moved += 1
        repairs.add(node, "a factor moves from its input to its output", got=f"{factor:g}")


def merge_factors(repairs: Repairs) -> None:
    """Makes one factor of several in a row where together they are a power of two, but for float32's rounding.

    A step between two grids that cancels in exact arithmetic then cancels in hls4ml, too.
    """
    for node in repairs.nodes("Mul", "Div"):
        chain = _chain(node)
        if len(chain) < 2:
            continue
        first, total = chain[0], np.ones((), np.float64)
        for step in chain:
            operand = _operand(step)
            total = total / operand if step.op_type == "Div" else total * operand
        if not ((total >= _SMALLEST) & (total <= _LARGEST)).all():
            continue
        snapped = np.exp2(np.rint(np.log2(total)))
        if (np.abs(total - snapped) > snapped * _SAME).any():
            continue
        x = first.inputs[0]
        repairs.add(node, "the factors before it are one power of two", got=f"{float(snapped.max()):g}")
        if x is not None:
            repairs.replace(node, x, [Step("Mul", (snapped.astype(np.float32),))])


def _chain(last: ir.Node) -> list[ir.Node]:
    """The positive factors in a row that end with this one, none of them read elsewhere, in order."""
    chain = [last]
    if any(u.op_type in ("Mul", "Div") and split(u) is not None for u, _ in last.outputs[0].uses()):
        return []  # it is not the last one
    while True:
        value = chain[0].inputs[0]
        before = None if value is None else value.producer()
        alone = value is not None and len(value.uses()) == 1 and not value.is_graph_output()
        if before is None or not alone or before.op_type not in ("Mul", "Div"):
            break
        chain.insert(0, before)
    return chain if all(_is_factor(n) for n in chain) else []


def _is_factor(node: ir.Node) -> bool:
    known = split(node)
    return known is not None and known[2] == 1 and bool((known[1] > 0).all())


def _operand(node: ir.Node) -> Float64s:
    known = split(node)
    return np.ones(()) if known is None else as_float64(known[1])


def _one_input(node: ir.Node) -> float | None:
    if node.op_type == "Conv" and len(node.inputs) > 2:
        return None  # the bias would have to be divided
    return _scalar(None if node.inputs[0] is None else node.inputs[0].producer())


def _equal_inputs(node: ir.Node) -> float | None:
    """The factor of both addends, None where they have none in common."""
    factors = [_scalar(None if v is None else v.producer()) for v in node.inputs]
    return factors[0] if len(factors) == 2 and factors[0] == factors[1] else None


def _scalar(node: ir.Node | None) -> float | None:
    """The factor of a multiplication by one positive number, which is its second input."""
    known = split(node) if node is not None and node.op_type == "Mul" else None
    if known is None or known[2] != 1 or known[1].size != 1:
        return None
    factor = float(known[1].reshape(()))
    return factor if factor > 0 and factor != 1 else None


_RULES: dict[str, Callable[[ir.Node], float | None]] = {"Add": _equal_inputs, "Sub": _equal_inputs}
