"""The axis of the channels of MultiThreshold, in every layout and rank: all that follows it agrees with counting."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

import anybit
from anybit.errors import InvalidModelError
from anybit.formats.certify import certify
from anybit.formats.convert import translate
from tests.models import model, parameters, quant

SHAPES = ((3,), (3, 3), (3, 3, 3))  # behind the batch: rows fit whichever axis is taken
LAYOUTS = ("NC", "NCW", "NCHW", "NWC", "NHWC", "NDHWC")


def _net(shape: tuple[int, ...], layout: str, *, swapped: bool = False) -> onnx.ModelProto:
    nodes = [
        quant("x", "xq"),
        quant("w", "wq"),
        helper.make_node("MatMul", ["xq", "wq"], ["s"]),
        helper.make_node("MultiThreshold", ["s", "t"], ["y"], domain="qonnx.custom_op.general", data_layout=layout),
    ]
    rows = np.float32([[-3, 2], [0, 1], [4, 9]])
    values = {
        "w": np.random.default_rng(0).integers(-3, 4, [3, 3]).astype(np.float32),
        "t": rows[:: -1 if swapped else 1],
    }
    values |= parameters("xq", scale=1.0) | parameters("wq", scale=1.0)
    return model(nodes, values, inputs={"x": ["N", *shape]}, outputs=["y"])


def _run(source: object, shape: tuple[int, ...]) -> np.ndarray:
    x = np.random.default_rng(1).normal(size=(20, *shape)).astype(np.float32) * 4
    return anybit.run(source, {"x": x}, engine="reference")["y"]


def _counted(shape: tuple[int, ...], layout: str) -> np.ndarray:
    """By the specification: axis 1, or the last one where the layout puts C behind the axes of space."""
    x = np.random.default_rng(1).normal(size=(20, *shape)).astype(np.float32) * 4
    q = np.clip(np.rint(x), -8, 7)
    sums = q @ np.random.default_rng(0).integers(-3, 4, [3, 3])
    axis = len(shape) if layout in ("NWC", "NHWC", "NDHWC") else 1
    moved = np.moveaxis(sums, axis, -1)
    counts = (moved[..., None] >= np.float32([[-3, 2], [0, 1], [4, 9]])).sum(axis=-1)
    return np.moveaxis(counts, -1, axis).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("to", ["qonnx", "finn", "integer-ops", "quantized-ops", "qcdq"])
def test_every_conversion_follows_the_layout(shape, layout, to):
    source = _net(shape, layout)
    expected = _counted(shape, layout)
    np.testing.assert_array_equal(_run(source, shape), expected)
    np.testing.assert_array_equal(_run(translate(source, to).model, shape), expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_certificates_follow_the_layout(shape, layout):
    for other in (_net(shape, "NCHW"), _net(shape, "NHWC"), _net(shape, layout, swapped=True)):
        equal = np.array_equal(_run(other, shape), _counted(shape, layout))
        assert certify(_net(shape, layout), other).verdict.is_exact == equal


def _deep(shape: tuple[int, ...], layout: str, *, zeroed: bool = False) -> onnx.ModelProto:
    """The same net and a product behind it, in which the second channel may count for nothing."""
    source = _net(shape, layout)
    proto = model(
        [*source.graph.node, helper.make_node("MatMul", ["y", "v"], ["z"], name="behind")],
        {i.name: onnx.numpy_helper.to_array(i) for i in source.graph.initializer}
        | {"v": np.float32([[1, 2], [0, 0] if zeroed else [3, 4], [5, 6]])},
        inputs={"x": ["N", *shape]},
        outputs=["z"],
    )
    proto.graph.node[2].name = "product"
    return proto


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_pruned_channels_take_their_own_rows_along(shape, layout):
    x = {"x": np.random.default_rng(1).normal(size=(20, *shape)).astype(np.float32) * 4}
    source, remove = _deep(shape, layout), anybit.passes.PruneChannels({"product": (1,)})
    if len(shape) > 1 and layout not in ("NWC", "NHWC", "NDHWC"):  # columns of the product are not its channels
        with pytest.raises(InvalidModelError, match="MultiThreshold 'y': channels cannot be removed"):
            anybit.apply(source, [remove])
        return
    pruned = anybit.apply(source, [remove]).model
    rows = next(v for v in pruned.graph.initializers.values() if v.name == "t")
    assert rows.shape is not None
    assert rows.shape[0] == 2
    expected, actual = (
        next(iter(anybit.run(m, x, engine="reference").values())) for m in (_deep(shape, layout, zeroed=True), pruned)
    )
    np.testing.assert_array_equal(actual, expected)
