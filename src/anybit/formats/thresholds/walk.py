"""Flow: the walk over a hub model that follows whole numbers from product to quantiser, and writes them.

For every tensor of the hub that whole numbers stand behind, the numbers are a tensor of the written model: sums of
integer products, levels of MultiThreshold, sums of pooling windows. Whatever else reads such a tensor gets them
multiplied by the scale.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.interpreter import Values
from anybit.errors import Refusal
from anybit.exact.chain import Chain, chain_of, extended, is_private, thresholded
from anybit.exact.integer_layers import PRODUCTS
from anybit.exact.numbers import Floats, Integers, Pairs
from anybit.formats.thresholds.levels import ThresholdLayer
from anybit.formats.thresholds.moves import MOVES, ORDERED, joined, map_of, moved
from anybit.formats.thresholds.numbers import Numbers
from anybit.formats.thresholds.sums import Sums
from anybit.graph.editor import Editor
from anybit.graph.walk import all_nodes, label, reads, shape_of
from anybit.ops.calls import is_call
from anybit.ops.float_quant import FLOAT_QUANT
from anybit.ops.multi_threshold import MULTI_THRESHOLD
from anybit.ops.operator import DOMAIN
from anybit.ops.registry import QUANTIZERS
from anybit.ops.zero_sign import refusal_where_told, tensors_of_told_zeros
from anybit.quantizers.quantizer import read_quant

_WITHOUT_FORM = frozenset(("ConvTranspose", "Einsum"))
_Result = Refusal | None


class Flow:
    """The walk.

    Attributes:
        refusals: Nodes that could not be written.
    """

    def __init__(self, edit: Editor, values: Values, *, ties: bool = False) -> None:
        """A walk over a hub model, to which `edit` adds nodes, and its analysis; see `write_layers` for `ties`."""
        self.model = edit.model
        self.refusals: list[Refusal] = []
        self._numbers = Numbers(edit, values, ties)
        self._sums = Sums(self._numbers)
        self._written = self._numbers.written
        self._opsets = self.model.opset_imports
        self._varying = set(self.model.graph.inputs)
        self._told = tensors_of_told_zeros(self.model)
        self._rules: dict[str, Callable[[ir.Node], _Result]] = {
            **dict.fromkeys(PRODUCTS, self._sums.product),
            **dict.fromkeys(_WITHOUT_FORM, self._sums.without_form),
            **dict.fromkeys(MOVES, self._move),
            **dict.fromkeys(("AveragePool", "GlobalAveragePool"), self._sums.pool),
            "Cast": self._cast,
            "Concat": self._concat,
        }

    @property
    def layers(self) -> tuple[ThresholdLayer, ...]:
        """Quantisers that were written."""
        return tuple(self._numbers.layers)

    def run(self) -> None:
        """Writes everything that can be written."""
        self._opsets.setdefault(DOMAIN, 1)
        for value in self.model.graph.inputs:
            self._numbers.declare(value)
        for node in list(self.model.graph):
            if self._varying.isdisjoint(reads(node)):
                continue
            self._varying.update(node.outputs)
            found = self._node(node)
            if found is not None:
                self.refusals.append(found)
        for node in all_nodes(self.model.graph):
            if node.graph is not self.model.graph and is_call(node, *QUANTIZERS):
                self.refusals.append(Refusal(problem="it stands in a subgraph", node=label(node)))
        self._written.realise()

    def _node(self, node: ir.Node) -> _Result:
        if any(o in self._told for o in node.outputs) and not self._has_positive_zeros(node):
            return self._told_apart(node)
        if is_call(node, *QUANTIZERS, MULTI_THRESHOLD):
            return self._quantizer(node)
        if node.domain != "" or len(node.outputs) != 1:
            return None
        return self._rules.get(node.op_type, self._elementwise)(node)

    def _has_positive_zeros(self, node: ir.Node) -> bool:
        """Whether a node is a quantiser that never makes -0, as MultiThreshold never does."""
        quantizer = read_quant(node, self.model)
        return not isinstance(quantizer, Refusal) and not quantizer.makes_negative_zeros

    def _told_apart(self, node: ir.Node) -> _Result:
        """Leaves a node whose result stays real, as an operator tells -0 from +0 in it."""
        quantizes = is_call(node, *QUANTIZERS)
        multiplies = node.domain == "" and node.op_type in PRODUCTS and self._numbers.has_quantized_operand(node)
        refusal = refusal_where_told(node.outputs[0], self._told) if quantizes or multiplies else None
        return None if refusal is None else replace(refusal, node=label(node))

    def _cast(self, node: ir.Node) -> _Result:
        x = node.inputs[0]
        if x is not None and x.dtype == ir.DataType.FLOAT:
            return self._elementwise(node)
        self._numbers.declare(node.outputs[0])
        return None

    # --- element by element

    def _elementwise(self, node: ir.Node) -> _Result:
        positions = [i for i, v in enumerate(node.inputs) if v is not None and v in self._varying]
        if node.op_type == "Add" and positions == [0, 1]:
            return self._add(node)
        x = node.inputs[positions[0]] if len(positions) == 1 else None
        if x is None or x.dtype != ir.DataType.FLOAT:
            return None
        found = extended(self._numbers.chains.get(x) or chain_of(Floats(x)), node, positions[0], self._opsets)
        # else the tensor is real: what quantises it compares real numbers, which are too many to try one by one
        if isinstance(found, Chain) and not (isinstance(found.root, Floats) and found.rising is None):
            self._numbers.chains[node.outputs[0]] = found
        return None

    def _add(self, node: ir.Node) -> _Result:
        a, b = (None if v is None else self._numbers.integers_of(v) for v in node.inputs)
        first, second = (None if v is None else shape_of(v) for v in node.inputs)
        if not isinstance(a, Integers) or not isinstance(b, Integers) or first != second or first is None:
            return None
        axes = {p.axis for p in (a, b) if p.axis is not None}
        if len(axes) == 1 or not axes:
            self._numbers.chains[node.outputs[0]] = chain_of(Pairs(a, b, node.outputs[0]))
        return None

    # --- movement

    def _move(self, node: ir.Node) -> _Result:
        x, output = node.inputs[0], node.outputs[0]
        chain = None if x is None else self._movable(x, node)
        if x is None or chain is None or any(v in self._varying for v in node.inputs[1:] if v is not None):
            return None
        root, place = chain.root, map_of(node, chain.axis, chain.channels, self._opsets)
        if isinstance(place, Refusal) or not isinstance(root, Integers):
            return None
        if node.op_type in ORDERED and chain.rising is not None and (chain.rising < 0).any():
            chain, root = self._written.negated(chain, root, np.sign(chain.rising), node)
        if not isinstance(root, Integers):  # negation keeps what it is
            return None
        inputs = [root.value, *node.inputs[1:]]
        value = self._written.put(node, node.op_type, inputs, f"{output.name}/moved", output, dict(node.attributes))
        private, zeros = is_private(chain, x), node.op_type == "Pad"
        behind = moved(chain, root, place, value, zeros=zeros, private=private)
        self._numbers.chains[output] = behind
        if isinstance(behind.root, Integers):
            self._written.annotate(behind.root)
        if behind.plain is not None:
            self._written.roots[output] = behind.plain
        return None

    def _movable(self, x: ir.Value, node: ir.Node) -> Chain | None:
        """The chain behind a tensor, if the operator can be applied to the numbers that it starts from."""
        chain = self._numbers.chains.get(x)
        if chain is None or isinstance(chain.root, Floats):
            return None
        needs_numbers = node.op_type == "Pad" or isinstance(chain.root, Pairs)
        if not needs_numbers:
            return None if node.op_type in ORDERED and chain.rising is None else chain
        numbers = self._numbers.integers_of(x)
        return chain_of(numbers) if isinstance(numbers, Integers) and numbers.bias is None else None

    def _concat(self, node: ir.Node) -> _Result:
        known = [
            p
            for p in (None if v is None else self._numbers.integers_of(v) for v in node.inputs)
            if isinstance(p, Integers)
        ]
        if len(known) < len(node.inputs):
            return None
        output = node.outputs[0]
        found = joined(node, known, output)
        if isinstance(found, Refusal):
            return found
        parts = [p.value for p in known]
        value = self._written.put(node, "Concat", parts, f"{output.name}/joined", output, dict(node.attributes))
        self._numbers.keep(output, replace(found, value=value))
        return None

    # --- levels

    def _quantizer(self, node: ir.Node) -> _Result:
        x, output = node.inputs[0], node.outputs[0]
        if x is None or x.dtype != ir.DataType.FLOAT:
            return Refusal(problem="element type of X", node=label(node), expected="FLOAT")
        if is_call(node, FLOAT_QUANT):
            return Refusal(problem="minifloats are no levels of integers", node=label(node))
        extend = thresholded if is_call(node, MULTI_THRESHOLD) else lambda c, n, o: extended(c, n, 0, o)
        chain = extend(self._numbers.chains.get(x) or chain_of(Floats(x)), node, self._opsets)
        if isinstance(chain, Refusal):
            return chain
        found = self._numbers.threshold(output, chain, quantizer=True)
        if not isinstance(found, Refusal) or found.node == label(node):
            return found if isinstance(found, Refusal) else None
        return replace(found, node=label(node), got=", ".join(part for part in (found.node, found.got) if part))
