"""Operators that move, copy, pool and reduce elements."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tests.graphs.builder import Builder, Unfit
from tests.graphs.products import windows


def _ints(b: Builder, values: Any) -> str:
    return b.constant(values, np.int64)


def reshape(b: Builder) -> None:
    x = b.pick(lambda a: a.ndim >= 2)
    shape = b.samples[x].shape
    size = math.prod(shape[1:])
    factors = [d for d in range(1, size + 1) if size % d == 0]
    first = int(b.choose(factors))
    target = b.choose([[first, size // first], [size], [first, 1, size // first], [*shape[1:-2], -1]])
    b.put("Reshape", [x, _ints(b, [0, *target] if b.chance(0.7) or -1 in target else [-1, *target])])


def flatten(b: Builder) -> None:
    b.put("Flatten", [b.pick(lambda a: a.ndim >= 2)], axis=1)


def transpose(b: Builder) -> None:
    x = b.pick(lambda a: a.ndim >= 2)
    b.put("Transpose", [x], perm=[0, *(1 + b.rng.permutation(b.samples[x].ndim - 1)).tolist()])


def unsqueeze(b: Builder) -> None:
    x = b.pick(lambda a: a.ndim <= 3)
    axes = [int(b.rng.integers(1, b.samples[x].ndim + 1))]
    if b.opset < 13:
        b.put("Unsqueeze", [x], axes=axes)
    else:
        b.put("Unsqueeze", [x, _ints(b, axes)])


def squeeze(b: Builder) -> None:
    x = b.pick(lambda a: a.ndim >= 3 and 1 in a.shape[1:])
    axes = [b.samples[x].shape.index(1, 1)]
    if b.opset < 13:
        b.put("Squeeze", [x], axes=axes)
    else:
        b.put("Squeeze", [x, _ints(b, axes)])


def expand(b: Builder) -> None:
    x = b.pick(lambda a: a.ndim >= 2 and 1 in a.shape[1:])
    target = [1 if k == 0 else 2 if n == 1 else n for k, n in enumerate(b.samples[x].shape)]
    b.put("Expand", [x, _ints(b, target)])


def tile(b: Builder) -> None:
    x = b.pick(lambda a: a.size <= 100)
    b.put("Tile", [x, _ints(b, [1, *b.rng.integers(1, 3, b.samples[x].ndim - 1)])])


def concat(b: Builder) -> None:
    x = b.pick(lambda a: a.ndim >= 2)
    shape = b.samples[x].shape
    axis = int(b.rng.integers(1, len(shape)))
    rest = [n for k, n in enumerate(shape) if k != axis]
    y = b.pick(lambda a: a.ndim == len(shape) and [n for k, n in enumerate(a.shape) if k != axis] == rest)
    parts = [x, y]
    if b.chance(0.2):
        parts.append(b.node("Mul", [y, b.constant(-2.0)])[0])
    b.put("Concat", parts, axis=axis)


def split(b: Builder) -> None:
    x = b.pick(lambda a: a.ndim >= 2 and max(a.shape[1:]) >= 2)
    shape = b.samples[x].shape
    axis = int(b.choose([k for k in range(1, len(shape)) if shape[k] >= 2]))
    cut = int(b.rng.integers(1, shape[axis]))
    sizes = [cut, shape[axis] - cut]
    if b.opset < 13:
        b.put("Split", [x], outputs=2, axis=axis, split=sizes)
    elif b.opset >= 18 and b.chance(0.3):
        b.put("Split", [x], outputs=2, axis=axis, num_outputs=2)
    else:
        b.put("Split", [x, _ints(b, sizes)], outputs=2, axis=axis)


def slice_(b: Builder) -> None:
    x = b.pick(lambda a: a.ndim >= 2)
    shape = b.samples[x].shape
    axis = int(b.rng.integers(1, len(shape)))
    start, step = int(b.rng.integers(0, shape[axis])), int(b.choose([1, 2, -1]))
    end = 10_000 if step > 0 else -10_000
    if b.opset < 10:
        b.put("Slice", [x], starts=[start], ends=[end], axes=[axis])
        return
    parts = [[start], [end], [axis], [step]]
    b.put("Slice", [x, *(_ints(b, p) for p in parts)])


def gather(b: Builder) -> None:
    x = b.pick(lambda a: a.ndim >= 2)
    axis = int(b.rng.integers(1, b.samples[x].ndim))
    size = b.samples[x].shape[axis]
    indices = b.rng.integers(0, size, int(b.rng.integers(1, 4)))
    b.put("Gather", [x, _ints(b, indices)], axis=axis)


def pad(b: Builder) -> None:
    x = b.pick(lambda a: a.ndim >= 2)
    rank = b.samples[x].ndim
    pads = b.rng.integers(0, 2, 2 * rank)
    pads[[0, rank]] = 0
    mode = b.choose(["constant", "constant", "edge", "reflect"])
    if mode == "reflect":  # ONNX Runtime refuses it where there is nothing to reflect
        pads *= np.tile(np.array(b.samples[x].shape) > 1, 2)
    fill = b.choose([0.0, 0.0, 1.0, -3.5])
    if b.opset < 11:
        b.put("Pad", [x], pads=pads.tolist(), mode=mode, value=fill)
        return
    value = [b.constant(fill)] if mode == "constant" and b.chance(0.7) else []
    b.put("Pad", [x, _ints(b, pads), *value], mode=mode)


def depth_to_space(b: Builder) -> None:
    if b.chance(0.5):
        b.put("DepthToSpace", [b.pick(lambda a: a.shape[1] % 4 == 0, rank=4)], blocksize=2)
    else:
        b.put("SpaceToDepth", [b.pick(lambda a: a.shape[2] % 2 == 0 and a.shape[3] % 2 == 0, rank=4)], blocksize=2)


def resize(b: Builder) -> None:
    x = b.pick(lambda a: a.ndim == 4 and a.size <= 150)
    mode = b.choose(["nearest", "linear", "cubic"])
    factors = b.constant([1, 1, *b.rng.choice([0.5, 1.0, 1.5, 2.0], 2)], np.float32)
    if b.opset < 10:
        b.put("Upsample", [x, b.constant([1, 1, 2, 2], np.float32)], mode="nearest")
        return
    if b.opset < 11:
        b.put("Resize", [x, factors], mode="nearest" if mode == "cubic" else mode)
        return
    transformation = b.choose(["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"])
    b.put("Resize", [x, "", factors], mode=mode, coordinate_transformation_mode=transformation)


def pool(b: Builder) -> None:
    x = b.pick(lambda a: a.ndim in (3, 4))
    name = b.choose(["MaxPool", "AveragePool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool"])
    if name.startswith("Global"):
        if name == "GlobalMaxPool" and b.samples[x].ndim == 3:
            raise Unfit  # onnx's reference gives it the shape (N, 1)
        b.put(name, [x])
        return
    kernel, attributes = windows(b, b.samples[x].shape[2:])
    if "pads" in attributes:
        attributes["pads"] = [min(p, k - 1) for p, k in zip(attributes["pads"], kernel * 2, strict=True)]
    if b.opset < (19 if name == "AveragePool" else 10) or name == "LpPool":
        attributes.pop("dilations", None)
    if name == "AveragePool":
        attributes["count_include_pad"] = int(b.rng.integers(0, 2))
    if name != "LpPool" and b.opset >= 10 and b.chance(0.3) and "auto_pad" not in attributes:
        attributes["ceil_mode"] = 1
    b.put(name, [x], **attributes)


def reduce(b: Builder) -> None:
    x = b.pick(lambda a: a.ndim >= 2)
    name = b.choose(
        "ReduceMean ReduceMean ReduceSum ReduceSum ReduceMax ReduceMin ReduceL1 ReduceL2 ReduceSumSquare "
        "ReduceProd ReduceLogSumExp".split()
    )
    rank = b.samples[x].ndim
    axes = sorted(b.rng.choice(np.arange(1, rank), int(b.rng.integers(1, rank)), replace=False).tolist())
    attributes = {"keepdims": int(b.rng.integers(0, 2))}
    if b.opset >= (13 if name == "ReduceSum" else 18):
        b.put(name, [x, _ints(b, axes)], **attributes)
    else:
        b.put(name, [x], axes=axes, **attributes)


def top_k(b: Builder) -> None:
    x = b.pick(lambda a: a.ndim >= 2)
    if b.opset < 11:
        raise Unfit
    k = int(b.rng.integers(1, b.samples[x].shape[-1] + 1))
    values, indices = b.node("TopK", [x, _ints(b, [k])], outputs=2, axis=-1)
    b.pool.append(values)
    if b.chance(0.3):
        b.put("Cast", [indices], to=11 if b.dtype == np.float64 else 1)


def cumulative_sum(b: Builder) -> None:
    x = b.pick(lambda a: a.ndim >= 2)
    if b.opset < 14:
        raise Unfit
    b.put("CumSum", [x, b.constant(int(b.rng.integers(1, b.samples[x].ndim)), np.int64)])


def largest(b: Builder) -> None:
    x = b.pick(lambda a: a.ndim >= 2)
    indices = b.node(b.choose(["ArgMax", "ArgMin"]), [x], axis=int(b.rng.integers(1, b.samples[x].ndim)), keepdims=1)
    b.put("Cast", indices, to=11 if b.dtype == np.float64 else 1)


STEPS = {
    "reshape": reshape,
    "flatten": flatten,
    "transpose": transpose,
    "unsqueeze": unsqueeze,
    "squeeze": squeeze,
    "expand": expand,
    "tile": tile,
    "concat": concat,
    "split": split,
    "slice": slice_,
    "gather": gather,
    "pad": pad,
    "depth_to_space": depth_to_space,
    "resize": resize,
    "pool": pool,
    "reduce": reduce,
    "top_k": top_k,
    "cumulative_sum": cumulative_sum,
    "largest": largest,
}
