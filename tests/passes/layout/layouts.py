"""Random graphs on (N, C, spatial...) of one to three spatial axes, for the passes that move the channels.

Weights and inputs are small whole numbers and quarters, so that nearly all sums are exact in any order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import helper

from tests.models import DOMAIN, model

BATCH = 2


@dataclass
class Graph:
    """A graph that grows; `shapes` has the shape of each tensor on hand, the batch being 2."""

    rng: np.random.Generator
    opset: int
    shapes: dict[str, tuple[int, ...]]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: dict[str, np.ndarray] = field(default_factory=dict)

    def constant(self, array: Any) -> str:
        name = f"c{len(self.initializers)}"
        self.initializers[name] = np.asarray(array)
        return name

    def whole(self, *shape: int) -> np.ndarray:
        return self.rng.integers(-2, 3, shape).astype(np.float32)

    def add(
        self, op_type: str, inputs: list[str], shape: tuple[int, ...], *, domain: str = "", **attributes: Any
    ) -> str:
        name = f"t{len(self.nodes)}"
        node = helper.make_node(op_type, inputs, [name], name=f"{name}_node", domain=domain, **attributes)
        self.nodes.append(node)
        self.shapes[name] = shape
        return name

    def quant(
        self, x: str, scale: np.ndarray, bits: int, shape: tuple[int, ...], *, zero: int = 0, mode: str = "ROUND"
    ) -> str:
        inputs = [x, *map(self.constant, (scale, np.float32(zero), np.float32(bits)))]
        return self.add("Quant", inputs, shape, domain=DOMAIN, signed=1, narrow=0, rounding_mode=mode)


def _windows(draw: Any, shape: tuple[int, ...], *, dilated: bool) -> tuple[dict[str, Any], tuple[int, ...]]:
    """Attributes of windows that fit, and the sizes that they leave."""
    spatial = shape[2:]
    kernel = [draw(st.integers(1, min(3, n))) for n in spatial]
    strides = [draw(st.integers(1, 2)) for _ in spatial]
    mode = draw(st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": strides}
    if mode.startswith("SAME"):
        strides[:] = [min(s, k) for s, k in zip(strides, kernel, strict=True)]  # else ONNX Runtime fails
        return attributes | {"auto_pad": mode}, tuple(-(-n // s) for n, s in zip(spatial, strides, strict=True))
    pads = [0] * (2 * len(spatial))
    if mode == "NOTSET":
        pads = [draw(st.integers(0, k - 1)) for k in (*kernel, *kernel)]
        attributes["pads"] = pads
    else:
        attributes["auto_pad"] = mode
    dilations = [draw(st.integers(1, 2)) if dilated and n >= 5 else 1 for n in spatial]
    if dilations != [1] * len(spatial):
        attributes["dilations"] = dilations
    rank = len(spatial)
    return attributes, tuple(
        (n + pads[i] + pads[i + rank] - (k - 1) * d - 1) // s + 1
        for i, (n, k, d, s) in enumerate(zip(spatial, kernel, dilations, strides, strict=True))
    )


def conv(draw: Any, g: Graph, x: str) -> str:
    batch, channels, *_ = g.shapes[x]
    attributes, sizes = _windows(draw, g.shapes[x], dilated=True)
    group = draw(st.sampled_from([1, channels, 2 if channels % 2 == 0 else 1]))
    outputs = group * draw(st.integers(1, 2))
    weights = g.constant(g.whole(outputs, channels // group, *attributes["kernel_shape"]))
    if draw(st.booleans()):
        scale = 2.0 ** g.rng.integers(-1, 1, (outputs, *(1 for _ in g.shapes[x][1:]))).astype(np.float32)
        weights = g.quant(weights, scale, 3, g.initializers[weights].shape)
    bias = [g.constant(g.whole(outputs))] if draw(st.booleans()) else []
    if draw(st.booleans()):
        del attributes["kernel_shape"]
    return g.add("Conv", [x, weights, *bias], (batch, outputs, *sizes), group=group, **attributes)


def pool(draw: Any, g: Graph, x: str) -> str:
    attributes, sizes = _windows(draw, g.shapes[x], dilated=False)
    op_type = draw(st.sampled_from(["MaxPool", "AveragePool"]))
    if op_type == "AveragePool" and draw(st.booleans()):
        attributes["count_include_pad"] = 1
    return g.add(op_type, [x], (*g.shapes[x][:2], *sizes), **attributes)


def global_pool(draw: Any, g: Graph, x: str) -> str:
    op_type = draw(st.sampled_from(["GlobalAveragePool", "GlobalMaxPool"]))
    return g.add(op_type, [x], (*g.shapes[x][:2], *(1 for _ in g.shapes[x][2:])))


def unary(draw: Any, g: Graph, x: str) -> str:
    return g.add(draw(st.sampled_from(["Relu", "Neg", "Abs", "Identity"])), [x], g.shapes[x])


def arithmetic(draw: Any, g: Graph, x: str) -> str:
    """Another tensor of the same shape, or a constant of one that broadcasts, or the two the other way round."""
    shape = g.shapes[x]
    alike = [n for n, s in g.shapes.items() if s == shape]
    if draw(st.booleans()):
        other = draw(st.sampled_from(alike))
    else:
        cut = shape[draw(st.integers(0, len(shape))) :]
        other = g.constant(g.whole(*(n if draw(st.booleans()) else 1 for n in cut)))
    operands = [x, other] if draw(st.booleans()) else [other, x]
    return g.add(draw(st.sampled_from(["Add", "Sub", "Mul"])), operands, shape)


def lower_rank(draw: Any, g: Graph, x: str) -> str:
    """A tensor of fewer axes, made in the graph, that broadcasts."""
    shape = g.shapes[x]
    part = g.add("Abs", [g.constant(g.whole(*shape[2:]))], ())
    seen = g.add("Mul", [part, g.add("ReduceMax", [x], (), keepdims=0)], ())
    del g.shapes[part], g.shapes[seen], g.shapes[f"t{len(g.nodes) - 2}"]
    return g.add("Add", [seen, x], shape)


def quant(draw: Any, g: Graph, x: str) -> str:
    shape = g.shapes[x]
    per_channel = draw(st.booleans())
    size = (1, shape[1], *(1 for _ in shape[2:])) if per_channel else draw(st.sampled_from([(), (1,), (1, 1)]))
    scale = 2.0 ** g.rng.integers(-2, 2, size).astype(np.float32)
    return g.quant(x, scale, 5, shape, zero=draw(st.integers(0, 1)), mode="FLOOR")


def multi_threshold(draw: Any, g: Graph, x: str) -> str:
    shape = g.shapes[x]
    rows = draw(st.sampled_from([1, shape[1]]))
    thresholds = g.constant(np.sort(g.rng.integers(-9, 9, (rows, 3)), axis=1).astype(np.float32))
    layout = {3: "NCW", 4: "NCHW", 5: "NCDHW"}[len(shape)]
    return g.add("MultiThreshold", [x, thresholds], shape, domain=DOMAIN, out_bias=-1.0, data_layout=layout)


def batch_normalization(draw: Any, g: Graph, x: str) -> str:
    channels = g.shapes[x][1]
    parameters = [g.whole(channels), g.whole(channels), g.whole(channels), np.full(channels, 4.0, np.float32)]
    return g.add("BatchNormalization", [x, *map(g.constant, parameters)], g.shapes[x], epsilon=0.0)


def concat(draw: Any, g: Graph, x: str) -> str:
    shape, axis = list(g.shapes[x]), draw(st.integers(1, len(g.shapes[x]) - 1))
    other = draw(st.sampled_from([n for n, s in g.shapes.items() if s == g.shapes[x]]))
    shape[axis] *= 2
    return g.add("Concat", [x, other], tuple(shape), axis=axis if draw(st.booleans()) else axis - len(shape))


def slices(draw: Any, g: Graph, x: str) -> str:
    shape, axis = list(g.shapes[x]), draw(st.integers(1, len(g.shapes[x]) - 1))
    shape[axis] = (shape[axis] + 1) // 2
    ends = g.constant(np.array([shape[axis]]))
    return g.add("Slice", [x, g.constant(np.array([0])), ends, g.constant(np.array([axis]))], tuple(shape))


def pad(draw: Any, g: Graph, x: str) -> str:
    shape = g.shapes[x]
    begin, end = ([0, *(draw(st.integers(0, 1)) for _ in shape[1:])] for _ in range(2))
    pads = g.constant(np.array([*begin, *end], np.int64))
    sizes = tuple(n + b + e for n, b, e in zip(shape, begin, end, strict=True))
    return g.add("Pad", [x, pads, g.constant(np.float32(1))], sizes)


def softmax(draw: Any, g: Graph, x: str) -> str:
    return g.add("Softmax", [x], g.shapes[x], axis=draw(st.integers(1, len(g.shapes[x]) - 1)))


def reduction(draw: Any, g: Graph, x: str) -> str:
    shape, axis = list(g.shapes[x]), draw(st.integers(1, len(g.shapes[x]) - 1))
    shape[axis] = 1
    if g.opset >= 18:
        return g.add("ReduceMax", [x, g.constant(np.array([axis]))], tuple(shape), keepdims=1)
    return g.add("ReduceMax", [x], tuple(shape), axes=[axis], keepdims=1)


def resize(draw: Any, g: Graph, x: str) -> str:
    shape = g.shapes[x]
    factors = [1, 1, *(draw(st.integers(1, 2)) for _ in shape[2:])]
    scales = g.constant(np.array(factors, np.float32))
    sizes = tuple(n * f for n, f in zip(shape, factors, strict=True))
    mode = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return g.add("Resize", [x, "", scales], sizes, **mode)


def transpose(draw: Any, g: Graph, x: str) -> str:
    rank = len(g.shapes[x])
    perm = (0, *draw(st.permutations(range(1, rank))))
    return g.add("Transpose", [x], tuple(g.shapes[x][a] for a in perm), perm=list(perm))


def left_alone(draw: Any, g: Graph, x: str) -> str:
    """An operator whose channels are the second axis whatever is done."""
    if len(g.shapes[x]) != 4:  # others ONNX Runtime does not run
        return x
    return g.add("LRN", [x], g.shapes[x], size=3)


OPERATIONS: list[Callable[[Any, Graph, str], str]] = [
    conv, conv, pool, global_pool, unary, arithmetic, arithmetic, lower_rank, quant, multi_threshold,
    batch_normalization, concat, slices, pad, softmax, reduction, resize, transpose, left_alone,
]  # fmt: skip


def head(draw: Any, g: Graph, x: str) -> str:
    """Flatten, or a Reshape, with what reads its features: a quantiser, normalisation, a matrix, or none of these."""
    features = int(np.prod(g.shapes[x][1:]))
    if draw(st.booleans()):
        flat = g.add("Flatten", [x], (BATCH, features), axis=1)
    else:
        target = draw(st.sampled_from([[0, -1], [-1, features]]))
        flat = g.add("Reshape", [x, g.constant(np.array(target, np.int64))], (BATCH, features))
    if draw(st.booleans()):
        scale = 2.0 ** g.rng.integers(-1, 2, (1, features)).astype(np.float32)
        flat = g.quant(flat, scale, 6, (BATCH, features))
    if draw(st.booleans()):
        flat = g.add("Mul", [flat, g.constant(g.whole(features))], (BATCH, features))
    kind = draw(st.sampled_from(["matmul", "quantised", "gemm", "none"]))
    weights = g.whole(features, 3)
    if kind == "none":
        return flat
    if kind == "gemm":
        return g.add("Gemm", [flat, g.constant(weights.T.copy()), g.constant(g.whole(3))], (BATCH, 3), transB=1)
    operand = g.constant(weights)
    if kind == "quantised":
        operand = g.quant(operand, 2.0 ** g.rng.integers(-1, 2, (features, 1)).astype(np.float32), 3, ())
        del g.shapes[operand]
    return g.add("MatMul", [flat, operand], (BATCH, 3))


@st.composite
def layout_graphs(draw: Any) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """A model and an input for it; outputs are tensors from everywhere in the graph."""
    rank = draw(st.sampled_from([3, 4, 4, 4, 5]))
    shape = (BATCH, draw(st.integers(1, 4)), *(draw(st.integers(1, 7 if rank < 5 else 4)) for _ in range(rank - 2)))
    g = Graph(np.random.default_rng(draw(st.integers(0, 999))), draw(st.sampled_from([13, 17, 21])), {"x": shape})
    for _ in range(draw(st.integers(1, 7))):
        kept = [n for n, s in g.shapes.items() if len(s) == rank and s[0] == BATCH and np.prod(s) < 4000]
        weights = {n.output[0] for n in g.nodes if n.op_type == "Quant" and n.input[0].startswith("c")}
        x = draw(st.sampled_from([n for n in kept[-4:] if n not in weights] or ["x"]))
        draw(st.sampled_from(OPERATIONS))(draw, g, x)
    last = [n for n, s in g.shapes.items() if len(s) == rank and n not in weights][-1]
    if draw(st.booleans()) and last != "x":
        head(draw, g, last)
    made = [o for n in g.nodes for o in n.output] or [unary(draw, g, "x")]
    outputs = sorted({made[-1], *draw(st.lists(st.sampled_from(made), max_size=2))}, key=made.index)
    batch = draw(st.sampled_from([BATCH, "N"]))
    proto = model(g.nodes, g.initializers, inputs={"x": [batch, *shape[1:]]}, outputs=outputs, opset=g.opset)
    return proto, {"x": g.rng.integers(-4, 5, shape).astype(np.float32)}
