"""write_selections: Slice, Split and Gather of the channels of integers, as a product with zeros and ones.

y_j = x_{i(j)} = sum_k S_jk x_k, S_jk = 1 where k = i(j), else 0; the quantiser of x again behind it, which keeps y
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.errors import Refusal
from anybit.graph.editor import Editor
from anybit.graph.walk import label, shape_of
from anybit.ops.calls import is_call
from anybit.ops.evaluate import EVALUATION_ERRORS, evaluate_node, known_value
from anybit.ops.operator import DOMAIN
from anybit.ops.quant import QUANT
from anybit.quantizers.quantizer import read_quant
from anybit.rounding import Rounding
from anybit.targets.handover import Rewrite

_MATRIX, _IMAGE = 2, 4
_MOST_BITS = 16  # x / scale is as near to its integer as float32 rounds
_MOST_NUMBERS = 2**24  # that float32 tells apart, and of the matrix


def write_selections(edit: Editor, rewrites: list[Rewrite]) -> None:
    """Replaces each selection of channels of a tensor that has one quantiser, in place."""
    for node in edit.nodes("Slice", "Split", "Gather"):
        x = node.inputs[0]
        quantizer = None if x is None else _quantizer(x, edit.model)
        chosen = None if x is None or quantizer is None else _chosen(node, edit.model)
        if x is None or quantizer is None or chosen is None:
            continue
        rewrites.append(Rewrite(problem="a product with zeros and ones in its place", node=label(node)))
        for made, channels in zip(node.outputs, chosen, strict=True):
            if made.uses() or made.is_graph_output():
                edit.replace(made, _Selection(edit, x, made, channels).nodes(quantizer), before=node)


def _quantizer(x: ir.Value, model: ir.Model) -> ir.Node | None:
    """The Quant of one scale and zero point that makes a computed tensor."""
    node = x.producer()
    if node is None or not is_call(node, QUANT) or known_value(x, model.opset_imports) is not None:
        return None
    quantizer = read_quant(node, model)
    if isinstance(quantizer, Refusal) or quantizer.is_bipolar or quantizer.grid is None:
        return None
    if quantizer.grid.bits > _MOST_BITS:
        return None
    return node if quantizer.scale.size == quantizer.zero_point.size == 1 else None


def _chosen(node: ir.Node, model: ir.Model) -> list[Array] | None:
    """For each output the channels that it has; None where it has anything else, or a matrix of them is too large.

    Its own kernel tells, on the numbers of the elements.
    """
    x = node.inputs[0]
    shape = None if x is None else shape_of(x)
    known = [known_value(v, model.opset_imports) for v in node.inputs[1:]]
    unknown = any(k is None and v is not None for k, v in zip(known, node.inputs[1:], strict=True))
    if unknown or shape is None or len(shape) not in (_MATRIX, _IMAGE):
        return None
    sizes = [n or 0 for n in shape]
    if not 0 < math.prod(sizes) <= _MOST_NUMBERS:
        return None
    numbers = np.arange(math.prod(sizes), dtype=np.float32).reshape(sizes)
    try:
        taken = evaluate_node(node, [numbers, *known], model.opset_imports, most=_MOST_NUMBERS)
    except EVALUATION_ERRORS:
        return None
    chosen: list[Array] = []
    for array in taken or ():
        if array.ndim != len(sizes) or not array.size:
            return None
        first = array[(0, slice(None), *[0] * (len(sizes) - 2))]
        channels = (first // math.prod(sizes[2:])).astype(np.int64)
        if (channels >= sizes[1]).any() or not np.array_equal(array, numbers[:, channels]):
            return None
        chosen.append(channels)
    return chosen if chosen and max(map(len, chosen)) * sizes[1] <= _MOST_NUMBERS else None


@dataclass(frozen=True)
class _Selection:
    """One output of a selection, by the channels of x that it has."""

    edit: Editor
    x: ir.Value
    made: ir.Value
    channels: Array

    def nodes(self, quantizer: ir.Node) -> list[ir.Node]:
        """The matrix with its quantiser, the product with it, and the quantiser of x.

        On its own levels the latter rounds to the nearest, whatever its mode was.
        """
        name, sizes = self.made.name, [n or 0 for n in shape_of(self.x) or ()]
        matrix = np.zeros((len(self.channels), sizes[1]), np.float32)
        matrix[np.arange(len(self.channels)), self.channels] = 1
        image = len(sizes) == _IMAGE
        matrix = matrix[:, :, None, None] if image else matrix.T.copy()
        parameters = [
            self.edit.constant(f"{name}/{what}", np.asarray(number, np.float32))
            for what, number in (("scale", 1), ("zero_point", 0), ("bits", 2))
        ]
        ones = self.edit.constant(f"{name}/chosen", matrix)
        weights = self._quant("weights", [ones, *parameters], {"signed": 1, "narrow": 1})
        weights.outputs[0].shape = ir.Shape(matrix.shape)
        window = {"kernel_shape": ir.AttrInt64s("kernel_shape", [1, 1])} if image else {}
        operands = [self.x, weights.outputs[0]]
        operator = "Conv" if image else "MatMul"
        product = self.edit.node(operator, operands, f"{name}/selected", like=self.made, attributes=window)
        flags = {flag: quantizer.attributes.get_int(flag, default) for flag, default in (("signed", 1), ("narrow", 0))}
        return [weights, product, self._quant("kept", [product.outputs[0], *quantizer.inputs[1:]], flags)]

    def _quant(self, what: str, operands: Sequence[ir.Value | None], flags: Mapping[str, int]) -> ir.Node:
        attributes: dict[str, ir.Attr] = {flag: ir.AttrInt64(flag, number) for flag, number in flags.items()}
        attributes["rounding_mode"] = ir.AttrString("rounding_mode", Rounding.ROUND.value)
        name = f"{self.made.name}/{what}"
        return self.edit.node(QUANT.name, operands, name, like=self.made, domain=DOMAIN, attributes=attributes)
