"""Operators with channels last: the standard operator between two Transposes, and the numbers of the existing tool."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from anybit import check
from anybit.cleanup.infer_shapes import InferShapes
from anybit.errors import InvalidModelError
from anybit.io.load import load
from anybit.ops.channels_last.conv import CONV
from anybit.ops.channels_last.layout import DOMAIN, to_first, to_last
from anybit.ops.expand import Expander
from anybit.ops.registry import operators
from anybit.runtime.session import Session
from tests.models import model
from tests.ops.running import session
from tests.strategies import examples

WINDOWS = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 0, 1]}
CASES: dict[str, tuple[list[tuple[int, ...]], list[dict[str, Any]]]] = {
    "Conv": (
        [(4, 2, 3, 2), (4,)],
        [
            WINDOWS | {"dilations": [1, 2], "group": 2},
            {"kernel_shape": [3, 2], "group": 2, "auto_pad": "SAME_LOWER", "strides": [2, 1]},
        ],
    ),
    "MaxPool": ([], [WINDOWS, WINDOWS | {"ceil_mode": 1, "dilations": [1, 2]}, {"kernel_shape": [2, 2]}]),
    "AveragePool": ([], [WINDOWS, WINDOWS | {"count_include_pad": 1}]),
    "GlobalAveragePool": ([], [{}]),
    "BatchNormalization": ([(4,), (4,), (4,), (4,)], [{"epsilon": 0.5, "momentum": 0.9}, {}]),
}
EVERY = [(name, shapes, attributes) for name, (shapes, variants) in CASES.items() for attributes in variants]


def _proto(
    name: str, operands: list[str], values: dict[str, np.ndarray], attributes: dict[str, Any], domain: str, sizes: Any
):
    node = helper.make_node(name, operands, ["y"], name="n", domain=domain, **attributes)
    return model([node], values, inputs=sizes, outputs=["y"], imports={"": 21, DOMAIN: 21})


def test_every_operator_is_tried() -> None:
    assert {o.name for o in operators() if o.domain == DOMAIN} == set(CASES)


@pytest.mark.parametrize(("name", "shapes", "attributes"), EVERY)
@pytest.mark.parametrize("constant", [True, False])
@given(st.integers(0, 999), st.sampled_from([1, 3]))
@examples(5)
def test_the_standard_operator_between_transposes(name, shapes, attributes, constant, seed, batch) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(-4, 5, (batch, 4, 7, 6)).astype(np.float32)
    given_values = {f"p{i}": rng.integers(1, 4, s).astype(np.float32) for i, s in enumerate(shapes)}
    first = _proto(name, ["x", *given_values], given_values, attributes, "", {"x": x.shape})
    expected = session(first, optimize=False).run(None, {"x": x})[0].transpose(to_last(4))
    turned = dict(given_values)
    if name == "Conv":
        turned["p0"] = given_values["p0"].transpose(to_last(4))
    feeds = {"x": x.transpose(to_last(4))} | ({} if constant else turned)
    sizes = {n: a.shape for n, a in feeds.items()} | {"x": ["N", *feeds["x"].shape[1:]]}
    proto = _proto(name, ["x", *turned], turned if constant else {}, attributes, DOMAIN, sizes)
    assert check(proto) == ()
    for engine in ("reference", "onnxruntime"):
        y = Session(proto, engine=engine).run(feeds)["y"]
        np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6)
    loaded = load(proto)
    InferShapes()(loaded)
    assert str(loaded.graph.outputs[0].shape).replace("N", str(batch)) == str(list(expected.shape)).replace(" ", "")


@pytest.mark.parametrize("rank", [3, 5])
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_ranks_and_types(rank, dtype) -> None:
    rng = np.random.default_rng(rank)
    spatial = (4,) * (rank - 2)
    x = rng.integers(-4, 5, (2, *spatial, 3)).astype(dtype)
    w = rng.integers(-2, 3, (2, *(2 for _ in spatial), 3)).astype(dtype)
    kernel = {"kernel_shape": [2] * len(spatial)}
    y = CONV.evaluate([x, w], kernel)
    assert y.dtype == dtype
    widths = [d.astype(np.float32).transpose(to_first(rank)) for d in (x, w)]
    proto = _proto("Conv", ["x", "w"], {"w": widths[1]}, kernel, "", {"x": widths[0].shape})
    expected = session(proto, optimize=False).run(None, {"x": widths[0]})[0].transpose(to_last(rank))
    np.testing.assert_array_equal(y, expected.astype(dtype))


def test_numbers_of_the_existing_tool() -> None:
    """What qonnx 1.0.0 makes of the same nodes."""
    x = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2) - 5
    values = {"w": (np.arange(12, dtype=np.float32) % 5 - 2).reshape(2, 3, 1, 2), "b": np.float32([1, -1])}
    values |= {"s": np.float32([1, 2]), "o": np.float32([0, 1]), "m": np.float32([1, 1]), "v": np.float32([4, 0.25])}
    nodes = [
        ("Conv", ["w", "b"], {"kernel_shape": [3, 1], "strides": [2, 1], "pads": [1, 0, 1, 0], "dilations": [1, 1]}),
        ("MaxPool", [], {"kernel_shape": [2, 2], "strides": [1, 1], "pads": [0, 0, 0, 0]}),
        ("BatchNormalization", ["s", "o", "m", "v"], {"epsilon": 0.0, "momentum": 0.9}),
    ]
    expected = [
        [[[[-5, -12], [-3, -12]], [[7, 11], [3, 15]]]],
        [[[[1, 2]], [[5, 6]]]],
        [[[[-3, -19], [-2, -11]], [[-1, -3], [0, 5]], [[1, 13], [2, 21]]]],
    ]
    for (name, inputs, attributes), y in zip(nodes, expected, strict=True):
        proto = _proto(name, ["x", *inputs], values, attributes, DOMAIN, {"x": x.shape})
        for engine in ("reference", "onnxruntime"):
            np.testing.assert_array_equal(Session(proto, engine=engine).run(x)["y"], y)


@pytest.mark.parametrize(
    ("name", "shapes", "attributes", "rules"),
    [
        ("Conv", [(4, 3, 2, 4)], {"kernel_shape": [2, 2]}, ["kernel"]),
        ("Conv", [(4, 3, 2, 4)], {"kernel_shape": [3, 2], "group": 2}, ["group"]),
        ("Conv", [(4, 3, 2, 4)], {"kernel_shape": [3, 2], "group": 3}, ["group"]),
        ("Conv", [(4, 3, 2, 4)], {"kernel_shape": [3, 2], "pads": [1, 1]}, ["windows"]),
        ("Conv", [(4, 3, 2, 4)], {"kernel_shape": [3, 2], "strides": [0, 1]}, ["windows"]),
        ("Conv", [(4, 3, 2, 4)], {}, ["kernel"]),
        ("Conv", [], {"kernel_shape": [3, 2]}, ["inputs"]),
        ("Conv", [(4, 3, 2, 4), (4,), (4,)], {"kernel_shape": [3, 2]}, ["inputs"]),
        ("MaxPool", [], {"kernel_shape": [2]}, ["kernel"]),
        ("MaxPool", [], {"kernel_shape": [2, 2], "auto_pad": "SAME"}, ["padding"]),
        ("AveragePool", [], {"kernel_shape": 2}, ["attribute"]),
        ("BatchNormalization", [(3,), (4,), (4,), (4,)], {}, ["channels"]),
    ],
)
def test_what_is_wrong_is_found(name, shapes, attributes, rules) -> None:
    values = {f"p{i}": np.ones(s, np.float32) for i, s in enumerate(shapes)}
    proto = _proto(name, ["x", *values], values, attributes, DOMAIN, {"x": [1, 5, 5, 4]})
    found = [f.rule for f in check(proto) if f.rule != "shape"]
    assert set(rules) <= set(found)


def test_inputs_are_counted_before_a_call_is_expanded() -> None:
    loaded = ir.from_proto(_proto("Conv", ["x"], {}, {"kernel_shape": [1, 1]}, DOMAIN, {"x": [1, 5, 5, 4]}))
    with pytest.raises(InvalidModelError, match="inputs"):
        Expander(loaded.graph).expand(loaded.graph.node(0), CONV)


@pytest.mark.parametrize(("name", "shapes", "attributes"), EVERY)
def test_a_model_of_one_sample_runs_any_number(name, shapes, attributes) -> None:
    values = {f"p{i}": np.ones(s, np.float32) for i, s in enumerate(shapes)}
    if name == "Conv":
        values["p0"] = values["p0"].transpose(to_last(4))
    proto = _proto(name, ["x", *values], values, attributes, DOMAIN, {"x": [1, 7, 6, 4]})
    x = np.random.default_rng(0).normal(size=(3, 7, 6, 4)).astype(np.float32)
    made = Session(proto)
    whole, parts = made.run(x)["y"], [made.run(x[i : i + 1])["y"] for i in range(3)]
    np.testing.assert_allclose(whole, np.concatenate(parts), rtol=1e-6)
