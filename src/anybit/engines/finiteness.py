"""Finiteness: whether a model makes finite numbers of finite numbers, so that bytes can stand for its activations."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.graph.constants import constant, has_default
from anybit.graph.walk import all_nodes
from anybit.ops.calls import traits_of

# They divide by a deviation, to whose square they add epsilon first.
_NORMS = frozenset(
    "BatchNormalization GroupNormalization InstanceNormalization LayerNormalization RMSNormalization".split()
)


def stays_finite(model: ir.Model) -> bool:
    """Whether every operator makes finite numbers of finite numbers, as long as none overflows float32.

    Constants and defaults of inputs count as well: a mask of minus infinities makes NaN where it covers a whole row.
    """
    nodes = list(all_nodes(model.graph))
    constants = [constant(v) for v in dict.fromkeys(v for n in nodes for v in n.inputs)]
    defaults = [v.const_value.numpy() for v in model.graph.inputs if v.const_value is not None and has_default(v)]
    stay = all(_stays_finite(node, model.opset_imports) for node in nodes)
    return stay and all(map(_is_finite, (*constants, *defaults)))


def _stays_finite(node: ir.Node, opsets: Mapping[str, int]) -> bool:
    if node.domain == "" and node.op_type in _NORMS:
        epsilon = node.attributes.get("epsilon")
        return epsilon is None or epsilon.as_float() > 0
    divisor = constant(node.inputs[1]) if node.domain == "" and node.op_type == "Div" else None
    return traits_of(node, opsets).finite or (divisor is not None and bool(divisor.all()))


def _is_finite(array: Array | None) -> bool:
    if array is None or array.dtype.kind != "f":
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(array.sum()))  # no copy is made; a sum that overflows counts as infinite
