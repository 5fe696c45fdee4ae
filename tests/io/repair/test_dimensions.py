"""What stands for an unknown dimension in a file is unknown, and sessions take any size there."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import anybit
from anybit.errors import InputError
from tests.models import model, samples

ENGINES = ("auto", "reference")
FLOAT = TensorProto.FLOAT


def _rules(proto: onnx.ModelProto) -> dict[str, int]:
    return {r.rule: r.count for r in anybit.repairs(anybit.load(proto))}


def _info(name, shape, dtype=FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


BATCH = {
    "shape": [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Cast", ["s"], ["f"], to=FLOAT),
        helper.make_node("Add", ["x", "f"], ["y"]),
    ],
    "size": [
        helper.make_node("Size", ["x"], ["s"]),
        helper.make_node("Cast", ["s"], ["f"], to=FLOAT),
        helper.make_node("Add", ["x", "f"], ["y"]),
    ],
    "slice": [helper.make_node("Slice", ["x", "one", "three"], ["y"])],
    "split": [helper.make_node("Split", ["x"], ["y", "rest"], axis=0, num_outputs=2)],
    "tile": [helper.make_node("Tile", ["x", "twice"], ["y"])],
    "resize": [helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="nearest")],
    "pad": [helper.make_node("Pad", ["x", "pads"], ["y"])],
    "top": [helper.make_node("TopK", ["x", "one"], ["y", "index"], axis=0)],
    "reshape": [helper.make_node("Reshape", ["x", "flat"], ["y"])],
    "fill": [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("ConstantOfShape", ["s"], ["k"]),
        helper.make_node("Add", ["x", "k"], ["y"]),
    ],
    "expand": [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Expand", ["half", "s"], ["y"])],
    "maximum": [helper.make_node("ReduceMax", ["x", "zero"], ["m"]), helper.make_node("Sub", ["x", "m"], ["y"])],
}
CONSTANTS = {
    "zero": np.array([0]),
    "one": np.array([1]),
    "three": np.array([3]),
    "twice": np.array([2, 1]),
    "scales": np.array([2, 2], np.float32),
    "pads": np.array([1, 0, 1, 0]),
    "flat": np.array([2, -1]),
    "half": np.array([[0.5]], np.float32),
}


@pytest.mark.parametrize("size", [-1, -2, 0])
@pytest.mark.parametrize("kind", BATCH)
def test_a_negative_dimension_and_a_batch_of_0_are_free(kind, size):
    nodes = BATCH[kind]
    right = model(nodes, CONSTANTS, inputs={"x": [None, 2]}, outputs=["y"])
    session = onnxruntime.InferenceSession(right.SerializeToString(), providers=["CPUExecutionProvider"])
    proto = model(nodes, CONSTANTS, inputs={"x": [size, 2]}, outputs=["y"])
    assert _rules(proto) == {"negative-dimension" if size else "zero-batch": 1}
    made = (proto, anybit.clean(proto), anybit.convert(proto, "qcdq").model)
    for count in (4, 2, 6):
        x = samples(count, 2)
        for one in made:
            for engine in ENGINES:
                np.testing.assert_array_equal(anybit.run(one, x, engine=engine)["y"], session.run(["y"], {"x": x})[0])


def test_negative_dimensions_are_unknown_wherever_they_stand():
    body = helper.make_graph([helper.make_node("Relu", ["x"], ["b"])], "b", [], [_info("b", [-1, 3])])
    body.value_info.append(_info("b", [-1, 3]))
    function = helper.make_function(
        "local", "F", ["a"], ["c"],
        [helper.make_node("Relu", ["a"], ["i"]), helper.make_node("Neg", ["i"], ["c"])],
        [helper.make_opsetid("", 21)],
    )  # fmt: skip
    function.value_info.append(_info("i", [-1, 3]))
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(FLOAT, [-1, 3]))
    nodes = [
        helper.make_node("If", ["on"], ["i"], then_branch=body, else_branch=body),
        helper.make_node("F", ["i"], ["f"], domain="local"),
        helper.make_node("SequenceConstruct", ["f"], ["q"]),
        helper.make_node("Optional", [], ["o"], type=kind.optional_type.elem_type),
        helper.make_node("SequenceAt", ["q", "first"], ["y"]),
    ]
    values = {"on": np.bool_(1), "first": np.int64(0)}
    imports = {"": 21, "local": 1}
    proto = model(nodes, values, inputs={"x": [-1, 3]}, outputs=["y"], imports=imports, functions=[function])
    proto.graph.output[0].CopyFrom(_info("y", [-1, 3]))
    proto.graph.value_info.append(helper.make_tensor_sequence_value_info("q", FLOAT, [-1, 3]))
    proto.graph.value_info.append(helper.make_value_info("o", kind))
    assert _rules(proto) == {"negative-dimension": 8}
    assert "-1" not in onnx.printer.to_text(anybit.to_proto(anybit.load(proto)))
    x = samples(2, 3)
    np.testing.assert_array_equal(anybit.run(proto, x)["y"], -np.maximum(x, 0))


def test_zero_is_a_size_where_it_is_no_batch():
    proto = model([helper.make_node("Relu", ["x"], ["y"])], {}, inputs={"x": [2, 0]}, outputs=["y"])
    assert _rules(proto) == {}
    assert anybit.run(proto, np.zeros((2, 0), np.float32))["y"].shape == (2, 0)


@pytest.mark.parametrize("name", ["None", "?", "unk__1", "dyn", "n", "batch"])
def test_a_name_of_two_axes_of_an_input_says_nothing(name):
    """The second axis is summed by a product with its own size: were both one size, it would be another number."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"], start=1),
        helper.make_node("Cast", ["s"], ["f"], to=FLOAT),
        helper.make_node("Mul", ["x", "f"], ["m"]),
        helper.make_node("Shape", ["m"], ["target"]),
        helper.make_node("Expand", ["m", "target"], ["y"]),
    ]
    proto = model(nodes, {}, inputs={"x": [name, name]}, outputs=["y"])
    assert _rules(proto) == {"dimension-name": 1}
    x = samples(4, 3)
    for made in (proto, anybit.clean(proto), anybit.convert(proto, "qcdq").model):
        for engine in ENGINES:
            np.testing.assert_array_equal(anybit.run(made, x, engine=engine)["y"], x * 3)


