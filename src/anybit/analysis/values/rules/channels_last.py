"""Operators on tensors whose channels are the last axis: the rules of the standard ones, their axes in other places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from anybit.analysis.values.rules import normalization, pooling, products
from anybit.analysis.values.tensor_values import Shape, TensorValues, aligned
from anybit.analysis.values.transfer import NodeContext, Rule, Rules
from anybit.arrays import Array
from anybit.ops.channels_last.layout import to_first, to_last


def _channels_last(rule: Rule, turned: Sequence[int] = (0,)) -> Rule:
    """The rule on tensors whose channels are moved to axis 1; `turned` are the inputs that have the layout."""

    def moved(site: NodeContext) -> TensorValues:
        rank = len(site.shape(0))
        inputs = [_turned(v, to_first(rank)) if i in turned else v for i, v in enumerate(site.inputs)]
        shapes = [_reordered(s, to_first(rank)) if i in turned else s for i, s in enumerate(site.shapes)]
        outputs = tuple(_reordered(s, to_first(rank)) for s in site.output_shapes)
        results = rule(replace(site, inputs=tuple(inputs), shapes=tuple(shapes), output_shapes=outputs))
        result = results if isinstance(results, TensorValues) else results[0]
        sums = site.accumulators.get(site.node)
        if sums is not None:
            scale, lo, hi = (_reordered_axes(a, to_last(rank)) for a in (sums.scale, sums.lo, sums.hi))
            site.accumulators[site.node] = replace(sums, scale=scale, lo=lo, hi=hi)
        return _turned(result, to_last(rank)) or result

    return moved


def _turned(values: TensorValues | None, order: tuple[int, ...]) -> TensorValues | None:
    if values is None:
        return None

    constant = values.constant
    moved = values.moved(lambda array: _reordered_axes(array, order))
    return replace(moved, constant=None if constant is None else constant.transpose(order))


def _reordered_axes(array: Array, order: tuple[int, ...]) -> Array:
    return aligned(array, len(order)).transpose(order) if array.ndim else array


def _reordered(shape: Shape | None, order: tuple[int, ...]) -> Shape | None:
    return None if shape is None else tuple(shape[a] for a in order)


RULES: Rules = {
    "AveragePool": _channels_last(pooling.average_pool),
    "BatchNormalization": _channels_last(normalization.RULES["BatchNormalization"]),
    "Conv": _channels_last(products.conv, (0, 1)),
    "GlobalAveragePool": _channels_last(pooling.global_average_pool),
    "MaxPool": _channels_last(pooling.max_pool),
}
