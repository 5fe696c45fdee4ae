"""find_rule: the transfer rule of a node, from the files of `rules`, one for each family of operators."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from anybit.analysis.values.rules import (
    activations,
    arithmetic,
    channels_last,
    contributed,
    integer_products,
    linear_quantization,
    lowered,
    movement,
    normalization,
    pooling,
    products,
    quantizers,
    recurrent,
    reductions,
    resampling,
    selection,
)
from anybit.analysis.values.rules.recorded import bounds_of_record
from anybit.analysis.values.transfer import Rule, Rules
from anybit.ops.calls import operator_of
from anybit.ops.channels_last.layout import DOMAIN as CHANNELS_LAST
from anybit.ops.contributed import DOMAIN as CONTRIBUTED
from anybit.ops.operator import DOMAIN

_STANDARD: Rules = {
    name: rule
    for family in (
        activations,
        arithmetic,
        integer_products,
        linear_quantization,
        movement,
        normalization,
        pooling,
        products,
        recurrent,
        reductions,
        resampling,
        selection,
    )
    for name, rule in family.RULES.items()
}
_OURS: Mapping[str, Rules] = {DOMAIN: {**quantizers.RULES, **lowered.RULES}, CHANNELS_LAST: channels_last.RULES}


def find_rule(node: ir.Node, opsets: Mapping[str, int]) -> Rule | None:
    """The rule of the node's operator, from its family here or from its own record; None if there is none."""
    if node.domain == "":
        return _STANDARD.get(node.op_type)
    if node.domain == CONTRIBUTED:
        return contributed.RULES.get(node.op_type)
    operator = operator_of(node, opsets)
    if operator is None:
        return None
    return _OURS.get(operator.domain, {}).get(operator.name) or bounds_of_record(operator)
