"""Packed weights are recognised by their nodes; whatever only carries the mark stays, and keeps its meaning."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper

from anybit import Session, load, to_proto
from anybit.io.load import read
from anybit.io.packed import PACKED, Packer
from tests.models import model, parameters, quant, samples

Q = np.random.default_rng(0).integers(-2, 2, (24, 24)).astype(np.int8)


def packed(*, mark: bool = True) -> onnx.ModelProto:
    """x -> MatMul(Quant((Cast(q) - z) * s)) -> y."""
    nodes = [
        helper.make_node("Cast", ["q"], ["c"], "cast", to=onnx.TensorProto.FLOAT),
        helper.make_node("Sub", ["c", "wq_zeropt"], ["d"], "sub"),
        helper.make_node("Mul", ["d", "wq_scale"], ["w"], "mul"),
        quant("w", "wq"),
        helper.make_node("MatMul", ["x", "wq"], ["y"], "product"),
    ]
    initializers = {"q": Q, **parameters("wq", zeropt=1.0)}
    proto = model(nodes, initializers, inputs={"x": [1, 24]}, outputs=["y"])
    if mark:
        proto.graph.node[2].metadata_props.add(key=PACKED, value="anything")
    return proto


def is_unpacked(proto: onnx.ModelProto) -> bool:
    return [n.op_type for n in load(proto).graph] == ["Quant", "MatMul"]


def test_a_float_initializer_takes_the_place_of_the_nodes():
    loaded = load(packed())
    assert [n.op_type for n in loaded.graph] == ["Quant", "MatMul"]
    assert set(loaded.graph.initializers) == {"w", "wq_scale", "wq_zeropt", "wq_bits"}
    weights = loaded.graph.initializers["w"].const_value.numpy()
    np.testing.assert_array_equal(weights, (Q.astype(np.float32) - 1) * np.float32(0.5))
    x = samples(1, 24)
    np.testing.assert_array_equal(Session(packed()).run(x)["y"], Session(packed(mark=False)).run(x)["y"])


def test_without_the_mark_nothing_is_unpacked():
    assert not is_unpacked(packed(mark=False))


def test_it_is_done_once():
    once = to_proto(load(packed())).SerializeToString(deterministic=True)
    assert to_proto(load(once)).SerializeToString(deterministic=True) == once


def _wider(proto: onnx.ModelProto) -> None:
    _set(proto, "wq_scale", np.full((3, 1, 1), 0.5, np.float32))


def _widening_columns(proto: onnx.ModelProto) -> None:
    _set(proto, "q", Q[:, :1])
    _set(proto, "wq_scale", np.full(24, 0.5, np.float32))


def _set(proto: onnx.ModelProto, name: str, array: np.ndarray) -> None:
    (tensor,) = (t for t in proto.graph.initializer if t.name == name)
    tensor.CopyFrom(onnx.numpy_helper.from_array(array, name))


def _another_input(proto: onnx.ModelProto) -> None:
    proto.graph.node[2].input[1] = "x"


def _another_operator(proto: onnx.ModelProto) -> None:
    proto.graph.node[2].op_type = "Div"


def _another_first(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].op_type = "Identity"
    del proto.graph.node[0].attribute[:]
    _set(proto, "q", Q.astype(np.float32))


def _wide_integers(proto: onnx.ModelProto) -> None:
    _set(proto, "q", Q.astype(np.int64))


def _to_double(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].attribute[0].i = onnx.TensorProto.DOUBLE


def _to_nothing(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].attribute[0].i = 999


def _no_attribute(proto: onnx.ModelProto) -> None:
    del proto.graph.node[0].attribute[:]


def _old_broadcast(proto: onnx.ModelProto) -> None:
    proto.graph.node[2].attribute.add(name="broadcast", i=1, type=onnx.AttributeProto.INT)


def _an_output(proto: onnx.ModelProto) -> None:
    proto.graph.output.add(name="w").type.tensor_type.elem_type = onnx.TensorProto.FLOAT


def _missing(proto: onnx.ModelProto) -> None:
    proto.graph.node[2].input[0] = ""


@pytest.mark.parametrize(
    "forge",
    [
        _wider,
        _widening_columns,
        _another_input,
        _another_operator,
        _another_first,
        _wide_integers,
        _to_double,
        _to_nothing,
        _no_attribute,
        _old_broadcast,
        _an_output,
        _missing,
    ],
)
def test_the_mark_alone_does_nothing(forge: Callable[[onnx.ModelProto], None]):
    proto = packed()
    forge(proto)
    assert [n.op_type for n in read(proto).model.graph] == [n.op_type for n in proto.graph.node]


def test_integers_listed_as_inputs_are_constants_here_too():
    proto = packed()
    for tensor in proto.graph.initializer:  # all of them, as exporters do by habit
        proto.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    assert is_unpacked(proto)


def test_what_something_else_reads_stays():
    proto = packed()
    proto.graph.node.append(helper.make_node("Identity", ["c"], ["z"]))
    proto.graph.output.add(name="z").type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    loaded = load(proto)
    assert [n.op_type for n in loaded.graph] == ["Cast", "Quant", "MatMul", "Identity"]
    assert "q" in loaded.graph.initializers


def test_a_constant_node_at_the_head_of_the_graph_is_replaced():
    weights = Q.astype(np.float32) * np.float32(0.5)
    nodes = [
        helper.make_node("Constant", [], ["a"], value=onnx.numpy_helper.from_array(weights, "a")),
        quant("a", "aq"),
        quant("b", "bq"),
        helper.make_node("Add", ["aq", "bq"], ["y"]),
    ]
    proto = model(nodes, {"b": weights, **parameters("aq"), **parameters("bq")}, inputs={}, outputs=["y"])
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, Q.shape))
    loaded = load(proto)
    packer = Packer(loaded)
    for node in list(loaded.graph)[1:3]:
        packer.write(node.inputs[0], Q, node.inputs[1], None)
    assert sorted(n.op_type for n in loaded.graph) == sorted(["Cast", "Mul"] * 2 + ["Quant", "Quant", "Add"])
    onnx.checker.check_model(to_proto(loaded))
    back = load(to_proto(loaded))
    assert [n.op_type for n in back.graph] == ["Quant", "Quant", "Add"]
    for name in "ab":
        np.testing.assert_array_equal(back.graph.initializers[name].const_value.numpy(), weights)
