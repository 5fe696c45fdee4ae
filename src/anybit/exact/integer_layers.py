"""Integer layers: a product of quantised tensors, what is done to its sums element by element, and a quantiser.

Whatever stands between the sums and the quantiser, the layer is a function from an integer (the accumulator) to an
integer (the level), one for each output channel: `IntegerLayer.function`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.analysis.values.accumulator import Accumulator
from anybit.analysis.values.interpreter import Values
from anybit.analysis.values.tensor_values import Float64s, IntegerGrid
from anybit.arrays import Array, as_float64
from anybit.errors import Refusal
from anybit.exact.chain import Chain, chain_of, extended, levels_of, step_function_of
from anybit.exact.numbers import Integers
from anybit.exact.step_function import StepFunction
from anybit.graph.walk import all_nodes, label, shape_of
from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from anybit.ops.calls import is_call
from anybit.ops.evaluate import known_value
from anybit.ops.quant import QUANT

PRODUCTS = frozenset(("Conv", "Gemm", "MatMul"))
"""The operators whose sums are followed."""


@dataclass(frozen=True)
class IntegerProduct:
    """A product of a hub model that adds up integers.

    Attributes:
        product: Conv, Gemm or MatMul whose operands are both quantised; the second one is known.
        x: The integers of its first operand: one scale (one a channel if it is depthwise, or if scales by term were
            asked for), one whole zero point.
        weights: The integers of the second operand, zero point taken off: (channels, terms / taps ...) for Conv,
            (terms, channels) for MatMul and Gemm, transpositions done; a scale by term is in them.
        bias: By channel, what the product adds to its sums; None where it adds nothing.
        accumulator: The proven interval of its sums.
        scale: By channel, what an accumulated integer stands for.
        opsets: Version by domain.
    """

    product: ir.Node
    x: IntegerGrid
    weights: Array
    bias: Float64s | None
    accumulator: Accumulator
    scale: Float64s
    opsets: Mapping[str, int]

    @property
    def channels(self) -> int:
        """Number of output channels."""
        return len(self.scale)

    @property
    def lo(self) -> Float64s:
        """Smallest accumulator of each channel."""
        return self.accumulator.lo.reshape(-1)

    @property
    def hi(self) -> Float64s:
        """Largest accumulator of each channel."""
        return self.accumulator.hi.reshape(-1)

    @property
    def numbers(self) -> Integers:
        """Its sums, and what they stand for."""
        output = self.product.outputs[0]
        axis = 1 if self.product.op_type == "Conv" else len(shape_of(output) or (0, 0)) - 1
        return Integers(output, axis, self.scale, self.lo, self.hi, bias=self.bias)

    @property
    def magnitudes(self) -> Float64s:
        """By channel, what the magnitudes of the weights add up to."""
        axes = tuple(range(1, self.weights.ndim)) if self.product.op_type == "Conv" else (0,)
        return np.abs(self.weights).sum(axis=axes, dtype=np.float64)

    def laid(self, array: Array) -> Array:
        """(n, channels) with the axes of the product's output, one entry on each of the others."""
        rank = len(shape_of(self.product.outputs[0]) or (0, 0))
        if self.product.op_type == "Conv":
            return array.reshape(*array.shape, *(1,) * (rank - 2))
        return array.reshape(len(array), *(1,) * (rank - 2), self.channels)


