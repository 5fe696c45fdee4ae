"""Sums: products of whole numbers, and sums of pooling windows, in the place of those of the hub."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from anybit.errors import Refusal
from anybit.exact.integer_layers import IntegerProduct, read_product
from anybit.exact.numbers import Integers
from anybit.formats.thresholds.moves import window_of
from anybit.formats.thresholds.numbers import LARGEST_SUM, Numbers, has_one_sign, inexact, is_scaled_exactly
from anybit.formats.thresholds.rows import SAME
from anybit.graph.walk import label, shape_of
from anybit.number_formats import IntFormat
from anybit.ops.sizes import refuse_bytes


@dataclass(frozen=True)
class Sums:
    """Writes what adds up whole numbers.

    Attributes:
        numbers: The numbers that there are, to which the sums are added.
    """

    numbers: Numbers

    def product(self, node: ir.Node) -> Refusal | None:
        """A product of whole numbers in the place of one of quantised tensors."""
        if not self.numbers.has_quantized_operand(node):
            return None
        product = read_product(node, self.numbers.model.opset_imports, self.numbers.values, by_term=True)
        if isinstance(product, Refusal):
            return product
        x = node.inputs[0]
        numbers = None if x is None else self.numbers.integers_of(x)
        if not isinstance(numbers, Integers):
            return numbers or Refusal(problem="its input is no tensor of whole numbers", node=label(node))
        numbers = self.numbers.without_bias(numbers, node, exactly=False)  # a product means exact sums of integers
        if isinstance(numbers, Refusal):
            return numbers
        own = product.x.scale.reshape(-1)
        if (numbers.unit.size > 1 < own.size != numbers.unit.size) or (np.abs(numbers.unit / own - 1) > SAME).any():
            return Refusal(problem="its input has another scale than its integers", node=label(node))
        proven = product.accumulator.proven
        if max(proven.hi, proven.partial_hi, -proven.lo, -proven.partial_lo) >= LARGEST_SUM:
            return Refusal(problem="its sums do not fit into float32", node=label(node), got=str(proven.format))
        self._write_product(product, numbers)
        return None

    def _write_product(self, product: IntegerProduct, numbers: Integers) -> None:
        node, written = product.product, self.numbers.written
        old, like, is_conv = node.outputs[0], node.inputs[1], node.op_type == "Conv"
        grid = None if like is None else self.numbers.values[like].grid
        weights = written.weights(f"{old.name}/weights", product.weights, None if grid is None else grid.datatype)
        attributes = dict(node.attributes) if is_conv else {}
        name = f"{old.name}/sums"
        value = written.put(node, "Conv" if is_conv else "MatMul", [numbers.value, weights], name, old, attributes)
        odd = numbers.parity == 1 and bool((np.abs(product.weights) % 2 == 1).all()) and not _is_padded(node)
        self.numbers.keep(
            old,
            Integers(
                value,
                1 if is_conv else len(shape_of(old) or (0, 0)) - 1,
                product.scale,
                product.lo,
                product.hi,
                product.bias,
                parity=product.accumulator.terms % 2 if odd else None,
                mac=value.producer() if len(old.uses()) == 1 and not old.is_graph_output() else None,
            ),
        )

    def without_form(self, node: ir.Node) -> Refusal | None:
        """Refuses an operator that multiplies quantised tensors."""
        if not any(v is not None and self.numbers.values[v].grid is not None for v in node.inputs[:2]):
            return None
        return Refusal(problem="there is no form of this operator for integers", node=label(node))

    def pool(self, node: ir.Node) -> Refusal | None:
        """The sums of windows, by a convolution of ones, in the place of their means."""
        written = self.numbers.written
        x, output = node.inputs[0], node.outputs[0]
        numbers = None if x is None else self.numbers.integers_of(x)
        if x is None or not isinstance(numbers, Integers) or numbers.bias is not None:
            return None
        window = window_of(node)
        if isinstance(window, Refusal):
            return window
        kernel, attributes = window
        channels, count = (shape_of(x) or (1, 1))[1] or 1, int(np.prod(kernel))
        ends = [np.minimum(numbers.lo * count, 0), np.maximum(numbers.hi * count, 0)]
        lo, hi = ends if "pads" in attributes else (numbers.lo * count, numbers.hi * count)
        if max(np.abs(lo).max(), np.abs(hi).max()) >= LARGEST_SUM:
            return Refusal(problem="its sums do not fit into float32", node=label(node))
        refuse_bytes(8 * channels * count, label(node))
        ones = written.weights(f"{output.name}/ones", np.ones((channels, 1, *kernel)), IntFormat(1, signed=False))
        attributes |= {
            "group": ir.AttrInt64("group", channels),
            "kernel_shape": ir.AttrInt64s("kernel_shape", kernel),
        }
        value = written.put(node, "Conv", [numbers.value, ones], f"{output.name}/sums", output, attributes)
        sums = replace(
            numbers, value=value, lo=lo, hi=hi, divisor=numbers.divisor * count, parity=None, mac=None, total=None
        )
        if not is_scaled_exactly(numbers):
            sums = inexact(
                sums,
                magnitude=float(np.maximum(-lo, hi).max()),
                relative=numbers.relative_error,
                steps=numbers.step_error * count,
                one_sign=has_one_sign(numbers),
            )
        self.numbers.keep(output, sums)
        return None


def _is_padded(node: ir.Node) -> bool:
    """Whether a Conv adds zeros at the border."""
    auto = node.attributes.get_string("auto_pad", "NOTSET") if node.op_type == "Conv" else "NOTSET"
    pads = node.attributes.get("pads")
    return auto not in ("NOTSET", "VALID") or (pads is not None and any(pads.as_ints()))
