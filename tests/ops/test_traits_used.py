"""What the one table of operator facts decides for models, where a list of one place once lacked a name."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

import anybit
from anybit.cleanup.independent_samples import BatchPlan, plan_batch
from anybit.cleanup.infer_shapes import InferShapes
from anybit.errors import Refusal
from anybit.ops import registry
from anybit.ops.operator import Input, Operator, Types
from anybit.ops.quant import QUANT
from anybit.passes.pruning.prune_channels import PruneChannels
from anybit.quantizers.quantizer import read_quant
from tests.models import model, parameters, quant, samples


@pytest.fixture
def operators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_operators", {k: list(v) for k, v in registry._operators.items()})


def _halved(x, scale, zero_point, bits, *, signed, narrow, rounding_mode):
    del scale, zero_point, bits, signed, narrow, rounding_mode
    return (x / 2).astype(x.dtype)


NAMESAKE = Operator(
    name="Quant",
    domain="my.ops",
    inputs=(Input("X", Types.FLOAT), *QUANT.inputs[1:]),
    attributes=QUANT.attributes,
    reference=_halved,
)
"""An operator of someone else that has the name, the inputs and the attributes of ours, and another meaning."""


@pytest.mark.usefixtures("operators")
def test_an_operator_of_another_domain_that_has_the_name_of_ours_is_not_ours():
    registry.register(NAMESAKE)
    nodes = [quant("x", "a", prefix="q", domain="my.ops"), quant("a", "y", prefix="q", domain="my.ops")]
    proto = model(nodes, parameters("q"), inputs={"x": ["N", 4]}, outputs=["y"], imports={"": 21, "my.ops": 1})
    loaded = anybit.load(proto)
    InferShapes()(loaded)
    assert all(isinstance(read_quant(n, loaded), Refusal) for n in loaded.graph)
    x = samples(3, 4)
    for result in (
        anybit.clean(proto),
        anybit.apply(proto, ["merge-quantizers"]).model,
        anybit.convert(proto, "qcdq").model,
    ):
        np.testing.assert_array_equal(anybit.run(result, x, engine="reference")["y"], x / 4)


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        ([helper.make_node("Shrink", ["x"], ["y"])], {}),
        ([helper.make_node("CastLike", ["x", "c"], ["y"])], {"c": np.zeros(3, np.float32)}),
        ([helper.make_node("BitwiseNot", ["x"], ["n"]), helper.make_node("BitwiseAnd", ["n", "c"], ["y"])],
         {"c": np.int32(5)}),
    ],
    ids=["Shrink", "CastLike", "Bitwise"],
)  # fmt: skip
def test_more_operators_of_each_element_keep_samples_apart(nodes, constants):
    element = TensorProto.INT32 if nodes[0].op_type == "BitwiseNot" else TensorProto.FLOAT
    loaded = anybit.load(model(nodes, constants, inputs={"x": [1, 3]}, outputs=["y"], input_type=element))
    InferShapes()(loaded)
    assert isinstance(plan_batch(loaded), BatchPlan)


@pytest.mark.parametrize("move", ["MaxPool", "DepthToSpace", "Tile"])
def test_integers_that_are_moved_are_quantised_once(move: str):
    attributes = {"MaxPool": {"kernel_shape": [2, 2]}, "DepthToSpace": {"blocksize": 2}, "Tile": {}}[move]
    inputs = ["i", "repeats"] if move == "Tile" else ["i"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["i"]),
        helper.make_node(move, inputs, ["m"], **attributes),
        helper.make_node("DequantizeLinear", ["m", "s", "z"], ["y"]),
    ]
    constants = {"s": np.float32(0.5), "z": np.int8(0), "repeats": np.array([1, 2, 1, 1])}
    summary = anybit.info(model(nodes, constants, inputs={"x": [1, 4, 4, 4]}, outputs=["y"]))
    assert [q.count for q in summary.quantizers] == [1]


@pytest.mark.parametrize("move", ["GlobalMaxPool", "SpaceToDepth"])
def test_a_layer_behind_moved_levels_has_a_quantised_input(move: str):
    nodes = [
        quant("x", "q"),
        helper.make_node(move, ["q"], ["m"], **({"blocksize": 2} if move == "SpaceToDepth" else {})),
        quant("w", "wq", narrow=1),
        helper.make_node("Conv", ["m", "wq"], ["y"], name="conv"),
    ]
    channels = 4 if move == "GlobalMaxPool" else 16
    constants = {"w": np.ones((2, channels, 1, 1), np.float32)} | parameters("q") | parameters("wq")
    rows = anybit.capabilities(model(nodes, constants, inputs={"x": [1, 4, 4, 4]}, outputs=["y"]))
    assert {(row.layers.of, row.weights_only.of) for row in rows} == {(1, 0)}


@pytest.mark.parametrize("name", ["Shrink", "CastLike"])
def test_channels_are_pruned_through_more_operators_of_each_element(name: str):
    inputs = ["h", "like"] if name == "CastLike" else ["h"]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="first"),
        helper.make_node(name, inputs, ["a"], name="each", **({"bias": 0.0} if name == "Shrink" else {})),
        helper.make_node("MatMul", ["a", "v"], ["y"], name="second"),
    ]
    constants = {"w": np.eye(4, dtype=np.float32), "v": np.ones((4, 2), np.float32), "like": np.zeros(4, np.float32)}
    loaded = anybit.load(model(nodes, constants, inputs={"x": [1, 4]}, outputs=["y"]))
    assert PruneChannels({"first": [1]})(loaded).modified
    assert (
        anybit.run(loaded, np.ones((1, 4), np.float32), engine="reference")["y"].tolist() == [[3, 3]]
        or name == "Shrink"
    )