@dataclass(frozen=True)
class IntegerLayer(IntegerProduct):
    """One layer of a hub model that integers carry from input to output: a product, and what makes its levels.

    Attributes:
        chain: Its sums, and the element-wise nodes behind it; the last one is the quantiser.
        grid: The integers of the quantiser's output.
    """

    chain: Chain
    grid: IntegerGrid

    @property
    def quantizer(self) -> ir.Node:
        """The node that makes the output."""
        return self.chain.steps[-1].node

    @cached_property
    def function(self) -> StepFunction:
        """From the sums to the quantiser's integers."""
        scale, zero_point = self._level
        return step_function_of(self.chain, self.numbers, scale, self.quantizer, zero_point)

    def function_of(self, channels: npt.NDArray[np.intp]) -> StepFunction:
        """The function of some channels, for a look that costs no more than those."""
        scale, zero_point = (p[channels] for p in self._level)
        bias = None if self.bias is None else self.bias[channels]
        ends = (np.broadcast_to(end, self.scale.shape)[channels] for end in (self.lo, self.hi))
        numbers = Integers(self.product.outputs[0], self.numbers.axis, self.scale[channels], *ends, bias=bias)
        return step_function_of(self.chain.of(channels, numbers), numbers, scale, self.quantizer, zero_point)

    def levels_of(self, reals: Array) -> Float64s:
        """The quantiser's integers for (n, channels) outputs of the product."""
        return levels_of(self.chain, reals, *self._level)

    @property
    def _level(self) -> tuple[Float64s, Float64s]:
        """By channel, what one level stands for, and the level of 0."""
        scale, zero_point = (
            np.broadcast_to(p.reshape(-1), self.scale.shape) for p in (self.grid.scale, self.grid.zero_point)
        )
        return scale, zero_point


def find_layers(model: ir.Model, values: Values) -> tuple[list[IntegerLayer], list[Refusal]]:
    """The integer layers of a hub model, and why each further product is none.

    Args:
        model: Hub model whose shapes are inferred; products in subgraphs are looked at as well.
        values: The analysis of this very model.
    """
    layers: list[IntegerLayer] = []
    refusals: list[Refusal] = []
    for node in all_nodes(model.graph):
        if node.domain != "" or node.op_type not in PRODUCTS:
            continue
        product = read_product(node, model.opset_imports, values)
        found = product if isinstance(product, Refusal) else read_layer(product, values)
        if isinstance(found, Refusal):
            refusals.append(found)
        else:
            layers.append(found)
    return layers, refusals


def read_product(
    node: ir.Node, opsets: Mapping[str, int], values: Values, *, by_term: bool = False
) -> IntegerProduct | Refusal:
    """The integers that a Conv, Gemm or MatMul multiplies and adds up, or why it does not.

    Args:
        node: The product.
        opsets: Version by domain.
        values: The analysis of its model.
        by_term: Whether the terms of one sum may have several scales that are whole multiples of one: what each scale
            is in units of the sum is multiplied into the integer weights.
    """
    accumulator = values.accumulators.get(node)
    first, second, third = (*node.inputs, None)[:3]
    dtype = node.outputs[0].dtype
    if dtype not in (None, ir.DataType.FLOAT):
        return Refusal(problem="element type of a product", node=label(node), got=str(dtype), expected="FLOAT")
    known = known_value(second, opsets)
    if accumulator is None or first is None or known is None:
        return Refusal(
            problem="no product of a quantised tensor and quantised weights",
            node=label(node),
            got=values.unfollowed.get(node, ""),
            hint="quantise its input, and its weights with one scale for each sum",
        )
    if not np.isfinite(known).all():  # whatever the file says of them
        return Refusal(problem="weights that are no numbers", node=label(node))
    x = values[first].grid
    if x is None or x.zero_point.size > 1:
        return Refusal(problem="the input has more than one zero point", node=label(node))
    if _number(node, "transA", 0) or known.ndim < 2 or (node.op_type == "MatMul" and known.ndim > 2):
        return Refusal(problem="a transposed input, or weights that are no matrix", node=label(node))
    scale = accumulator.scale.reshape(-1)
    bias = known_value(third, opsets)
    if third is not None and (bias is None or bias.size not in (1, len(scale))):
        return Refusal(problem="the bias is not known by channel", node=label(node))
    is_gemm = node.op_type == "Gemm"
    alpha, beta = (_number(node, name, 1.0) if is_gemm else 1.0 for name in ("alpha", "beta"))
    weights = known.T if is_gemm and _number(node, "transB", 0) else known
    across = (1, -1) if node.op_type != "Conv" else (-1, *(1,) * (known.ndim - 1))
    by_output = _scale_by_output(node, x.scale, known, len(scale))
    x_scale = _scale_by_term(node, x.scale, known) if by_term and by_output is None else by_output
    if x_scale is None:
        return Refusal(problem="the input has more than one scale for a sum", node=label(node))
    x_scale = x_scale.reshape(across) if x_scale is by_output else x_scale
    return IntegerProduct(
        product=node,
        x=x,
        weights=np.rint(as_float64(weights) * (x_scale / scale.reshape(across))),
        bias=None if bias is None else np.broadcast_to(as_float64(bias).reshape(-1) * beta, scale.shape),
        accumulator=accumulator,
        scale=scale * alpha,
        opsets=opsets,
    )


