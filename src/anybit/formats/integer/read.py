"""read_products: QLinearConv, QLinearMatMul, ConvInteger and MatMulInteger as products of the hub, exactly.

The hub's tensors hold the same integers, zero point taken off, as real numbers of scale 1: a product of them is exact
in float32 as long as no sum exceeds 2^24, and the multiplier is the float32 number that the operators use.

    QLinearConv:  Quant(Conv(x, Quant(w)) * multiplier), scale 1        ConvInteger, Cast:  Conv(x, Quant(w))

QuantizeLinear and DequantizeLinear at the ends divide and multiply by the scale; what they and the Clip between them
mean is left to `read_linear`, which comes after this.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.tensor_values import Float64s
from anybit.cleanup.infer_shapes import infer_missing
from anybit.errors import Refusal
from anybit.formats.dialect import Outcome
from anybit.formats.integer.matrix_convolution import rows_of
from anybit.formats.integer.products import OPERANDS, Product, product_of
from anybit.formats.integer.region import Region, bounds_of
from anybit.formats.zero_signs import Told, keep_positive_zeros
from anybit.graph.editor import Editor
from anybit.graph.walk import all_nodes, label
from anybit.ops.operator import DOMAIN
from anybit.ops.zero_sign import tensors_of_told_zeros
from anybit.quantizers.quantizer import Quantizer, enclosing_grid, quant_nodes

_LARGEST = 1 << 24  # float32 holds the sums exactly


def read_quantized(model: ir.Model) -> Outcome:
    """Makes hub nodes of QLinearConv and QLinearMatMul, in place.

    Returns:
        A refusal for each that stays.
    """
    return _read(model, ("QLinearConv", "QLinearMatMul"))


def read_integer(model: ir.Model) -> Outcome:
    """Makes hub nodes of ConvInteger and MatMulInteger whose sums are cast to float32, in place.

    Returns:
        A refusal for each that stays.
    """
    return _read(model, ("ConvInteger", "MatMulInteger"))


def _read(model: ir.Model, op_types: tuple[str, ...]) -> Outcome:
    nodes = [n for n in all_nodes(model.graph) if n.domain == "" and n.op_type in op_types]
    if not nodes:
        return Outcome()
    with Editor(model, rule="read") as edit:
        infer_missing(model, [v for n in nodes for v in (*n.inputs, *n.outputs)])
        found = [(n, _checked(n)) for n in nodes]
        products = [p for _, p in found if isinstance(p, Product)]
        region = Region(edit)
        for product in products:
            region.grow(product.x)
            if product.requantization is not None:
                region.grow(product.node.outputs[0])
        reader = _ProductReader(edit, tensors_of_told_zeros(model))
        for product in products:
            reader.apply(product)
        refusals = [*(p for _, p in found if isinstance(p, Refusal)), *region.apply()]
    if products:
        model.opset_imports.setdefault(DOMAIN, 1)
    return Outcome(tuple(refusals))


def _checked(node: ir.Node) -> Product | Refusal:
    product = product_of(node)
    if isinstance(product, Refusal):
        return product
    lo, hi = (b - product.x_zero_point for b in bounds_of(product.x))
    largest = product.largest_sum(min(lo, 0), max(hi, 0))
    if largest >= _LARGEST:
        return Refusal(
            problem="float32 does not hold its sums", node=label(node), got=f"{largest:.0f}", expected="below 2^24"
        )
    return product


@dataclass
class _ProductReader:
    edit: Editor
    told: Told
    made: dict[tuple[ir.Value, float, object], ir.Value] = field(
        default_factory=dict[tuple[ir.Value, float, object], ir.Value]
    )

    def apply(self, product: Product) -> None:
        """Puts hub nodes in the place of a product."""
        node = product.node
        x, y = node.inputs[0] or product.x, node.outputs[0]  # another product that makes x may be replaced by now
        rows = rows_of(product)
        if rows is not None:
            x, y, product = rows.x, rows.y, rows.product
        name = str(y.name)
        inputs: list[ir.Value | None] = [self._reals(product, x), self._weights(product)]
        bias = None if product.bias is None else product.bias.astype(np.float32)
        if bias is not None and product.is_conv:
            inputs.append(self.edit.constant(f"{name}/bias", bias))
        operator, attributes = ("Conv", node.attributes) if product.is_conv else ("MatMul", None)
        made = [self.edit.node(operator, inputs, f"{name}/sums", like=y, attributes=attributes)]
        if bias is not None and not product.is_conv:
            added = [made[0].outputs[0], self.edit.constant(f"{name}/bias", bias)]
            made.append(self.edit.node("Add", added, f"{name}/biased", like=y))
        for each in made:
            each.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        self.edit.insert(made, before=node, of=node)
        if product.requantization is None:
            self._end_in_casts(node, made[-1].outputs[0])
        else:
            self._requantize(product, y, made[-1].outputs[0])
        self.edit.discard(y)

    def _reals(self, product: Product, x: ir.Value) -> ir.Value:
        """The integers of the first operand, less their zero point, as real numbers."""
        key = (x, product.x_zero_point, product.node.graph)
        if key not in self.made:
            node = _linear(
                self.edit, "DequantizeLinear", x, product.x_zero_point, product.x.dtype, f"{x.name}/integers"
            )
            node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
            self.edit.insert(node, before=product.node)
            self.made[key] = node.outputs[0]
        return self.made[key]

    def _weights(self, product: Product) -> ir.Value:
        old = product.node.inputs[OPERANDS[product.node.op_type].weights]
        name = f"{product.node.outputs[0].name}/weights" if old is None else str(old.name)
        real = self.edit.constant(f"{name}/real", product.weights.astype(np.float32), like=old)
        lo, hi = (np.asarray(float(b)) for b in product.weight_bounds)
        quantizer = Quantizer(np.ones((), np.float32), np.zeros(()), lo, hi).between(lo, hi)
        if quantizer.grid is None:
            grid = enclosing_grid(lo, hi)
            quantizer = quantizer.between(grid.lo, grid.hi)
        nodes = quant_nodes(self.edit, real, quantizer, name)
        self.edit.insert(nodes, before=product.node)
        return nodes[-1].outputs[0]

    def _end_in_casts(self, node: ir.Node, sums: ir.Value) -> None:
        for cast in {user: None for user, _ in node.outputs[0].uses()}:
            old = cast.outputs[0]
            keep_positive_zeros(self.edit, old, sums, self.told)
            if old.is_graph_output():
                self.edit.replace(old, self.edit.node("Identity", [sums], f"{old.name}/copy", like=sums))
            else:
                self.edit.redirect(old, sums)

    def _requantize(self, product: Product, old: ir.Value, sums: ir.Value) -> None:
        node, requantization = product.node, product.requantization
        if requantization is None:  # sums end in casts
            return
        name = str(old.name)
        multiplier = _along_channels(requantization.multiplier, sums, is_conv=product.is_conv)
        factor = self.edit.constant(f"{name}/multiplier", np.asarray(multiplier, np.float32))
        scaled = self.edit.node("Mul", [sums, factor], f"{name}/scaled", like=sums)
        last = _linear(
            self.edit, "QuantizeLinear", scaled.outputs[0], requantization.zero_point, old.dtype, f"{name}/levels"
        )
        last.outputs[0].type = old.type
        last.outputs[0].shape = None if old.shape is None else old.shape.copy()
        self.edit.replace(old, [scaled, last], before=node)


def _along_channels(array: Float64s, sums: ir.Value, *, is_conv: bool) -> Float64s:
    if array.size == 1:
        return array.reshape(())
    rank = 0 if sums.shape is None else sums.shape.rank()
    return array.reshape(-1, *(1,) * (rank - 2)) if is_conv else array


def _linear(
    edit: Editor, op_type: str, value: ir.Value, zero_point: float, dtype: ir.DataType | None, output: str
) -> ir.Node:
    """QuantizeLinear or DequantizeLinear of scale 1."""
    known = dtype or ir.DataType.UINT8
    one = edit.constant(f"{output}/scale", np.ones((), np.float32))
    zero = edit.constant(f"{output}/zero_point", np.asarray(zero_point).astype(known.numpy()))
    return edit.node(op_type, [value, one, zero], output, like=value)
