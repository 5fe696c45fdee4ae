"""Integer layers: a product of quantised tensors, what is done to its sums element by element, and a quantiser.

Whatever stands between the sums and the quantiser, the layer is a function from an integer (the accumulator) to an
integer (the level), one for each output channel. `IntegerLayer.levels` computes it by the operators' references.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.analysis.values.accumulator import Accumulator
from anybit.analysis.values.analysis import Values
from anybit.analysis.values.tensor import Float64s, IntegerGrid
from anybit.errors import Refusal
from anybit.formats.monotone import direction, is_elementwise
from anybit.ops.evaluate import compiled, known_value
from anybit.ops.nodes import label, operator_of, shape_of
from anybit.ops.operator import Array
from anybit.ops.standard.kernels import Kernel

PRODUCTS = frozenset(("Conv", "Gemm", "MatMul"))
"""The operators whose sums are followed."""
_QUANTIZERS = frozenset(("BipolarQuant", "Quant"))


@dataclass(frozen=True)
class IntegerProduct:
    """A product of a hub model that adds up integers.

    Attributes:
        product: Conv, Gemm or MatMul whose operands are both quantised; the second one is known.
        x: The integers of its first operand: one scale (one a channel if it is depthwise), one whole zero point.
        weights: The integers of the second operand, zero point taken off: (channels, terms / taps ...) for Conv,
            (terms, channels) for MatMul and Gemm, transpositions done.
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
    def magnitudes(self) -> Float64s:
        """By channel, what the magnitudes of the weights add up to."""
        axes = tuple(range(1, self.weights.ndim)) if self.product.op_type == "Conv" else (0,)
        return np.abs(self.weights).sum(axis=axes, dtype=np.float64)

    def reals(self, accumulators: Float64s) -> Array:
        """What the product's output is for these sums: fl(scale * accumulator + bias), (n, channels, 1 ...).

        Args:
            accumulators: (n, channels), integers.
        """
        exact = accumulators * self.scale
        if self.bias is not None:
            exact = exact + self.bias
        return self.laid(exact.astype(np.float32))

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
        tail: Element-wise nodes behind it, in order; the last one is the quantiser.
        rising: By channel, whether the level rises with the accumulator; None where that is not known.
        grid: The integers of the quantiser's output.
    """

    tail: tuple[ir.Node, ...]
    rising: npt.NDArray[np.bool_] | None
    grid: IntegerGrid

    @property
    def quantizer(self) -> ir.Node:
        """The node that makes the output."""
        return self.tail[-1]

    @cached_property
    def _kernels(self) -> list[tuple[Kernel, int, list[Array | None]]]:
        """What computes each node of the tail, which input varies, and the inputs that are known."""
        found: list[tuple[Kernel, int, list[Array | None]]] = []
        before = self.product.outputs[0]
        for node in self.tail:
            kernel = compiled(node, self.opsets)
            if kernel is None:  # `read_layer` lets no such node in
                raise ValueError(f"{label(node)} has no reference")
            position = list(node.inputs).index(before)
            known = [None if v is before else known_value(v, self.opsets) for v in node.inputs]
            found.append((kernel, position, known))
            before = node.outputs[0]
        return found

    def levels(self, accumulators: Float64s) -> Float64s:
        """The quantiser's integers for these sums, both (n, channels)."""
        return self.levels_of(self.reals(accumulators))

    def levels_of(self, reals: Array) -> Float64s:
        """The quantiser's integers for outputs of the product, (n, channels, 1 ...) as `reals` gives them."""
        current = reals
        for kernel, position, inputs in self._kernels:
            (current,) = kernel([*inputs[:position], current, *inputs[position + 1 :]])
        scale, zero_point = (
            np.broadcast_to(p.reshape(-1), self.scale.shape) for p in (self.grid.scale, self.grid.zero_point)
        )
        return np.rint(current.astype(np.float64).reshape(len(reals), -1) / scale + zero_point)


def find_layers(model: ir.Model, values: Values) -> tuple[list[IntegerLayer], list[Refusal]]:
    """The integer layers of a hub model, and why each further product is none.

    Args:
        model: Hub model whose shapes are inferred; products in subgraphs are looked at as well.
        values: The analysis of this very model.
    """
    layers: list[IntegerLayer] = []
    refusals: list[Refusal] = []
    for node in model.graph.all_nodes():
        if node.domain != "" or node.op_type not in PRODUCTS:
            continue
        product = read_product(node, model.opset_imports, values)
        found = product if isinstance(product, Refusal) else read_layer(product, values)
        if isinstance(found, Refusal):
            refusals.append(found)
        else:
            layers.append(found)
    return layers, refusals