@pytest.mark.parametrize("name", ["None", "?", "unk__1", "unknown_2", "Dynamic", "-1", "*"])
def test_a_placeholder_of_two_inputs_says_nothing(name):
    """Expand to the shape of the other input is no identity, though both first axes have one name."""
    nodes = [helper.make_node("Shape", ["w"], ["s"]), helper.make_node("Expand", ["x", "s"], ["y"])]
    proto = model(nodes, {}, inputs={"x": [name, 3], "w": [name, 3]}, outputs=["y"])
    x, w = samples(1, 3), samples(4, 3, seed=1)
    for made in (proto, anybit.clean(proto)):
        for engine in ENGINES:
            np.testing.assert_array_equal(
                anybit.run(made, {"x": x, "w": w}, engine=engine)["y"], np.repeat(x, 4, axis=0)
            )


@pytest.mark.parametrize("engine", ENGINES)
def test_a_name_that_inputs_share_is_one_size(engine):
    """ONNX Runtime only warns; a caller who feeds one row too few would get sums of wrong rows."""
    proto = model(
        [helper.make_node("Add", ["x", "w"], ["y"])], {}, inputs={"x": ["N", 3], "w": ["N", 3]}, outputs=["y"]
    )
    assert _rules(proto) == {}
    with pytest.raises(InputError, match="'w': shape"):
        anybit.run(proto, {"x": samples(4, 3), "w": samples(1, 3)}, engine=engine)
