"""Random small models in which an operator may tell -0 from +0 behind a quantiser, and inputs that make zeros."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.models import DOMAIN, model, parameters, quant

WIDTH = 4


class Builder:
    """Nodes in a chain from x, and their constants."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.last = "x"

    @property
    def name(self) -> str:
        """The name of the next tensor."""
        return f"t{len(self.nodes)}"

    def choose(self, *options):
        """One of them."""
        return options[self.rng.integers(len(options))]

    def put(self, op_type: str, *others: np.ndarray | float, first: bool = True, **attributes: object) -> None:
        """A node of the last tensor and constants."""
        name = self.name
        names = [f"{name}_{i}" for i in range(len(others))]
        arrays = [np.asarray(o, getattr(o, "dtype", np.float32)) for o in others]
        self.constants |= dict(zip(names, arrays, strict=True))
        self.link(op_type, [self.last, *names] if first else [*names, self.last], name, **attributes)

    def link(self, op_type: str, inputs: list[str], output: str, **attributes: object) -> None:
        """A node, whose output is the last tensor then."""
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=f"{output}_{op_type}", **attributes))
        self.last = output

    def quantise(self, *, scale: float = 0.5, zeropt: float = 0.0, bits: float = 4.0, **attributes: object) -> None:
        """A Quant."""
        name = self.name
        self.nodes.append(quant(self.last, name, **attributes))
        self.constants |= parameters(name, scale=scale, zeropt=zeropt, bits=bits)
        self.last = name

    def ours(self, op_type: str, *numbers: float, **attributes: object) -> None:
        """Another of our operators."""
        self.put(op_type, *numbers, domain=DOMAIN, **attributes)

    def linear(self, zero: np.ndarray, clip: tuple[int, int] | None = None) -> None:
        """QuantizeLinear, perhaps Clip and Reshape, DequantizeLinear."""
        scale = np.float32(0.5)
        self.put("QuantizeLinear", scale, zero)
        if clip is not None:
            self.put("Clip", *(np.asarray(c, zero.dtype) for c in clip))
        if self.rng.random() < 0.3:
            self.put("Reshape", np.array([-1, WIDTH], np.int64))
        self.put("DequantizeLinear", scale, zero)


def _truncate(b: Builder) -> None:
    b.quantise(bits=6.0)
    b.ours("Trunc", 0.5, 0.0, 6.0, 4.0, rounding_mode="ROUND")


def _arithmetic(b: Builder) -> None:
    b.put("Div", 0.5)
    b.put("Round")
    b.put("Clip", -8.0, 7.0)
    b.put("Mul", 0.5)


def _float8(b: Builder) -> None:
    name = b.choose("FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2")
    zero = np.zeros((), helper.tensor_dtype_to_np_dtype(getattr(TensorProto, name)))
    b.put("QuantizeLinear", np.float32(0.5), zero)
    b.put("DequantizeLinear", np.float32(0.5), zero)


QUANTISERS: dict[str, Callable[[Builder], None]] = {
    "Quant": lambda b: b.quantise(narrow=int(b.rng.integers(2)), bits=b.choose(2.0, 4.0, 8.0, 9.0)),
    "unsigned": lambda b: b.quantise(signed=0),
    "zero point": lambda b: b.quantise(zeropt=b.choose(2.0, 1.0, -0.0)),
    "mode": lambda b: b.quantise(rounding_mode=b.choose("CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN")),
    "FloatQuant": lambda b: b.ours("FloatQuant", 0.5, 4.0, 3.0, b.choose(7.0, 8.0), 240.0),
    "Trunc": _truncate,
    "QCDQ": lambda b: b.linear(np.int8(0), (-8, 7)),
    "QDQ": lambda b: b.linear(b.choose(np.int8(0), np.uint8(0), np.uint8(10), np.int8(-3))),
    "float8": _float8,
    "arithmetic": _arithmetic,
}


def _added(op_type: str, number: float) -> Callable[[Builder], None]:
    def put(b: Builder) -> None:
        shape = b.choose((), (1,), (WIDTH,), (1, WIDTH))
        b.put(op_type, np.full(shape, number, np.float32), first=op_type == "Sub" or b.choose(True, False))

    return put


