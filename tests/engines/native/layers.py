"""Random products of every kind as plans: quantised, multiplied, and read again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from anybit.plan import (
    Dequantize,
    Element,
    Epilogue,
    Multiplier,
    Plan,
    Pool,
    PoolKind,
    Port,
    Product,
    Quantize,
    Tensor,
    Thresholds,
    Window,
)

_ONE = np.ones(1, np.float32)


def random_layer(seed: int) -> Plan:
    """One product, wide or narrow, with any epilogue; every fifth one has the largest bytes and weights there are."""
    rng = np.random.default_rng(seed)
    group = int(rng.choice([1, 1, 1, 2, 3]))
    depthwise = seed % 7 == 0
    inputs = 1 if depthwise else int(rng.choice([1, 3, 5, 16, 29, 64, 70, 130]))
    group, each = (int(rng.integers(2, 70)), 1) if depthwise else (group, int(rng.choice([1, 7, 16, 17, 33, 50, 80])))
    kernel, strides = rng.integers(1, 4, 2), rng.integers(1, 3, 2)
    dilations, pads = rng.integers(1, 3, 2), rng.integers(0, 3, 2)
    extents = (kernel - 1) * dilations + 1
    size = np.maximum(rng.choice([1, 3, 5, 12, 21], 2), extents)
    output = (size + 2 * pads - extents) // strides + 1
    window = Window(*((int(a), int(b)) for a, b in (size, kernel, strides, dilations, pads, output)))
    largest = 255 if seed % 5 == 0 else int(rng.choice([1, 3, 15, 63, 255]))
    shape = (group * each, *map(int, kernel), inputs)
    weights = rng.integers(-128, 128, shape)
    weights = np.where(rng.random(shape) < 0.3, -128, weights) if seed % 5 == 0 else weights >> int(rng.integers(0, 7))
    return _layer(rng, window, group, weights, largest, _epilogue)


def lined_layer(seed: int) -> Plan:
    """One product whose thresholds lie next to a line, as those of a quantiser do; every third one is depthwise.

    The channels are about as many as vectors hold, so that some are full and the last is not.
    """
    return _of_channels(seed, _lined)


def nearly_lined_layer(seed: int) -> Plan:
    """The same with many thresholds, some of which lie one sum beside a line, so that none gives every level."""
    return _of_channels(seed, _nearly_lined)


def _of_channels(seed: int, make: Callable[[np.random.Generator, int, int], Epilogue]) -> Plan:
    rng = np.random.default_rng(seed)
    depthwise = seed % 3 == 0
    channels = int(rng.choice([2, 16, 31, 32, 33, 48, 63, 64, 65, 130]))
    group, inputs = (channels, 1) if depthwise else (1, int(rng.choice([1, 3, 4, 16, 64, 70, 200])))
    kernel = np.array((3, 3) if rng.random() < 0.6 else rng.integers(1, 6, 2))
    strides, pads = rng.integers(1, 3, 2), rng.integers(0, 2, 2)
    size = np.maximum(rng.choice([1, 4, 5, 9, 18], 2), kernel)
    output = (size + 2 * pads - kernel) // strides + 1
    numbers = ((int(a), int(b)) for a, b in (size, kernel, strides, np.ones(2), pads, output))
    largest = int(rng.choice([1, 3, 15, 127, 255]))
    most = 129 if seed % 4 == 0 else int(rng.choice([2, 8, 9]))  # pairs of the first fit into 16 bits only sometimes
    weights = np.clip(rng.integers(-most, most, (channels, *map(int, kernel), inputs)), -128, 127)
    return _layer(rng, Window(*numbers), group, weights, largest, make)


def filtered_layer(seed: int) -> Plan:
    """One convolution of 3 x 3 and stride 1 by few bits, which some paths run by transformed tiles.

    Every fourth one has the largest levels and weights everywhere, so that transformed numbers reach the ends of bytes;
    every fifth one has weights too large for that.
    """
    rng = np.random.default_rng(seed)
    inputs, outputs = int(rng.choice([32, 33, 64, 70, 130, 512])), int(rng.choice([1, 15, 16, 32, 33, 50, 80]))
    pads = rng.integers(0, 2, 2)
    output = rng.choice([2, 4, 5, 7, 8, 13], 2)
    size = output + 2 - 2 * pads
    numbers = ((int(a), int(b)) for a, b in (size, (3, 3), (1, 1), (1, 1), pads, output))
    largest = int(rng.choice([1, 3, 15, 63]))
    most = int(rng.choice([1, 2, 8, 14])) if seed % 5 else 15
    weights = rng.integers(-most, most + 1, (outputs, 3, 3, inputs))
    if seed % 4 == 0:
        weights = most * rng.choice([-1, 1], (outputs, 1, 1, inputs)) * np.ones((outputs, 3, 3, inputs), np.int64)
        weights[:, :, 1] *= rng.choice([-1, 1])
    return _layer(rng, Window(*numbers), 1, weights, largest, _lined if seed % 2 else _epilogue)


def binary_layers(seed: int) -> Plan:
    """Two products by weights of -1 and 1: the second one's input holds two levels, which are no neighbours.

    Every third one has a third level in one channel, or fills its margins with one; a few have some other weight.
    """
    rng = np.random.default_rng(seed)
    inputs, middle = int(rng.choice([3, 32, 64])), int(rng.choice([31, 32, 33, 64, 100, 257]))
    outputs = int(rng.choice([1, 15, 16, 33, 64, 130]))
    first = Window((7, 6), (3, 3), pads=(1, 1), output=(7, 6))
    kernel, strides, dilations, pads = (rng.integers(*ends, 2) for ends in ((1, 4), (1, 3), (1, 3), (0, 2)))
    output = (np.array((7, 6)) + 2 * pads - (kernel - 1) * dilations - 1) // strides + 1
    numbers = ((int(a), int(b)) for a, b in (kernel, strides, dilations, pads, output))
    second = Window((7, 6), *numbers)
    low, distance = int(rng.integers(0, 5)), int(rng.integers(1, 8))
    base, step = np.full((1, middle), low, np.int32), np.ones((1, middle), np.int32)
    turned = rng.random((1, middle)) < 0.3
    base[turned], step[turned] = low + distance, -1
    values = np.repeat(rng.integers(-20, 21, (1, middle, 1)), distance, axis=2).astype(np.int32)
    if seed % 3 == 0 and distance > 1:
        values[0, -1, -1] += 9
    zero = low + (distance if seed % 2 else 0) + (1 if seed % 6 == 1 else 0)
    sizes = (42 * inputs, 42 * middle, int(np.prod(output)) * outputs)
    shapes = ((middle, 3, 3, inputs), (outputs, *kernel, middle))
    signs = [rng.choice([-1, 1], shape).astype(np.int8) for shape in shapes]
    if seed % 7 == 0:
        signs[1][-1, 0, 0, -1] = rng.choice([0, 2, -3])
    epilogue = Epilogue(thresholds=Thresholds(base, step, values))
    bound = (low + distance) * int(np.abs(signs[1].astype(int)).sum(axis=(1, 2, 3)).max()) + 9
    last = _epilogue(rng, outputs, bound) if seed % 4 else None
    held, size = (Element.SUM, 4) if last is None else (Element.BYTE, 1)
    ends = np.cumsum([-(-count // 64) * 64 for count in (sizes[0], sizes[1], sizes[2] * size)]).tolist()
    tensors = (
        Tensor("x", sizes[0], Element.REAL),
        Tensor("t0", sizes[0], Element.BYTE, 1, 0, 1, 0),
        Tensor("t1", sizes[1], Element.BYTE, zero, 0, low + distance, ends[0]),
        Tensor("t2", sizes[2], held, 0, -bound, bound, ends[1]),
        Tensor("y", sizes[2], Element.REAL),
    )
    offsets = [rng.integers(-9, 9, len(w)).astype(np.int32) for w in signs]
    bounds = [np.full(len(w), b, np.int32) for w, b in zip(signs, (9 * inputs + 9, bound), strict=True)]
    steps = (
        Quantize(0, 1, 1, False, (), _ONE, np.ones(1, np.float32), 0, 1),
        Product(1, 2, first, 1, signs[0], offsets[0], -bounds[0], bounds[0], epilogue),
        Product(2, 3, second, 1, signs[1], offsets[1], -bounds[1], bounds[1], last),
        Dequantize(3, 4, 1, False, np.ones(1), 1.0, np.zeros(1), ()),
    )
    return Plan(tensors, steps, (Port("x", 0, (sizes[0],)),), (Port("y", 4, (sizes[2],)),), ends[2], ())


def _layer(
    rng: np.random.Generator,
    window: Window,
    group: int,
    weights: np.ndarray,
    largest: int,
    make: Callable[[np.random.Generator, int, int], Epilogue | None],
) -> Plan:
    outputs, inputs = len(weights), weights.shape[-1]
    offset = rng.integers(-1000, 1000, outputs)
    bound = int(largest * np.abs(weights).reshape(outputs, -1).sum(axis=1).max() + 1000)
    epilogue = make(rng, outputs, bound)
    x, pixels = int(np.prod(window.size)) * group * inputs, int(np.prod(window.output)) * outputs
    zero = int(rng.integers(0, largest + 1))
    held = Element.SUM if epilogue is None else Element.BYTE
    end = -(-x // 64) * 64
    size_of_sums = pixels * (4 if epilogue is None else 1)
    tensors = (
        Tensor("x", x, Element.REAL),
        Tensor("levels", x, Element.BYTE, zero, 0, largest, 0),
        Tensor("sums", pixels, held, 0, -bound, bound, end),
        Tensor("y", pixels, Element.REAL),
    )
    bounds = np.full(outputs, bound, np.int32)
    steps = (
        Quantize(0, 1, 1, False, (), _ONE, np.full(1, zero, np.float32), 0, largest),
        Product(1, 2, window, group, weights.astype(np.int8), offset.astype(np.int32), -bounds, bounds, epilogue),
        Dequantize(2, 3, 1, False, np.ones(1), 1.0, np.zeros(1), ()),
    )
    arena = end + -(-size_of_sums // 64) * 64
    return Plan(tensors, steps, (Port("x", 0, (x,)),), (Port("y", 3, (pixels,)),), arena, ())


def narrowing(seed: int, size: int = 100) -> Plan:
    """A large input, of which some samples fit into a cache, and small layers behind it, for which many samples do."""
    rng = np.random.default_rng(seed)
    kernel, channels, outputs = size // 10, 3, 24
    first = Window((size, size), (kernel, kernel), (kernel, kernel), output=(10, 10))
    second = Window((10, 10), (3, 3), pads=(1, 1), output=(10, 10))
    pool = Window((10, 10), (2, 2), (2, 2), output=(5, 5))
    third = Window((5, 5), (5, 5), output=(1, 1))
    counts = (size * size * channels, 100 * outputs, 100 * outputs, 25 * outputs, outputs)
    tensors, end = [Tensor("x", counts[0], Element.REAL)], 0
    for number, count in enumerate(counts):
        tensors.append(Tensor(f"t{number}", count, Element.BYTE, 2, 0, 7, end))
        end += -(-count // 64) * 64
    tensors.append(Tensor("y", outputs, Element.REAL))

    def product(x: int, window: Window, inputs: int) -> Product:
        weights = rng.integers(-2, 3, (outputs, *window.kernel, inputs)).astype(np.int8)
        bound = int(7 * np.abs(weights.astype(int)).reshape(outputs, -1).sum(axis=1).max() + 9)
        values = np.sort(rng.integers(-bound // 4, bound // 4, (1, outputs, 7)), axis=2).astype(np.int32)
        zeros, ones = np.zeros((1, outputs), np.int32), np.ones((1, outputs), np.int32)
        bounds, offset = np.full(outputs, bound, np.int32), rng.integers(-9, 9, outputs).astype(np.int32)
        epilogue = Epilogue(thresholds=Thresholds(zeros, ones, values))
        return Product(x, x + 1, window, 1, weights, offset, -bounds, bounds, epilogue)

    steps = (
        Quantize(0, 1, 1, False, (), _ONE, np.full(1, 2, np.float32), 0, 7),
        product(1, first, channels),
        product(2, second, outputs),
        Pool(3, 4, PoolKind.MAX, outputs, pool),
        product(4, third, outputs),
        Dequantize(5, 6, 1, False, np.ones(1), 1.0, np.zeros(1), ()),
    )
    return Plan(tuple(tensors), steps, (Port("x", 0, (counts[0],)),), (Port("y", 6, (outputs,)),), end, ())


def samples_of(plan: Plan, count: int) -> dict[str, np.ndarray]:
    """Whole numbers and halves, at the ends of the range and beyond."""
    rng = np.random.default_rng(count)
    tensor = plan.tensors[1]
    levels = rng.integers(-2, 2 * tensor.hi + 4, (count, tensor.elements)) / 2 - tensor.zero
    return {"x": levels.astype(np.float32)}


def _epilogue(rng: np.random.Generator, outputs: int, bound: int) -> Epilogue | None:
    kind = int(rng.integers(0, 4))
    if kind == 0:
        return None
    if kind == 1:
        factor, bias = rng.integers(1, 4, outputs), rng.integers(-99, 99, outputs)
        multiplier = rng.uniform(20, 400, outputs) / bound
        if 4 * bound > 1 << 24:
            factor[:] = 1
        return Epilogue(
            multiplier=Multiplier(
                factor.astype(np.int32),
                bias.astype(np.int32),
                multiplier.astype(np.float32),
                128,
                0,
                int(rng.integers(200, 256)),
            )
        )
    count = int(rng.choice([1, 2, 3, 7, 15, 24, 25, 60, 200]))
    step = rng.choice([-1, 1], (1, outputs))
    base = np.where(step < 0, count, rng.integers(0, 256 - count, (1, outputs)))
    values = np.sort(rng.integers(-bound // 2, bound // 2 + 1, (1, outputs, count)), axis=2)
    if count > 24 and rng.random() < 0.7:  # nearly on a line, as those of a quantiser of 8 bits are
        line = np.linspace(-bound // 3, bound // 3, count) + rng.integers(-bound // 9, bound // 9 + 1, (1, outputs, 1))
        values = np.sort(np.rint(line + rng.uniform(-0.3, 0.3, values.shape) * bound / count).astype(np.int64), axis=2)
    values[:, :, -1] = np.where(rng.random((1, outputs)) < 0.2, np.iinfo(np.int32).max, values[:, :, -1])
    return Epilogue(thresholds=Thresholds(base.astype(np.int32), step.astype(np.int32), values.astype(np.int32)))


def _lined(rng: np.random.Generator, outputs: int, bound: int) -> Epilogue:
    count = int(rng.choice([1, 2, 3, 15, 24, 40, 255]))
    spacing = np.maximum(rng.uniform(0.02, 0.6, (1, outputs, 1)) * bound / count, 4)
    line = spacing * (np.arange(count) - rng.uniform(0, count, (1, outputs, 1)))
    values = np.rint(line + rng.uniform(-0.2, 0.2, (1, outputs, count)) * spacing)
    step = rng.choice([-1, 1], (1, outputs))
    base = np.where(step < 0, count, rng.integers(0, 256 - count, (1, outputs)))
    values[:, :, -1] = np.where(rng.random((1, outputs)) < 0.2, np.iinfo(np.int32).max, values[:, :, -1])
    return Epilogue(thresholds=Thresholds(base.astype(np.int32), step.astype(np.int32), values.astype(np.int32)))


def _nearly_lined(rng: np.random.Generator, outputs: int, bound: int) -> Epilogue:
    del bound
    count = int(rng.choice([25, 60, 255]))
    line = rng.uniform(25, 60, (1, outputs, 1)) * (np.arange(count) - rng.uniform(0, count, (1, outputs, 1)))
    values = np.rint(line) + rng.integers(-1, 2, (1, outputs, count))
    step = rng.choice([-1, 1], (1, outputs))
    base = np.where(step < 0, count, rng.integers(0, 256 - count, (1, outputs)))
    values[:, :, -1] = np.where(rng.random((1, outputs)) < 0.2, np.iinfo(np.int32).max, values[:, :, -1])
    return Epilogue(thresholds=Thresholds(base.astype(np.int32), step.astype(np.int32), values.astype(np.int32)))
