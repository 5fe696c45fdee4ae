"""DoubleToFloat: no double is left, and what was rounded is said."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from anybit import load
from anybit.errors import InvalidModelError
from anybit.passes.types.double_to_float import DoubleToFloat
from anybit.runtime.session import Session
from tests.integration.corpus import executable_files, needs_corpus
from tests.models import model
from tests.passes.surgery.surgery import MODELS, node, text, valid, value

DOUBLE = TensorProto.DOUBLE


def _tensor(array) -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(np.asarray(array, np.float64))


def _model(weights=(0.5, -2.0, 0.1)):
    """Double weights, a Constant, Casts, ConstantOfShape, an If with doubles inside and a function."""
    then = helper.make_graph(
        [node("Add", ["m", "inner"], ["t"])], "then", [], [value("t", [2, 3], DOUBLE)],
        [onnx.numpy_helper.from_array(np.float64(0.25), "inner")],
    )  # fmt: skip
    other = helper.make_graph([node("Identity", ["m"], ["e"])], "else", [], [value("e", [2, 3], DOUBLE)])
    nodes = [
        node("Cast", ["x"], ["d"], to=DOUBLE),
        node("Mul", ["d", "w"], ["m"], name="mul"),
        node("If", ["yes"], ["i"], then_branch=then, else_branch=other),
        node("Constant", [], ["c"], value=_tensor(3.0)),
        node("ConstantOfShape", ["shape"], ["z"], value=_tensor([1.0])),
        node("Sum", ["i", "c", "z", "v"], ["s"]),
        node("F", ["s"], ["y"], domain="my"),
    ]
    body = [node("Constant", [], ["two"], value=_tensor(2.0)), node("Mul", ["a", "two"], ["b"])]
    function = helper.make_function("my", "F", ["a"], ["b"], body, [helper.make_opsetid("", 21)])
    proto = model(
        nodes,
        {"w": np.array(weights, np.float64), "yes": np.array(True), "shape": np.array([3])},
        inputs={"x": [2, 3]},
        outputs=["y"],
        imports={"": 21, "my": 1},
        functions=[function],
    )
    proto.graph.input.append(value("v", [2, 3], DOUBLE))
    proto.graph.output[0].type.tensor_type.elem_type = DOUBLE
    return proto


def _inputs(dtype):
    rng = np.random.default_rng(0)
    x, v = (rng.integers(-8, 8, (2, 3)) / 4 for _ in range(2))
    return {"x": x.astype(np.float32), "v": v.astype(dtype)}


def test_no_double_is_left():
    read = load(_model())
    assert DoubleToFloat()(read).modified
    assert "DOUBLE" not in onnx.printer.to_text(valid(read)).upper()
    assert not DoubleToFloat()(read).modified


@pytest.mark.parametrize("engine", ["reference", "onnxruntime"])
def test_exact_where_float32_holds_every_value(engine):
    read = load(_model(weights=(0.5, -2.0, 0.125)))
    assert DoubleToFloat()(read).notes == ()
    made = Session(read, engine=engine).run(_inputs(np.float32))["y"]
    before = Session(_model(weights=(0.5, -2.0, 0.125)), engine=engine).run(_inputs(np.float64))["y"]
    assert (made.dtype, before.dtype) == (np.float32, np.float64)
    np.testing.assert_array_equal(made, before)


def test_what_was_rounded_is_noted():
    read = load(_model(weights=(0.5, 0.1, 1e-60)))
    (finding,) = DoubleToFloat()(read).notes
    assert finding.node == "initializer 'w'"
    assert finding.got == "2 of 3, largest relative error 1"
    np.testing.assert_array_equal(read.graph.initializers["w"].const_value.numpy(), np.float32([0.5, 0.1, 0]))


def test_infinities_and_nan_stay():
    read = load(_model(weights=(np.inf, np.nan, -np.inf)))
    assert DoubleToFloat()(read).notes == ()
    np.testing.assert_array_equal(
        read.graph.initializers["w"].const_value.numpy(), np.float32([np.inf, np.nan, -np.inf])
    )


def test_overflow_is_refused_and_nothing_changes():
    read = load(_model(weights=(0.5, 1e39, 0.1)))
    with pytest.raises(InvalidModelError, match=r"initializer 'w': too large for float32: got 1e\+39"):
        DoubleToFloat()(read)
    assert valid(read).SerializeToString() == valid(load(_model(weights=(0.5, 1e39, 0.1)))).SerializeToString()


def test_a_clone_keeps_its_types():
    read = load(_model())
    clone = read.clone()
    DoubleToFloat()(clone)
    assert read.graph.inputs[1].dtype.name == "DOUBLE"
    assert read.graph.initializers["w"].const_value.dtype.name == "DOUBLE"


def test_an_unknown_operator_is_noted():
    nodes = [node("Odd", ["x"], ["h"], domain="foreign", name="odd"), node("Neg", ["h"], ["y"])]
    proto = model(nodes, {}, inputs={"x": [3]}, outputs=["y"], imports={"": 21, "foreign": 1}, input_type=DOUBLE)
    proto.graph.value_info.append(value("h", [3], DOUBLE))
    read = load(proto)
    assert [n.node for n in DoubleToFloat()(read).notes] == ["Odd 'odd'"]


@pytest.mark.parametrize("name", MODELS)
def test_a_model_without_doubles_is_left_alone(name):
    read = load(MODELS[name]())
    before = text(read)
    assert not DoubleToFloat()(read).modified
    assert text(read) == before


@needs_corpus
def test_the_corpus_holds_doubles_only_where_stated():
    for case in executable_files():
        read = load(case.path)
        has = any(v.dtype is not None and v.dtype.name == "DOUBLE" for v in read.graph.initializers.values())
        assert DoubleToFloat()(read).modified >= has