def _plain(op_type: str, *numbers: np.ndarray | float, **attributes: object) -> Callable[[Builder], None]:
    return lambda b: b.put(op_type, *numbers, **attributes)


def _concat(b: Builder) -> None:
    b.link("Concat", [b.last, b.last], b.name, axis=1)
    b.put("Slice", np.array([WIDTH]), np.array([2 * WIDTH]), np.array([1]))


def _transpose(b: Builder) -> None:
    b.put("Transpose", perm=[1, 0])
    b.put("Transpose", perm=[1, 0])


def _max_pool(b: Builder) -> None:
    b.put("Reshape", np.array([-1, WIDTH, 1], np.int64))
    b.put("MaxPool", kernel_shape=[1])
    b.put("Reshape", np.array([-1, WIDTH], np.int64))


def _estimator(b: Builder) -> None:
    """x + (q(x) - x)."""
    x = b.last
    b.quantise(scale=0.25, bits=8.0)
    b.link("Sub", [b.last, x], b.name)
    b.link("Add", [x, b.last], b.name)


def _layer(b: Builder) -> None:
    """A product of quantised tensors, perhaps quantised."""
    weights = b.rng.choice([-1.0, -0.1, 0.0, 0.6], (WIDTH, WIDTH)).astype(np.float32)
    name = f"w{len(b.nodes)}"
    b.constants |= {name: weights} | parameters(f"{name}q")
    b.nodes.append(quant(name, f"{name}q", narrow=1))
    b.quantise(signed=int(b.rng.integers(2)))
    b.link("MatMul", [b.last, f"{name}q"], b.name)
    if b.choose(True, False):
        b.quantise(scale=2.0)


def _branches(b: Builder) -> None:
    """If: a QDQ pair in one branch, Neg of a Quant in the other."""
    name, info = b.name, helper.make_tensor_value_info
    b.constants |= {f"{name}_s": np.float32(0.5), f"{name}_z": np.int8(0)} | parameters(f"{name}_q")
    pair = [
        helper.make_node("QuantizeLinear", [b.last, f"{name}_s", f"{name}_z"], [f"{name}_integers"]),
        helper.make_node("DequantizeLinear", [f"{name}_integers", f"{name}_s", f"{name}_z"], [f"{name}_real"]),
    ]
    negated = [quant(b.last, f"{name}_q"), helper.make_node("Neg", [f"{name}_q"], [f"{name}_n"])]
    graphs = {
        k: helper.make_graph(nodes, k, [], [info(nodes[-1].output[0], TensorProto.FLOAT, None)])
        for k, nodes in (("then_branch", pair), ("else_branch", negated))
    }
    b.nodes.append(helper.make_node("Cast", ["flag"], [f"{name}_flag"], to=TensorProto.BOOL))
    b.link("If", [f"{name}_flag"], name, **graphs)


def _loop(b: Builder) -> None:
    """Loop: what it carries is quantised in each of two rounds."""
    name, info = b.name, helper.make_tensor_value_info
    b.constants |= parameters(f"{name}_q") | {f"{name}_two": np.int64(2), f"{name}_true": np.array(True)}
    body = helper.make_graph(
        [
            quant(f"{name}_in", f"{name}_q"),
            helper.make_node("Neg", [f"{name}_q"], [f"{name}_out"]),
            helper.make_node("Identity", [f"{name}_go"], [f"{name}_on"]),
        ],
        "body",
        [
            info(f"{name}_i", TensorProto.INT64, []),
            info(f"{name}_go", TensorProto.BOOL, []),
            info(f"{name}_in", TensorProto.FLOAT, [None, WIDTH]),
        ],
        [info(f"{name}_on", TensorProto.BOOL, []), info(f"{name}_out", TensorProto.FLOAT, [None, WIDTH])],
    )
    b.link("Loop", [f"{name}_two", f"{name}_true", b.last], name, body=body)


