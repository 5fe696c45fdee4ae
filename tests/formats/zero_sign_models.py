"""Random small models in which an operator may tell -0 from +0 behind a quantiser, and inputs that make zeros."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from tests.models import model, parameters, quant

WIDTH = 4
QUANTISERS = ("Quant", "unsigned", "zero point", "mode", "FloatQuant", "Trunc", "QCDQ", "QDQ", "float8", "arithmetic")
MIDDLES = (
    "Abs Add0 Add-0 Add1 Clip Concat Identity If MatMul MaxPool Mul Neg PRelu Quant Quant2 Relu Reshape Sub0 Sub-0 Sum0 "
    "Tanh Transpose Estimator MultiThreshold Layer Branch Loop"
).split()
TELLERS = ("Reciprocal", "Div", "Pow", "custom Pow", "Softmax", "none")


class Builder:
    """Nodes in a chain from x, and their constants."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.last = "x"

    def put(self, op_type: str, *others: np.ndarray | float, first: bool = True, **attributes: object) -> None:
        """A node of the last tensor and constants."""
        name = f"t{len(self.nodes)}"
        names = [f"{name}_{i}" for i in range(len(others))]
        self.constants |= {n: np.asarray(o, getattr(o, "dtype", np.float32)) for n, o in zip(names, others, strict=True)}
        inputs = [self.last, *names] if first else [*names, self.last]
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=f"{name}_{op_type}", **attributes))
        self.last = name

    def quantise(self, *, scale: float = 0.5, zeropt: float = 0.0, bits: float = 4.0, **attributes: object) -> None:
        """A Quant."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(quant(self.last, name, **attributes))
        self.constants |= parameters(name, scale=scale, zeropt=zeropt, bits=bits)
        self.last = name

    def linear(self, dtype: type, zero: int, clip: tuple[int, int] | None) -> None:
        """QuantizeLinear, perhaps Clip, DequantizeLinear."""
        scale, zero_point = np.float32(0.5), np.asarray(zero, dtype)
        self.put("QuantizeLinear", scale, zero_point)
        if clip is not None:
            self.put("Clip", *(np.asarray(c, dtype) for c in clip))
        if self.rng.random() < 0.3:
            self.put("Reshape", np.array([-1, WIDTH], np.int64))
        self.put("DequantizeLinear", scale, zero_point)


def _source(b: Builder, kind: str) -> None:
    match kind:
        case "unsigned":
            b.quantise(signed=0)
        case "zero point":
            b.quantise(zeropt=float(b.rng.choice([2.0, 1.0, -0.0])))
        case "mode":
            modes = "CEIL FLOOR UP DOWN HALF_UP HALF_DOWN".split()
            b.quantise(rounding_mode=str(b.rng.choice(modes)))
        case "FloatQuant":
            name = f"t{len(b.nodes)}"
            numbers = (0.5, 4.0, 3.0, float(b.rng.choice([7, 8])), 240.0)
            names = [f"{name}_{i}" for i in range(5)]
            b.constants |= {n: np.float32(v) for n, v in zip(names, numbers, strict=True)}
            b.nodes.append(helper.make_node("FloatQuant", [b.last, *names], [name], domain="qonnx.custom_op.general"))
            b.last = name
        case "Trunc":
            b.quantise(bits=6.0)
            name = f"t{len(b.nodes)}"
            names = [f"{name}_{i}" for i in range(4)]
            b.constants |= {n: np.float32(v) for n, v in zip(names, (0.5, 0.0, 6.0, 4.0), strict=True)}
            b.nodes.append(
                helper.make_node(
                    "Trunc", [b.last, *names], [name], domain="qonnx.custom_op.general", rounding_mode="ROUND"
                )
            )
            b.last = name
        case "QCDQ":
            b.linear(np.int8, 0, (-8, 7))
        case "QDQ":
            dtype, zero = [(np.int8, 0), (np.uint8, 0), (np.uint8, 10), (np.int8, -3)][b.rng.integers(4)]
            b.linear(dtype, zero, None)
        case "float8":
            types = (onnx.TensorProto.FLOAT8E4M3FN, onnx.TensorProto.FLOAT8E4M3FNUZ, onnx.TensorProto.FLOAT8E5M2)
            dtype = helper.tensor_dtype_to_np_dtype(types[b.rng.integers(3)])
            b.put("QuantizeLinear", np.float32(0.5), np.zeros((), dtype))
            b.put("DequantizeLinear", np.float32(0.5), np.zeros((), dtype))
        case "arithmetic":
            b.put("Div", 0.5)
            b.put("Round")
            b.put("Clip", -8.0, 7.0)
            b.put("Mul", 0.5)
        case _:
            b.quantise(narrow=int(b.rng.integers(2)), bits=float(b.rng.choice([2, 4, 8, 9])))


def _middle(b: Builder, kind: str) -> None:
    match kind:
        case "Add0" | "Add-0" | "Add1" | "Sub0" | "Sub-0" | "Sum0":
            number = {"0": 0.0, "-0": -0.0, "1": 1.0}[kind[3:]]
            shape = [(), (1,), (WIDTH,), (1, WIDTH)][b.rng.integers(4)]
            b.put(kind[:3], np.full(shape, number, np.float32), first=kind[:3] == "Sub" or bool(b.rng.integers(2)))
        case "Clip":
            b.put("Clip", float(b.rng.choice([-1.0, 0.0, 0.5])), 2.0)
        case "Concat":
            b.nodes.append(helper.make_node("Concat", [b.last, b.last], [f"{b.last}_two"], axis=1))
            b.last = f"{b.last}_two"
            b.put("Slice", np.array([WIDTH]), np.array([2 * WIDTH]), np.array([1]))
        case "If":
            inner = helper.make_node("Neg", [b.last], [f"{b.last}_inner"])
            other = helper.make_node("Identity", [b.last], [f"{b.last}_other"])
            graphs = {
                k: helper.make_graph([n], k, [], [helper.make_tensor_value_info(n.output[0], 1, None)])
                for k, n in (("then_branch", inner), ("else_branch", other))
            }
            name = f"t{len(b.nodes)}"
            b.nodes.append(helper.make_node("Cast", ["flag"], [f"{name}_flag"], to=onnx.TensorProto.BOOL))
            b.nodes.append(helper.make_node("If", [f"{name}_flag"], [name], **graphs))
            b.last = name
        case "Branch":
            _branch(b)
        case "Loop":
            _loop(b)
        case "Layer":
            weights = b.rng.choice([-1.0, -0.1, 0.0, 0.6], (WIDTH, WIDTH)).astype(np.float32)
            name = f"w{len(b.nodes)}"
            b.constants |= {name: weights} | parameters(f"{name}q")
            b.nodes.append(quant(name, f"{name}q", narrow=1))
            b.quantise(signed=int(b.rng.integers(2)))
            b.nodes.append(helper.make_node("MatMul", [b.last, f"{name}q"], [f"{name}_sums"], name=f"{name}_product"))
            b.last = f"{name}_sums"
            if b.rng.random() < 0.5:
                b.quantise(scale=2.0)
        case "MatMul":
            b.put("MatMul", b.rng.integers(-1, 2, (WIDTH, WIDTH)).astype(np.float32))
        case "MaxPool":
            b.put("Reshape", np.array([-1, WIDTH, 1], np.int64))
            b.put("MaxPool", kernel_shape=[1])
            b.put("Reshape", np.array([-1, WIDTH], np.int64))
        case "Mul":
            b.put("Mul", float(b.rng.choice([1.0, -2.0, 0.25])))
        case "PRelu":
            b.put("PRelu", np.float32([-0.5]))
        case "Quant":
            b.quantise(scale=0.25, bits=6.0)
        case "Quant2":
            b.quantise()
        case "Reshape":
            b.put("Reshape", np.array([-1, WIDTH], np.int64))
        case "Transpose":
            b.put("Transpose", perm=[1, 0])
            b.put("Transpose", perm=[1, 0])
        case "Estimator":
            x = b.last
            b.quantise(scale=0.25, bits=8.0)
            q = b.last
            b.nodes.append(helper.make_node("Sub", [q, x], [f"{q}_apart"]))
            b.nodes.append(helper.make_node("Add", [x, f"{q}_apart"], [f"{q}_sum"]))
            b.last = f"{q}_sum"
        case "MultiThreshold":
            thresholds = (np.arange(-2, 2)[None] + 0.5).astype(np.float32)
            b.put(kind, thresholds, domain="qonnx.custom_op.general", out_dtype="INT3", out_bias=-2.0, data_layout="NC")
        case _:
            b.put(kind)


def _branch(b: Builder) -> None:
    """If: a QDQ pair in one branch, a Quant in the other."""
    name = f"t{len(b.nodes)}"
    b.constants |= {f"{name}_s": np.float32(0.5), f"{name}_z": np.int8(0)} | parameters(f"{name}_q")
    pair = [
        helper.make_node("QuantizeLinear", [b.last, f"{name}_s", f"{name}_z"], [f"{name}_integers"]),
        helper.make_node("DequantizeLinear", [f"{name}_integers", f"{name}_s", f"{name}_z"], [f"{name}_real"]),
    ]
    graphs = {
        k: helper.make_graph(nodes, k, [], [helper.make_tensor_value_info(nodes[-1].output[0], 1, None)])
        for k, nodes in (("then_branch", pair), ("else_branch", [quant(b.last, f"{name}_q")]))
    }
    b.nodes.append(helper.make_node("Cast", ["flag"], [f"{name}_flag"], to=onnx.TensorProto.BOOL))
    b.nodes.append(helper.make_node("If", [f"{name}_flag"], [name], name=f"{name}_If", **graphs))
    b.last = name


def _loop(b: Builder) -> None:
    """Loop: what it carries is quantised in each of two rounds."""
    name = f"t{len(b.nodes)}"
    b.constants |= parameters(f"{name}_q") | {f"{name}_two": np.int64(2), f"{name}_true": np.array(True)}
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            quant(f"{name}_in", f"{name}_q"),
            helper.make_node("Neg", [f"{name}_q"], [f"{name}_out"]),
            helper.make_node("Identity", [f"{name}_go"], [f"{name}_on"]),
        ],
        "body",
        [info(f"{name}_i", 7, []), info(f"{name}_go", 9, []), info(f"{name}_in", 1, [None, WIDTH])],
        [info(f"{name}_on", 9, []), info(f"{name}_out", 1, [None, WIDTH])],
    )
    b.nodes.append(helper.make_node("Loop", [f"{name}_two", f"{name}_true", b.last], [name], body=body))
    b.last = name


def _tell(b: Builder, kind: str) -> None:
    match kind:
        case "Div":
            b.put("Div", np.float32([1.0, -2.0, 3.0, 4.0]), first=False)
        case "Pow":
            b.put("Pow", float(b.rng.choice([-1.0, -2.0, 3.0])))
        case "custom Pow":
            b.put("Pow", np.float32([-1.0, -3.0, 2.0, 0.5]))
        case "none":
            pass
        case _:
            b.put(kind)


def random_model(seed: int) -> onnx.ModelProto:
    """x -> quantiser -> 0 to 3 operators -> an operator that may tell the sign of zero -> y."""
    rng = np.random.default_rng(seed)
    b = Builder(rng)
    if rng.random() < 0.3:
        _middle(b, str(rng.choice(MIDDLES)))
    _source(b, str(rng.choice(QUANTISERS)))
    for _ in range(rng.integers(4)):
        _middle(b, str(rng.choice(MIDDLES)))
    between = b.last
    _tell(b, str(rng.choice(TELLERS)))
    if rng.random() < 0.3:
        b.put("MatMul", np.eye(WIDTH, dtype=np.float32))
    b.nodes.append(helper.make_node("Identity", [b.last], ["y"]))
    outputs = ["y"]
    if rng.random() < 0.3:
        b.nodes.append(helper.make_node("Identity", [between], ["z"]))
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
