"""required_elements: how large what a node makes of the inputs it is given will be, before it is computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from anybit.budget import current_limits
from anybit.errors import LimitError
from anybit.ops.nodes import label

ELEMENT_BYTES = 24
"""Bytes of an element while it is computed: in float64, from a copy of the input in it, and once rounded."""


@dataclass(frozen=True)
class _Site:
    """A node with its inputs, None where one is left out; sequences are lists."""

    node: ir.Node
    inputs: Sequence[Any]

    def array(self, index: int) -> np.ndarray[Any, Any]:
        value = self.inputs[index] if index < len(self.inputs) else None
        return value if isinstance(value, np.ndarray) else np.zeros(0)

    def shape(self, index: int) -> tuple[int, ...]:
        return self.array(index).shape

    def numbers(self, index: int) -> list[float]:
        """A small tensor of sizes or factors."""
        return [float(v) for v in self.array(index).reshape(-1)[:64]]

    def given(self, name: str, default: Any) -> Any:
        attribute = self.node.attributes.get(name)
        return default if attribute is None or attribute.is_ref() else attribute.value


def required_elements(node: ir.Node, inputs: Sequence[Any]) -> int:
    """Elements of the largest tensor that a node lays out for these inputs, and rather too many than too few.

    Args:
        node: A node without subgraphs.
        inputs: Arrays, lists of arrays, None where one is left out.
    """
    site = _Site(node, inputs)
    rule = _RULES.get(node.op_type)
    elements = _of_inputs(site)
    if rule is not None:
        with suppress(ArithmeticError, LookupError, TypeError, ValueError):  # they do not fit: the operator says so
            elements = max(elements, rule(site))
    return int(min(elements, 1 << 60))


def require_memory(node: ir.Node, inputs: Sequence[Any], held: int = 0) -> None:
    """Refuses a node that would take more memory than the limits allow.

    Args:
        node: A node without subgraphs.
        inputs: As for `required_elements`.
        held: Bytes of what is held already.

    Raises:
        LimitError: With the node, what it takes, and the limit.
    """
    refuse_bytes(required_elements(node, inputs) * ELEMENT_BYTES + held, label(node))


def refuse_large(model: ir.Model) -> None:
    """Refuses a model of which one tensor alone would take more memory than the limits allow.

    Args:
        model: Model whose shapes are inferred.

    Raises:
        LimitError: With the node that makes the tensor.
    """
    for node in model.graph.all_nodes():
        for value in node.outputs:
            if value.shape is not None and value.dtype is not None and value.shape.is_static():
                bits = 64 if value.dtype == ir.DataType.STRING else value.dtype.bitwidth
                refuse_bytes(math.prod(value.shape.numpy()) * bits // 8, label(node))


def refuse_bytes(needed: int, where: str) -> None:
    """Refuses something that would take more bytes than the limits allow.

    Raises:
        LimitError: It would.
    """
    allowed = current_limits().memory
    if needed > allowed:
        raise LimitError(
            "it takes more memory than the limit",
            node=where,
            got=f"{needed:,} bytes",
            expected=f"{allowed:,} at most",
            hint="raise it by ANYBIT_MEMORY or anybit.limits if the model is to be trusted",
        )


def _of_inputs(site: _Site) -> float:
    """The largest input, a sequence being all of its elements, or what the inputs broadcast to."""
    sizes = [_elements(value) for value in site.inputs]
    shapes = [value.shape for value in site.inputs if isinstance(value, np.ndarray)]
    return max(max(sizes, default=0), _broadcast(shapes))


def _elements(value: Any) -> int:
    if isinstance(value, list):
        return sum(map(_elements, value))
    return value.size if isinstance(value, np.ndarray) else 0


def _broadcast(shapes: Sequence[tuple[int, ...]]) -> int:
    rank = max(map(len, shapes), default=0)
    sizes = [1] * rank
    for shape in shapes:
        for axis, size in enumerate(shape, rank - len(shape)):
            if size != 1:
                if sizes[axis] not in (1, size):
                    return 0
                sizes[axis] = size
    return math.prod(sizes)


def _product(first: int, second: int) -> Callable[[_Site], float]:
    """A product of matrices."""

    def rule(site: _Site) -> float:
        x, y = site.shape(first), site.shape(second)
        rows = x[-2] if len(x) > 1 else 1
        columns = y[-1] if len(y) > 1 else 1
        return max(1, _broadcast([x[:-2], y[:-2]])) * rows * columns

    return rule


def _gemm(site: _Site) -> float:
    x, y = site.shape(0), site.shape(1)
    return x[1 if site.given("transA", 0) else 0] * y[0 if site.given("transB", 0) else 1]


def _windows(first: int, second: int | None) -> Callable[[_Site], float]:
    """Convolution and pooling: the padded input, and the output of all channels."""

    def rule(site: _Site) -> float:
        x = site.shape(first)
        kernel = site.given("kernel_shape", ()) if second is None else site.shape(second)[2:]
        channels = x[1] if second is None else max(x[1], site.shape(second)[0])
        return x[0] * channels * math.prod(_padded(site, x[2:], kernel))

    return rule


def _padded(site: _Site, spatial: Sequence[int], kernel: Sequence[int]) -> list[int]:
    rank = len(spatial)
    pads = site.given("pads", ()) or site.given("pad_amount", ()) or (0,) * 2 * rank
    dilations, strides = site.given("dilations", ()) or (1,) * rank, site.given("strides", ()) or (1,) * rank
    taps = [d * (k - 1) + s for k, d, s in zip(kernel, dilations, strides, strict=True)] if rank == len(kernel) else []
    slack = taps if site.given("auto_pad", "NOTSET") != "NOTSET" or site.given("ceil_mode", 0) else (0,) * rank
    sizes = zip(spatial, pads[:rank], pads[rank:], slack, strict=True)
    return [size + max(before, 0) + max(after, 0) + max(more, 0) for size, before, after, more in sizes]


def _transposed_windows(site: _Site) -> float:
    x, w = site.shape(0), site.shape(1)
    rank = len(x) - 2
    strides, dilations = site.given("strides", ()) or (1,) * rank, site.given("dilations", ()) or (1,) * rank
    added = site.given("output_padding", ()) or (0,) * rank
    geometry = zip(x[2:], w[2:], strides, dilations, added, strict=True)
    full = [s * (size - 1) + d * (k - 1) + 1 + max(more, 0) for size, k, s, d, more in geometry]
    wanted = site.given("output_shape", ()) or full
    pads = site.given("pads", ()) or (0,) * 2 * rank
    sizes = [max(f, int(w), f - min(pads[a], 0)) for a, (f, w) in enumerate(zip(full, wanted[-rank:], strict=True))]
    return x[0] * max(x[1], w[1] * site.given("group", 1)) * math.prod(sizes)


def _pad(site: _Site) -> float:
    x = site.shape(0)
    pads = site.given("pads", None) or site.numbers(1)
    axes = [int(a) for a in site.numbers(3)] or list(range(len(x)))
    sizes = [float(size) for size in x]
    for k, axis in enumerate(axes):
        sizes[axis] += max(pads[k], 0) + max(pads[k + len(axes)], 0)
    return math.prod(sizes)


def _resize(site: _Site) -> float:
    x = site.shape(0)
    if site.node.op_type == "Upsample" or len(site.node.inputs) == 2:
        return math.prod(size * f for size, f in zip(x, site.given("scales", None) or site.numbers(1), strict=True))
    axes = [a % len(x) for a in site.given("axes", range(len(x)))]
    factors, sizes = site.numbers(2), site.numbers(3)
    if sizes:
        factors = [wanted / max(x[axis], 1) for wanted, axis in zip(sizes, axes, strict=True)]
        if site.given("keep_aspect_ratio_policy", "stretch") != "stretch":
            factors = [max(factors)] * len(factors)
    grown = [float(size) for size in x]
    for factor, axis in zip(factors, axes, strict=True):
        grown[axis] = math.ceil(grown[axis] * max(factor, 0))
    return max(math.prod(grown), *(math.prod(grown[: a + 1]) * math.prod(x[a + 1 :]) for a in range(len(x))))


def _range(site: _Site) -> float:
    start, limit, step = (site.numbers(k)[0] for k in range(3))
    return max(math.ceil((limit - start) / step), 0)


def _gather(site: _Site) -> float:
    x, axis = site.shape(0), site.given("axis", 0)
    return site.array(1).size * (site.array(0).size / max(x[axis], 1))


def _gather_nd(site: _Site) -> float:
    x, indices, batch = site.shape(0), site.shape(1), site.given("batch_dims", 0)
    return math.prod(indices[:-1]) * math.prod(x[batch + indices[-1] :])


def _einsum(site: _Site) -> float:
    left, arrow, right = site.given("equation", "").replace(" ", "").partition("->")
    sizes: dict[str, int] = {}
    for term, k in zip(left.split(","), range(len(site.inputs)), strict=True):
        sizes.update(zip(term, site.shape(k), strict=True))
    return math.prod(sizes[c] for c in (right if arrow else sizes))


def _regions(site: _Site) -> float:
    pooled = site.given("pooled_shape", None) or (site.given("output_height", 1), site.given("output_width", 1))
    return site.shape(1)[0] * site.shape(0)[1] * math.prod(pooled)


def _unpool(site: _Site) -> float:
    x, rank = site.shape(0), len(site.shape(0)) - 2
    strides = site.given("strides", ()) or (1,) * rank
    sizes = [(n - 1) * s + k for n, s, k in zip(x[2:], strides, site.given("kernel_shape", ()), strict=True)]
    return max(x[0] * x[1] * math.prod(sizes), math.prod(site.numbers(2)))


def _states(site: _Site) -> float:
    """RNN, GRU, LSTM: the states of every step."""
    x, r = site.shape(0), site.shape(2)
    return x[0] * x[1] * r[0] * r[-1] * 4


def _attention(site: _Site) -> float:
    """Scores: each query with each key."""
    q, k = site.shape(0), site.shape(1)
    heads = q[1] if len(q) == 4 else site.given("q_num_heads", 1)
    return q[0] * heads * q[-2] * k[-2]


def _transform(site: _Site) -> float:
    x, length = site.array(0), (site.numbers(1) or [0])[0]
    return 2 * x.size * max(length, 1)


def _filters(site: _Site) -> float:
    bins, length = site.numbers(0)[0], site.numbers(1)[0]
    return bins * (length / 2 + 1)


def _ngrams(site: _Site) -> float:
    return (site.array(0).size + 1) * (max(site.given("ngram_indexes", (0,)), default=0) + 1)


def _image_blocks(site: _Site) -> float:
    """Im2Col: each window of each channel."""
    x, kernel = site.shape(0), site.given("kernel_size", (1,))
    return x[0] * math.prod(kernel) * x[-1] * math.prod(_padded(site, x[1:-1], ())) if x else 0


def _stated(index: int) -> Callable[[_Site], float]:
    """The shape that an input holds."""
    return lambda site: math.prod(site.numbers(index))


_RULES: Mapping[str, Callable[[_Site], float]] = {
    "AffineGrid": lambda site: math.prod(site.numbers(1)) * 3,
    "Attention": _attention,
    "AveragePool": _windows(0, None),
    "BlackmanWindow": _stated(0),
    "CenterCropPad": lambda site: _stated(1)(site) * max(site.array(0).size, 1),
    "Concat": lambda site: sum(map(_elements, site.inputs)),
    "Col2Im": lambda site: site.array(0).size * max(_stated(1)(site), 1),
    "ConstantOfShape": _stated(0),
    "Conv": _windows(0, 1),
    "ConvInteger": _windows(0, 1),
    "ConvTranspose": _transposed_windows,
    "DFT": _transform,
    "DeformConv": _windows(0, 1),
    "Einsum": _einsum,
    "Expand": lambda site: max(_stated(1)(site), _broadcast([site.shape(0), tuple(map(int, site.numbers(1)))])),
    "FusedMatMul": _product(0, 1),
    "GRU": _states,
    "Gather": _gather,
    "GatherND": _gather_nd,
    "Gemm": _gemm,
    "GridSample": lambda site: math.prod(site.shape(0)[:2]) * math.prod(site.shape(1)[1:-1]),
    "HammingWindow": _stated(0),
    "HannWindow": _stated(0),
    "Im2Col": _image_blocks,
    "LSTM": _states,
    "LpPool": _windows(0, None),
    "MatMul": _product(0, 1),
    "MatMulInteger": _product(0, 1),
    "MatMulNBits": lambda site: site.given("N", 1) * max(site.given("K", 1), site.array(0).size),
    "MaxPool": _windows(0, None),
    "MaxRoiPool": _regions,
    "MaxUnpool": _unpool,
    "MelWeightMatrix": _filters,
    "Multinomial": lambda site: site.array(0).size * site.given("sample_size", 1),
    "NonZero": lambda site: site.array(0).size * max(site.array(0).ndim, 1),
    "OneHot": lambda site: site.array(0).size * site.numbers(1)[0],
    "Pad": _pad,
    "QLinearConcat": lambda site: sum(map(_elements, site.inputs)),
    "QLinearConv": _windows(0, 3),
    "QLinearMatMul": _product(0, 3),
    "RNN": _states,
    "RandomNormal": lambda site: math.prod(site.given("shape", ())),
    "RandomUniform": lambda site: math.prod(site.given("shape", ())),
    "Range": _range,
    "Resize": _resize,
    "RoiAlign": _regions,
    "STFT": lambda site: 2 * site.array(0).size * max(site.array(2).size, *map(int, site.numbers(3)), 1),
    "TfIdfVectorizer": _ngrams,
    "Tile": lambda site: site.array(0).size * math.prod(site.numbers(1)),
    "Upsample": _resize,
}
"""Elements of what a node lays out beyond its inputs, by operator."""