_THRESHOLDS = (np.arange(-2, 2)[None] + 0.5).astype(np.float32)
MIDDLES: dict[str, Callable[[Builder], None]] = {
    **{op: _plain(op) for op in ("Abs", "Ceil", "Identity", "Neg", "Relu", "Tanh")},
    "Add 0": _added("Add", 0.0),
    "Add -0": _added("Add", -0.0),
    "Add 1": _added("Add", 1.0),
    "Sub 0": _added("Sub", 0.0),
    "Sub -0": _added("Sub", -0.0),
    "Sum 0": _added("Sum", 0.0),
    "Clip": lambda b: b.put("Clip", b.choose(-1.0, 0.0, 0.5), 2.0),
    "Concat": _concat,
    "If": _branches,
    "Layer": _layer,
    "Loop": _loop,
    "MatMul": lambda b: b.put("MatMul", b.rng.integers(-1, 2, (WIDTH, WIDTH)).astype(np.float32)),
    "MaxPool": _max_pool,
    "Mul": lambda b: b.put("Mul", b.choose(1.0, -2.0, 0.25)),
    "MultiThreshold": _plain(
        "MultiThreshold", _THRESHOLDS, domain=DOMAIN, out_dtype="INT3", out_bias=-2.0, data_layout="NC"
    ),
    "PRelu": _plain("PRelu", np.float32([-0.5])),
    "Quant": lambda b: b.quantise(scale=0.25, bits=6.0),
    "Quant again": lambda b: b.quantise(),
    "Reshape": _plain("Reshape", np.array([-1, WIDTH], np.int64)),
    "straight-through": _estimator,
    "Transpose": _transpose,
}
TELLERS: dict[str, Callable[[Builder], None]] = {
    "Reciprocal": _plain("Reciprocal"),
    "Div": _plain("Div", np.float32([1.0, -2.0, 3.0, 4.0]), first=False),
    "Pow": lambda b: b.put("Pow", b.choose(-1.0, -2.0, 3.0)),
    "Pow by column": _plain("Pow", np.float32([-1.0, -3.0, 2.0, 0.5])),
    "none": _plain("Exp"),
}


def random_model(seed: int) -> onnx.ModelProto:
    """x -> quantiser -> 0 to 3 operators -> an operator that may tell the sign of zero -> y.

    Thirty seeds that follow each other have all quantisers, all tellers, each operator next to the quantiser, and none.
    """
    b = Builder(np.random.default_rng(seed))
    if b.rng.random() < 0.3:
        b.choose(*MIDDLES.values())(b)
    turn, first = divmod(seed, len(MIDDLES) + 1)
    [*QUANTISERS.values()][(seed + turn) % len(QUANTISERS)](b)
    if first:
        [*MIDDLES.values()][first - 1](b)
        for _ in range(b.rng.integers(3)):
            b.choose(*MIDDLES.values())(b)
    between, outputs = b.last, ["y"]
    [*TELLERS.values()][(seed + seed // len(QUANTISERS)) % len(TELLERS)](b)
    if b.rng.random() < 0.3:
        b.put("Add", 0.0)
    b.link("Identity", [b.last], "y")
    if b.rng.random() < 0.3:
        b.link("Identity", [between], "z")
        outputs.append("z")
    inputs: dict[str, list[int | str]] = {"x": ["N", WIDTH]}
    if any(n.op_type == "If" for n in b.nodes):
        inputs["flag"] = []
    return model(b.nodes, b.constants, inputs=inputs, outputs=outputs)


def zeros_and_neighbours(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Zeros of both signs, numbers that are quantised to them, ties and others."""
    row = np.float32([-0.0, 0.0, -0.1, 0.1, -0.25, 0.25, -0.3, 0.3, -1e-30, 1e-30, -1.0, 1.0, -9.0, 9.0, -0.125, 0.75])
    x = np.concatenate([row, row[::-1], np.roll(row, 1), np.roll(row, 2)]).reshape(-1, WIDTH)
    feeds = {"x": x, "flag": np.float32(len(proto.graph.node) % 2)}
    return {i.name: feeds[i.name] for i in proto.graph.input}


def same_numbers(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    """Whether outputs are equal but for roundings of Tanh and 1 / x; infinities have a sign."""
    return all(np.allclose(a[k], b[k], rtol=1e-5, atol=1e-6, equal_nan=True) for k in a)