def read_layer(product: IntegerProduct, values: Values) -> IntegerLayer | Refusal:
    """The layer that a product and the quantiser behind it make, or why they do not."""
    chain = _to_quantizer(product)
    if isinstance(chain, Refusal):
        return chain
    quantizer = chain.steps[-1].node
    grid = values[quantizer.outputs[0]].grid
    if grid is None or not {grid.scale.size, grid.zero_point.size} <= {1, product.channels}:
        return Refusal(problem="the quantiser's grid is not one by channel", node=label(quantizer))
    return IntegerLayer(**{f.name: getattr(product, f.name) for f in fields(product)}, chain=chain, grid=grid)


def _scale_by_output(node: ir.Node, scale: Float64s, weights: Array, channels: int) -> Float64s | None:
    """The scale of the input that each output channel sees; None where it sees several."""
    if scale.size == 1:
        return np.broadcast_to(scale.reshape(-1), (channels,))
    if node.op_type != "Conv" or weights.shape[1] != 1 or channels % scale.size:
        return None
    return np.repeat(scale.reshape(-1), channels // scale.size)


def _scale_by_term(node: ir.Node, scale: Float64s, weights: Array) -> Float64s | None:
    """The scale of the input by term, as it broadcasts to the weights; None where it varies along another axis."""
    rank = len(shape_of(node.outputs[0]) or ())
    axis = 1 if node.op_type == "Conv" else rank - 1
    whole = scale.reshape((1,) * (rank - scale.ndim) + scale.shape) if scale.ndim <= rank else scale
    if whole.ndim != rank or whole.shape[axis] != scale.size:
        return None
    if node.op_type != "Conv":
        return scale.reshape(-1, 1)
    terms, groups = weights.shape[1], node.attributes.get_int("group", 1)
    if scale.size != terms * groups or len(weights) % groups:
        return None
    of_group = scale.reshape(groups, terms, *(1,) * (weights.ndim - 2))
    return np.repeat(of_group, len(weights) // groups, axis=0)


def _number(node: ir.Node, name: str, default: float) -> float:
    attribute = node.attributes.get(name)
    return default if attribute is None else float(attribute.value)


def _to_quantizer(product: IntegerProduct) -> Chain | Refusal:
    """The element-wise nodes from a product to a quantiser, none of whose tensors anything else reads."""
    chain, last, opsets = chain_of(product.numbers), product.product, product.opsets
    while not chain.steps or not is_call(last, QUANT, BIPOLAR_QUANT):
        current = last.outputs[0]
        uses = list(current.uses())
        if current.is_graph_output() or len(uses) != 1:
            return Refusal(
                problem="its sums have several users" if len(uses) > 1 else "no quantiser follows",
                node=label(last),
                hint="" if len(uses) > 1 else "quantise the output, or keep this layer in float",
            )
        last, position = uses[0]
        found = extended(chain, last, position, opsets)
        if isinstance(found, Refusal):
            return found
        chain = found
    return chain
