"""InsertIdentity: the graph's outputs keep their names, and every reader reads what it read."""

from __future__ import annotations

import numpy as np
import pytest

from anybit import compare, load
from anybit.errors import UsageError
from anybit.graph.annotations import annotate_number_format, annotated_number_format
from anybit.number_formats import parse_number_format
from anybit.passes.surgery.insert_identity import InsertIdentity, Side
from tests.integration.corpus import executable_files, needs_corpus
from tests.models import model
from tests.passes.surgery.surgery import MODELS, assert_same, branches, fork, node, text


def test_before_the_outputs():
    read = load(fork())
    InsertIdentity()(read)
    assert text(read) == [
        "h_identity = MatMul(x, w)",
        "h = Identity(h_identity)",
        "sq = Mul(h_identity, h_identity)",
        "a = Add(h_identity, b)",
        "y_identity = Add(sq, a)",
        "y = Identity(y_identity)",
    ]
    assert [v.name for v in read.graph.outputs] == ["y", "h"]


def test_after_a_tensor():
    read = load(fork())
    InsertIdentity(("sq",), outputs=False)(read)
    assert text(read)[1:3] == ["sq = Mul(h, h)", "sq_identity = Identity(sq)"]
    assert text(read)[-1] == "y = Add(sq_identity, a)"


def test_before_a_tensor():
    read = load(fork())
    InsertIdentity(("sq",), side=Side.BEFORE, outputs=False)(read)
    assert text(read)[1:3] == ["sq_identity = Mul(h, h)", "sq = Identity(sq_identity)"]
    assert text(read)[-1] == "y = Add(sq, a)"


def test_an_output_keeps_its_name_on_either_side():
    read = load(fork())
    InsertIdentity(("h",), outputs=False)(read)
    assert text(read)[:3] == ["h_identity = MatMul(x, w)", "h = Identity(h_identity)", "sq = Mul(h, h)"]
    assert [v.name for v in read.graph.outputs] == ["y", "h"]
    assert_same(fork(), read)


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("tensor", ["x", "w", "sq"])
def test_any_kind_of_tensor(tensor, side):
    read = load(fork())
    if tensor == "x" and side is Side.BEFORE:
        with pytest.raises(UsageError, match="before a graph input"):
            InsertIdentity((tensor,), side=side)(read)
        assert text(read) == text(load(fork()))
        return
    InsertIdentity((tensor,), side=side)(read)
    assert len(read.graph) == 7
    assert_same(fork(), read)


@pytest.mark.parametrize("tensor", ["h", "t0", "e1", "p_scale", "inner"])
def test_captures_and_subgraphs(tensor):
    read = load(branches())
    InsertIdentity((tensor,))(read)
    assert sum(n.op_type == "Identity" for n in read.graph.all_nodes()) == 2
    assert_same(branches(), read)


@pytest.mark.parametrize("name", MODELS)
def test_outputs_stay(name):
    read = load(MODELS[name]())
    assert InsertIdentity()(read).modified
    assert [v.name for v in read.graph.outputs] == [v.name for v in load(MODELS[name]()).graph.outputs]
    assert_same(MODELS[name](), read)
    assert_same(MODELS[name](), read, engine="onnxruntime")


def test_annotations_are_on_both():
    read = load(fork())
    annotate_number_format(read.graph.outputs[0], parse_number_format("INT9"))
    InsertIdentity()(read)
    (last,) = (n for n in read.graph if n.outputs[0].name == "y")
    assert [str(annotated_number_format(v)) for v in (last.inputs[0], last.outputs[0])] == ["INT9", "INT9"]


def test_an_output_that_is_an_input_is_noted():
    proto = model([node("Relu", ["x"], ["y"])], {}, inputs={"x": [2, 3]}, outputs=["y", "x"])
    read = load(proto)
    result = InsertIdentity()(read)
    assert text(read) == ["y_identity = Relu(x)", "y = Identity(y_identity)"]
    assert [n.node for n in result.notes] == ["output 'x'"]


def test_a_constant_output():
    proto = model([node("Relu", ["x"], ["y"])], {"c": np.ones(2, np.float32)}, inputs={"x": [2, 3]}, outputs=["y", "c"])
    read = load(proto.SerializeToString())
    InsertIdentity()(read)
    assert "c = Identity(c_identity)" in text(read)
    assert_same(proto, read)


def test_an_unknown_tensor():
    with pytest.raises(UsageError, match=r"no such tensor: got 'sqq', expected 'sq'"):
        InsertIdentity(("sqq",))(load(fork()))


@needs_corpus
@pytest.mark.parametrize(
    "case", [c for c in executable_files() if c.path.parent.name == "tfc_2w2a"], ids=lambda c: c.name
)
def test_corpus(case):
    read = load(case.path)
    InsertIdentity()(read)
    assert compare(case.path, read, case.inputs[:1], tolerance=0).equal
