"""What a product adds to its sums reaches every consumer of them in the FINN dialect, or is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

import anybit
from anybit.formats.convert import to_hub
from anybit.formats.thresholds.write import write_layers
from tests.models import model, parameters, quant, samples

_ANY = ("MatMul", "Gemm", "residual", "Concat, product", "two products", "Quant")
_CONSUMERS = [(c, conv) for conv in (False, True) for c in _ANY] + [("padded Conv", True), ("MaxPool, product", True)]


def net(consumer: str, *, conv: bool, bias: np.ndarray, opset: int = 20):
    """Quant, a product with a bias, and what reads its sums; all scales are powers of two."""
    rng = np.random.default_rng(7)
    rest = (3, 5, 5) if conv else (6,)
    channels = 3 if conv else 6
    shape = (channels, channels, 1, 1) if conv else (channels, channels)
    known = {name: rng.integers(-3, 4, shape).astype(np.float32) for name in ("w0", "w1", "w2")}
    known |= {"b": bias.astype(np.float32)}
    for name in ("w0q", "w1q", "w2q"):
        known |= parameters(name, scale=1.0, bits=3.0)
    known |= parameters("xq", scale=0.5) | parameters("y", scale=0.5, bits=6.0)
    nodes = [quant("x", "xq"), *(quant(f"w{i}", f"w{i}q") for i in range(3))]
    kind = "Conv" if conv else "Gemm"
    nodes.append(helper.make_node(kind, ["xq", "w0q", "b"], ["sums"], name="first"))

    def product(x: str, y: str, w: str, **attributes):
        op_type = "Conv" if conv else ("Gemm" if consumer == "Gemm" else "MatMul")
        return helper.make_node(op_type, [x, w], [y], name=f"{y}_product", **attributes)

    match consumer:
        case "MatMul" | "Gemm":
            nodes.append(product("sums", "p", "w1q"))
        case "padded Conv":
            nodes.append(product("sums", "p", "w1q", pads=[1, 1, 1, 1]))
        case "residual":
            nodes += [helper.make_node("Add", ["sums", "xq"], ["sum"]), product("sum", "p", "w1q")]
        case "MaxPool, product":
            nodes += [
                helper.make_node("MaxPool", ["sums"], ["m"], kernel_shape=[2, 2], strides=[1, 1]),
                product("m", "p", "w1q"),
            ]
        case "Concat, product":
            known["w1"] = np.concatenate([known["w1"]] * 2, axis=1 if conv else 0)
            nodes += [helper.make_node("Concat", ["sums", "xq"], ["c"], axis=1), product("c", "p", "w1q")]
        case "two products":
            nodes += [product("sums", "p1", "w1q"), product("sums", "p2", "w2q")]
            nodes.append(helper.make_node("Add", ["p1", "p2"], ["p"]))
        case _:
            nodes.append(helper.make_node("Identity", ["sums"], ["p"]))
    nodes.append(quant("p", "y"))
    return model(nodes, known, inputs={"x": (1, *rest)}, outputs=["y", "p"], opset=opset)


def outputs(source, x: np.ndarray) -> list[np.ndarray]:
    session = anybit.Session(source, engine="reference")
    results = [session.run(x[i : i + 1]) for i in range(len(x))]
    return [np.concatenate([r[name] for r in results]) for name in session.outputs]


@pytest.mark.parametrize(("consumer", "conv"), _CONSUMERS)
@pytest.mark.parametrize("bias", ["uniform", "by channel", "one", "off the grid", "none"])
def test_outputs_are_those_of_the_source(consumer: str, conv: bool, bias: str):
    channels = 3 if conv else 6
    biases = {
        "uniform": np.full(channels, 4.5),
        "by channel": np.arange(channels) * 0.5 - 1,
        "one": np.full(channels if conv else 1, -2.5),
        "off the grid": np.full(channels, 0.7),
        "none": np.zeros(channels),
    }
    source = net(consumer, conv=conv, bias=biases[bias])
    hub, _ = to_hub(source)
    outcome, _ = write_layers(hub)
    x = np.round(samples(8, *source_shape(source)) * 8) / 4
    for mine, theirs in zip(outputs(hub, x), outputs(source, x), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    for refusal in outcome.refusals:
        assert refusal.node
        assert refusal.problem
    if bias in ("none", "uniform", "one") and consumer in ("MatMul", "Gemm", "padded Conv"):
        assert not outcome.refusals


@settings(max_examples=25)
@given(st.integers(-40, 40), st.sampled_from(_CONSUMERS))
def test_any_whole_bias(steps: int, case: tuple[str, bool]):
    consumer, conv = case
    source = net(consumer, conv=conv, bias=np.full(3 if conv else 6, steps * 0.5))
    hub, _ = to_hub(source)
    write_layers(hub)
    x = np.round(samples(4, *source_shape(source), seed=abs(steps)) * 8) / 4
    for mine, theirs in zip(outputs(hub, x), outputs(source, x), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def source_shape(source) -> tuple[int, ...]:
    return tuple(d.dim_value for d in source.graph.input[0].type.tensor_type.shape.dim)[1:]
