"""Small random nets of quantised layers, one for each seed, for what no list of features thinks of.

A net is a body of vectors, sequences or images: products, biases, norms, functions, pools and quantisers of random
parameters, with branches that are added or joined.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from tests.targets.hls4ml.nets import Net

_OPSETS = (11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21)
_MODES = ("FLOOR", "CEIL", "ROUND_TO_ZERO", "HALF_UP", "HALF_DOWN", "UP", "DOWN")
_FUNCTIONS = "Relu Relu Relu LeakyRelu PRelu Clip HardSigmoid Abs Neg Max Min Identity".split()


@dataclass
class _Draft:
    """A net that grows, and the sizes of its tensor without the batch: channels first.

    Attributes:
        net: What is there.
        rng: What decides.
        sizes: Of the tensor at `net.at`.
        two: Whether scales are powers of two.
    """

    net: Net
    rng: np.random.Generator
    sizes: tuple[int, ...]
    two: bool

    def pick(self, *options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def scale(self, lowest: int = -4, highest: int = 0) -> float:
        """One scale."""
        power = 2.0 ** int(self.rng.integers(lowest, highest + 1))
        return power if self.two else float(np.float32(power * self.rng.uniform(0.7, 1.4)))

    def by_channel(self, count: int, lowest: int = -4, highest: int = 0) -> np.ndarray:
        return np.float32([self.scale(lowest, highest) for _ in range(count)])

    def along(self, array: np.ndarray) -> np.ndarray:
        """By channel, in a shape that broadcasts."""
        return np.asarray(array, np.float32).reshape(-1, *([1] * (len(self.sizes) - 1)))

    def quant(self) -> None:
        """A quantiser of an activation, mostly of few bits."""
        if self.chance(0.08):
            self.net.bipolar(1.0 if self.chance(0.8) else self.scale())
            return
        given: dict[str, Any] = {"signed": int(self.chance(0.6)), "bits": self.pick(2, 3, 3, 4, 4, 4, 5, 6, 8)}
        given["narrow"] = int(given["bits"] > 1 and self.chance(0.2))
        given["rounding_mode"] = self.pick(*_MODES) if self.chance(0.15) else "ROUND"
        given["zeropt"] = float(self.rng.integers(-3, 6)) if self.chance(0.08) else 0.0
        given["scale"] = self.scale(-3, 0)
        if self.chance(0.1):
            scales = self.by_channel(self.sizes[0], -3, 0)
            given["scale"] = scales.reshape(1, -1, *([1] * (len(self.sizes) - 1)))
        self.net.quant(**given)

    def weights(self) -> dict[str, Any]:
        """How a product's weights are quantised."""
        bits = self.pick(0, 2, 3, 4, 4, 4, 6, 8)
        if bits == 0:
            return {"bits": 0, "scale": 1.0 if self.chance(0.7) else self.scale()}
        return {"bits": bits, "scale": self.scale(-4, -2), "narrow": int(self.chance(0.4))}

    def product(self) -> None:
        """A dense layer or a convolution."""
        if len(self.sizes) == 1:
            self.dense(int(self.rng.integers(1, 7)))
        else:
            self.conv()

    def dense(self, outputs: int) -> None:
        given = self.weights()
        if given["bits"] and self.chance(0.3):
            given["scale"] = self.by_channel(outputs)
        if self.chance(0.2) and given["bits"]:
            given["scale"] = np.float32(np.mean(given["scale"]))
            made = self.net.weights((outputs, self.sizes[0]), **given)
            bias = [self.net.const(self.bias(outputs))] if self.chance(0.6) else []
            attributes = {"alpha": self.pick(1.0, 1.0, 0.5), "beta": self.pick(1.0, 1.0, 2.0)}
            self.net.op("Gemm", made, *bias, transB=1, **attributes)
        else:
            self.net.dense(self.sizes[0], outputs, **given)
        self.sizes = (outputs,)

    def conv(self) -> None:
        channels, *spatial = self.sizes
        given = self.weights()
        kernel = [min(int(self.pick(1, 2, 3, 3)), n) for n in spatial]
        outputs, group = int(self.rng.integers(1, 6)), 1
        if self.chance(0.25):
            group, outputs = channels, channels * self.pick(1, 1, 2)
        elif channels % 2 == 0 and self.chance(0.15):
            group, outputs = 2, 2 * self.pick(1, 2)
        if given["bits"] and self.chance(0.3):
            given["scale"] = self.by_channel(outputs).reshape(-1, *([1] * (len(spatial) + 1)))
        strides = [self.pick(1, 1, 1, 2) for _ in spatial]
        dilations = [self.pick(1, 1, 1, 2) for _ in spatial] if self.chance(0.15) else [1] * len(spatial)
        pads = [self.pick(0, 1) for _ in range(2 * len(spatial))] if self.chance(0.2) else [0] * (2 * len(spatial))
        if self.chance(0.4):
            pads = [k // 2 for k in kernel] * 2
        reach = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
        padded = [n + pads[i] + pads[i + len(spatial)] for i, n in enumerate(spatial)]
        if any(r > n for r, n in zip(reach, padded, strict=True)):
            dilations, reach = [1] * len(spatial), kernel
        options = {"pads": pads, "strides": strides, "dilations": dilations, "group": group}
        self.net.conv(channels, outputs, kernel=tuple(kernel), bias=self.chance(0.3), **given, **options)
        self.sizes = (outputs, *((n - r) // s + 1 for n, r, s in zip(padded, reach, strides, strict=True)))

    def bias(self, count: int) -> np.ndarray:
        drawn = self.rng.normal(size=count)
        return np.float32(np.rint(drawn * 8) / 8 if self.two else drawn)

    def arithmetic(self) -> None:
        """A constant by channel or for all."""
        op_type = self.pick("Add", "Add", "Mul", "Sub", "Div")
        count = self.pick(1, self.sizes[0])
        if op_type in ("Mul", "Div"):
            operand = self.by_channel(count, -1, 1) * np.where(self.rng.random(count) < 0.2, -1, 1)
        else:
            operand = self.bias(count)
        constant = self.net.const(self.along(operand) if count > 1 else operand.reshape(()))
        if op_type in ("Add", "Mul", "Sub") and self.chance(0.3):
            at, self.net.at = self.net.at, constant
            self.net.op(op_type, at)
        else:
            self.net.op(op_type, constant)

    def function(self) -> None:
        op_type = self.pick(*_FUNCTIONS)
        if op_type == "LeakyRelu":
            self.net.op(op_type, alpha=self.pick(0.25, 0.125, 0.1))
        elif op_type == "PRelu":
            slopes = self.by_channel(self.pick(1, self.sizes[0]), -4, -1)
            self.net.op(op_type, self.net.const(self.along(slopes) if slopes.size > 1 else slopes))
        elif op_type == "Clip":
            lo, hi = self.pick((0.0, 6.0), (-1.0, 1.0), (0.0, 1.0), (-0.5, 2.0))
            self.net.op(op_type, self.net.const(lo), self.net.const(hi))
        elif op_type in ("Max", "Min"):
            self.net.op(op_type, self.net.const(self.pick(0.0, 0.5, -1.0)))
        else:
            self.net.op(op_type)

    def pool(self) -> None:
        spatial = self.sizes[1:]
        op_type = self.pick("MaxPool", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool")
        if op_type.startswith("Global"):
            self.net.op(op_type)
            self.sizes = (self.sizes[0], *([1] * len(spatial)))
            return
        kernel = [min(self.pick(1, 2, 2, 3), n) for n in spatial]
        strides = list(kernel) if self.chance(0.7) else [self.pick(1, 2) for _ in spatial]
        pads = [self.pick(0, min(1, k - 1)) for k in kernel * 2] if self.chance(0.2) else [0] * (2 * len(spatial))
        given = {"count_include_pad": self.pick(0, 1)} if op_type == "AveragePool" else {}
        self.net.op(op_type, kernel_shape=kernel, strides=strides, pads=pads, **given)
        padded = [n + pads[i] + pads[i + len(spatial)] for i, n in enumerate(spatial)]
        self.sizes = (
            self.sizes[0],
            *((n - k) // s + 1 for n, k, s in zip(padded, kernel, strides, strict=True)),
        )

    def block(self) -> None:
        """A product, what stands behind it, and a quantiser."""
        self.product()
        if self.chance(0.25):
            self.arithmetic()
        if self.chance(0.3):
            self.net.norm(self.sizes[0], negative=self.chance(0.3))
        if self.chance(0.15):
            self.arithmetic()
        if self.chance(0.5):
            self.function()
        if len(self.sizes) > 1 and self.chance(0.15):
            self.pool()
        if self.chance(0.85):
            self.quant()
            if len(self.sizes) > 1 and self.chance(0.25):
                self.pool()

    def branch(self, sizes: tuple[int, ...], *, channels: int) -> str:
        """A product that keeps the size of images, and a quantiser."""
        if len(sizes) == 1:
            self.net.dense(sizes[0], channels, **self.weights())
        else:
            kernel, axes = self.pick(1, 3), len(sizes) - 1
            pads = [kernel // 2] * 2 * axes
            self.net.conv(sizes[0], channels, kernel=(kernel,) * axes, pads=pads, **self.weights())
        self.sizes = (channels, *sizes[1:])
        if self.chance(0.4):
            self.function()
        if self.chance(0.8):
            self.quant()
        return self.net.at

    def fork(self) -> None:
        """Two branches that are joined; one may be the tensor itself."""
        at, sizes = self.net.at, self.sizes
        op_type = self.pick("Add", "Add", "Add", "Concat", "Sub", "Mul", "Max")
        if op_type == "Concat":
            first = self.branch(sizes, channels=int(self.rng.integers(1, 5)))
            one = self.sizes[0]
            self.net.at, self.sizes = at, sizes
            self.branch(sizes, channels=int(self.rng.integers(1, 5)))
            self.net.op("Concat", first, axis=1)
            self.sizes = (one + self.sizes[0], *sizes[1:])
        else:
            first = self.branch(sizes, channels=sizes[0])
            self.net.at, self.sizes = at, sizes
            if self.chance(0.5):
                self.branch(sizes, channels=sizes[0])
            self.net.op(op_type, first)
        if self.chance(0.3):
            self.function()
        if self.chance(0.8):
            self.quant()

    def head(self) -> None:
        """Images as vectors."""
        if self.chance(0.2):
            shape = self.net.const([1, int(np.prod(self.sizes))], np.int64)
            self.net.op("Reshape", shape)
        else:
            self.net.op("Flatten")
        self.sizes = (int(np.prod(self.sizes)),)


def random_net(seed: int) -> onnx.ModelProto:
    """The net of a seed."""
    rng = np.random.default_rng([seed, 20])
    sizes: Sequence[tuple[int, ...]] = ((5,), (6,), (3, 8), (3, 5, 5), (2, 6, 4), (4, 4, 4), (1, 6, 6))
    shape = sizes[int(rng.integers(len(sizes)))]
    draft = _Draft(Net(*shape, seed=seed), rng, shape, two=bool(rng.random() < 0.5))
    if draft.chance(0.1):
        draft.arithmetic()
    if draft.chance(0.9):
        draft.quant()
    parts: Sequence[Callable[[], None]] = (draft.block, draft.block, draft.fork)
    for _ in range(int(rng.integers(1, 4))):
        draft.pick(*parts)()
    if len(draft.sizes) > 1 and draft.chance(0.5):
        draft.head()
        draft.dense(int(rng.integers(1, 5)))
        if draft.chance(0.3):
            draft.quant()
    middle = [n.output[0] for n in draft.net.nodes[2:-1] if n.op_type in ("Quant", "Relu", "Add")]
    extra = [draft.pick(*middle)] if middle and draft.chance(0.1) else []
    return draft.net.proto(*extra, draft.net.at, opset=draft.pick(*_OPSETS))
