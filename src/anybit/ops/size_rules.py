"""RULES: elements of what nodes lay out beyond their inputs, by operator."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from anybit.ops.im2col import IM2COL
from anybit.ops.traits import BROADCASTING


@dataclass(frozen=True)
class Site:
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


def elements_of(value: Any) -> int:
    """Elements of an input; a sequence is all of its tensors."""
    if isinstance(value, list):
        return sum(map(elements_of, value))
    return value.size if isinstance(value, np.ndarray) else 0


def _together(site: Site) -> float:
    """What the inputs broadcast to."""
    return _broadcast([value.shape for value in site.inputs if isinstance(value, np.ndarray)])


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


def _product(first: int, second: int) -> Callable[[Site], float]:
    """Elements of a product of the matrices at these inputs, whose leading axes broadcast."""

    def rule(site: Site) -> float:
        x, y = site.shape(first), site.shape(second)
        # A vector as the second is taken for a row, of which no more is made than the first operand has.
        return max(1, _broadcast([x[:-2], y[:-2]])) * math.prod(x[-2:-1]) * math.prod(y[-1:])

    return rule


def _gemm(site: Site) -> float:
    x, y = site.shape(0), site.shape(1)
    return x[1 if site.given("transA", 0) else 0] * y[0 if site.given("transB", 0) else 1]


def _windows(first: int, second: int | None) -> Callable[[Site], float]:
    """Convolution and pooling: the padded input, and the output of all channels."""

    def rule(site: Site) -> float:
        x = site.shape(first)
        kernel = site.given("kernel_shape", ()) if second is None else site.shape(second)[2:]
        channels = x[1] if second is None else max(x[1], site.shape(second)[0])
        return x[0] * channels * math.prod(_padded(site, x[2:], kernel))

    return rule


def _padded(site: Site, spatial: Sequence[int], kernel: Sequence[int]) -> list[int]:
    rank = len(spatial)
    pads = site.given("pads", ()) or site.given("pad_amount", ()) or (0,) * 2 * rank
    dilations, strides = site.given("dilations", ()) or (1,) * rank, site.given("strides", ()) or (1,) * rank
    taps = [d * (k - 1) + s for k, d, s in zip(kernel, dilations, strides, strict=True)] if rank == len(kernel) else []
    slack = taps if site.given("auto_pad", "NOTSET") != "NOTSET" or site.given("ceil_mode", 0) else (0,) * rank
    sizes = zip(spatial, pads[:rank], pads[rank:], slack, strict=True)
    return [size + max(before, 0) + max(after, 0) + max(more, 0) for size, before, after, more in sizes]


def _transposed_windows(site: Site) -> float:
    x, w = site.shape(0), site.shape(1)
    rank = len(x) - 2
    strides, dilations = site.given("strides", ()) or (1,) * rank, site.given("dilations", ()) or (1,) * rank
    added = site.given("output_padding", ()) or (0,) * rank
    geometry = zip(x[2:], w[2:], strides, dilations, added, strict=True)
    full = [s * (size - 1) + d * (k - 1) + 1 + max(more, 0) for size, k, s, d, more in geometry]
    wanted = site.given("output_shape", ()) or full
    pads = site.given("pads", ()) or (0,) * 2 * rank
    widened = [f - min(begin, 0) - min(end, 0) for f, begin, end in zip(full, pads[:rank], pads[rank:], strict=True)]
    sizes = [max(f, int(w)) for f, w in zip(widened, wanted[-rank:], strict=True)]
    return x[0] * max(x[1], w[1] * site.given("group", 1)) * math.prod(sizes)


def _pad(site: Site) -> float:
    x = site.shape(0)
    pads = site.given("pads", None) or site.numbers(1)
    axes = [int(a) for a in site.numbers(3)] or list(range(len(x)))
    sizes = [float(size) for size in x]
    for k, axis in enumerate(axes):
        sizes[axis] += max(pads[k], 0) + max(pads[k + len(axes)], 0)
    return math.prod(sizes)


def _resize(site: Site) -> float:
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


def _range(site: Site) -> float:
    start, limit, step = (site.numbers(k)[0] for k in range(3))
    return max(math.ceil((limit - start) / step), 0)


def _gather(site: Site) -> float:
    x, axis = site.shape(0), site.given("axis", 0)
    return site.array(1).size * (site.array(0).size / max(x[axis], 1))


def _gather_nd(site: Site) -> float:
    x, indices, batch = site.shape(0), site.shape(1), site.given("batch_dims", 0)
    return math.prod(indices[:-1]) * math.prod(x[batch + indices[-1] :])


def _einsum(site: Site) -> float:
    left, arrow, right = site.given("equation", "").replace(" ", "").partition("->")
    sizes: dict[str, int] = {}
    for term, k in zip(left.split(","), range(len(site.inputs)), strict=True):
        sizes.update(zip(term, site.shape(k), strict=True))
    return math.prod(sizes[c] for c in (right if arrow else sizes))


def _regions(site: Site) -> float:
    pooled = site.given("pooled_shape", None) or (site.given("output_height", 1), site.given("output_width", 1))
    return site.shape(1)[0] * site.shape(0)[1] * math.prod(pooled)


def _unpool(site: Site) -> float:
    x, rank = site.shape(0), len(site.shape(0)) - 2
    strides = site.given("strides", ()) or (1,) * rank
    sizes = [(n - 1) * s + k for n, s, k in zip(x[2:], strides, site.given("kernel_shape", ()), strict=True)]
    return max(x[0] * x[1] * math.prod(sizes), math.prod(site.numbers(2)))


def _states(site: Site) -> float:
    """RNN, GRU, LSTM: the states of every step."""
    x, r = site.shape(0), site.shape(2)
    return x[0] * x[1] * r[0] * r[-1] * 4


def _attention(site: Site) -> float:
    """Scores: each query with each key."""
    q, k = site.shape(0), site.shape(1)
    heads = q[1] if len(q) == 4 else site.given("q_num_heads", 1)
    return max(q[0], site.array(6).size) * heads * q[-2] * k[-2]


def _transform(site: Site) -> float:
    x, length = site.array(0), (site.numbers(1) or [0])[0]
    axis = int((site.numbers(2) or [site.given("axis", 1 if len(site.inputs) < 3 else -2)])[0])
    return 2 * x.size * max(length / max(x.shape[axis], 1), 1)


def _short_transforms(site: Site) -> float:
    step, length = site.numbers(1)[0], (site.numbers(3) or [site.array(2).size])[0]
    return 2 * site.array(0).size * max(length / step, 1)


def _filters(site: Site) -> float:
    bins, length = site.numbers(0)[0], site.numbers(1)[0]
    return bins * (length / 2 + 1)


def _ngrams(site: Site) -> float:
    x = site.shape(0)
    return (x[0] if len(x) > 1 else 1) * (max(site.given("ngram_indexes", (0,)), default=0) + 1)


def _image(site: Site) -> float:
    x = site.shape(0)
    return x[0] * x[1] / max(math.prod(site.numbers(2)), 1) * math.prod(site.numbers(1))


def _cropped(site: Site) -> float:
    sizes = [float(size) for size in site.shape(0)]
    for axis, size in zip(site.given("axes", range(len(sizes))), site.numbers(1), strict=True):
        sizes[axis] = max(sizes[axis], size)
    return math.prod(sizes)


def _blocks(site: Site) -> float:
    outputs, terms = site.given("N", 1), site.given("K", 1)
    return outputs * max(terms, site.array(0).size / max(terms, 1))


def _image_blocks(site: Site) -> float:
    """Im2Col: each window of each channel."""
    x, kernel = site.shape(0), site.given("kernel_size", (1,))
    return x[0] * math.prod(kernel) * x[-1] * math.prod(_padded(site, x[1:-1], ())) if x else 0


def _stated(index: int) -> Callable[[Site], float]:
    """The shape that an input holds."""
    return lambda site: math.prod(site.numbers(index))


_BROADCASTING = BROADCASTING | {"QLinearAdd", "QLinearMul", "QLinearWhere"}
RULES: Mapping[str, Callable[[Site], float]] = {
    "AffineGrid": lambda site: math.prod(site.numbers(1)) * 3,
    "Attention": _attention,
    "AveragePool": _windows(0, None),
    "BlackmanWindow": _stated(0),
    "CenterCropPad": _cropped,
    "Concat": lambda site: sum(map(elements_of, site.inputs)),
    "Col2Im": _image,
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
    IM2COL.name: _image_blocks,
    "LSTM": _states,
    "LpPool": _windows(0, None),
    "MatMul": _product(0, 1),
    "MatMulInteger": _product(0, 1),
    "MatMulNBits": _blocks,
    "MaxPool": _windows(0, None),
    "MaxRoiPool": _regions,
    "MaxUnpool": _unpool,
    "MelWeightMatrix": _filters,
    "Multinomial": lambda site: site.shape(0)[0] * site.given("sample_size", 1),
    "NonZero": lambda site: site.array(0).size * max(site.array(0).ndim, 1),
    "OneHot": lambda site: site.array(0).size * site.numbers(1)[0],
    "Pad": _pad,
    "QLinearConcat": lambda site: sum(map(elements_of, site.inputs)),
    "QLinearConv": _windows(0, 3),
    "QLinearMatMul": _product(0, 3),
    "RNN": _states,
    "RandomNormal": lambda site: math.prod(site.given("shape", ())),
    "RandomUniform": lambda site: math.prod(site.given("shape", ())),
    "Range": _range,
    "Resize": _resize,
    "RoiAlign": _regions,
    "STFT": _short_transforms,
    "TfIdfVectorizer": _ngrams,
    "Tile": lambda site: site.array(0).size * math.prod(site.numbers(1)),
    "Upsample": _resize,
    **dict.fromkeys(_BROADCASTING, _together),
}
"""Elements of what a node lays out beyond its inputs, by operator."""