def read_product(node: ir.Node, opsets: Mapping[str, int], values: Values) -> IntegerProduct | Refusal:
    """The integers that a Conv, Gemm or MatMul multiplies and adds up, or why it does not."""
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
    x_scale = _scale_by_output(node, x.scale, known, len(scale))
    if x_scale is None:
        return Refusal(problem="the input has more than one scale for a sum", node=label(node))
    across = (1, -1) if node.op_type != "Conv" else (-1, *(1,) * (known.ndim - 1))
    return IntegerProduct(
        product=node,
        x=x,
        weights=np.rint(weights.astype(np.float64) * (x_scale / scale).reshape(across)),
        bias=None if bias is None else np.broadcast_to(bias.astype(np.float64).reshape(-1) * beta, scale.shape),
        accumulator=accumulator,
        scale=scale * alpha,
        opsets=opsets,
    )


def read_layer(product: IntegerProduct, values: Values) -> IntegerLayer | Refusal:
    """The layer that a product and the quantiser behind it make, or why they do not."""
    tail = _tail(product.product, product.opsets)
    if isinstance(tail, Refusal):
        return tail
    scale = product.scale
    grid = values[tail.nodes[-1].outputs[0]].grid
    if grid is None or not {grid.scale.size, grid.zero_point.size} <= {1, len(scale)}:
        return Refusal(problem="the quantiser's grid is not one by channel", node=label(tail.nodes[-1]))
    return IntegerLayer(
        **{f.name: getattr(product, f.name) for f in fields(product)},
        tail=tail.nodes,
        rising=None if tail.rising is None else np.broadcast_to(tail.rising * np.sign(scale), scale.shape) > 0,
        grid=grid,
    )


def _scale_by_output(node: ir.Node, scale: Float64s, weights: Array, channels: int) -> Float64s | None:
    """The scale of the input that each output channel sees; None where it sees several."""
    if scale.size == 1:
        return np.broadcast_to(scale.reshape(-1), (channels,))
    if node.op_type != "Conv" or weights.shape[1] != 1 or channels % scale.size:
        return None
    return np.repeat(scale.reshape(-1), channels // scale.size)


def _number(node: ir.Node, name: str, default: float) -> float:
    attribute = node.attributes.get(name)
    return default if attribute is None else float(attribute.value)


@dataclass(frozen=True)
class _Tail:
    """The nodes from a product to the quantiser; by channel 1 where they rise, -1 where they fall, None if neither."""

    nodes: tuple[ir.Node, ...]
    rising: Float64s | None


def _tail(product: ir.Node, opsets: Mapping[str, int]) -> _Tail | Refusal:
    nodes: list[ir.Node] = []
    current = product.outputs[0]
    rank = len(shape_of(current) or ())
    axis = 1 if product.op_type == "Conv" else rank - 1
    rising: Float64s | None = np.ones(())
    while not nodes or not _quantises(nodes[-1], opsets):
        uses = list(current.uses())
        if current.is_graph_output() or len(uses) != 1:
            return Refusal(
                problem="its sums have several users" if len(uses) > 1 else "no quantiser follows",
                node=label(nodes[-1] if nodes else product),
                hint="" if len(uses) > 1 else "quantise the output, or keep this layer in float",
            )
        node, position = uses[0]
        step = direction(node, position, opsets)
        if step is None and not is_elementwise(node, position):
            return Refusal(problem="not known to act element by element", node=label(node))
        parameters = [known_value(v, opsets) for i, v in enumerate(node.inputs) if v is not None and i != position]
        if not all(p is not None and _by_channel(node, p, rank, axis) for p in parameters):
            return Refusal(problem="a parameter that is not known by channel", node=label(node))
        rising = None if rising is None or step is None else rising * step.reshape(-1)
        nodes.append(node)
        current = node.outputs[0]
    return _Tail(tuple(nodes), rising)


def _quantises(node: ir.Node, opsets: Mapping[str, int]) -> bool:
    operator = operator_of(node, dict(opsets))
    return operator is not None and operator.name in _QUANTIZERS


def _by_channel(node: ir.Node, parameter: Array, rank: int, axis: int) -> bool:
    """Whether a parameter is one number, or one for each channel."""
    if parameter.size == 1 or node.op_type == "BatchNormalization":
        return True
    place = axis - (rank - parameter.ndim)
    return 0 <= place < parameter.ndim and parameter.shape[place] == parameter.size
