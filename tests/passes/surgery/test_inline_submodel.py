"""inline_submodel: the inverse of extract_submodel, and another model in a part's place."""

from __future__ import annotations

import numpy as np
import pytest

from anybit import load
from anybit.errors import InvalidModelError, UsageError
from anybit.graph.annotations import annotate_number_format
from anybit.number_formats import parse_number_format
from anybit.passes.surgery.extract_submodel import extract_submodel
from anybit.passes.surgery.inline_submodel import inline_submodel
from anybit.runtime.session import Session
from tests.integration.corpus import CORPUS, needs_corpus
from tests.models import model
from tests.passes.surgery.surgery import assert_same, branches, fork, node, several, shared, text, valid
from tests.passes.surgery.test_extract_submodel import CUTS

X = np.random.default_rng(5).normal(size=(2, 4)).astype(np.float32)


@pytest.mark.parametrize(("make", "inputs", "outputs"), [c for c in CUTS if not set(c[1]) & set(c[2])])
def test_it_undoes_extraction(make, inputs, outputs):
    read = load(make())
    part = extract_submodel(read, inputs=inputs, outputs=outputs)
    again = inline_submodel(read, part, inputs=inputs, outputs=outputs)
    if outputs != ["r"]:  # the Split that makes `r` also makes `l`, which is read outside
        assert sorted(text(again)) == sorted(text(read))
    assert set(again.graph.initializers) == set(read.graph.initializers)
    assert_same(make(), again)


def _negated(width=3):
    nodes = [node("Neg", ["in"], ["h"]), node("Abs", ["h"], ["out"])]
    return load(model(nodes, {}, inputs={"in": [2, width]}, outputs=["out"]))


def test_another_model_in_its_place():
    read = load(fork())
    made = inline_submodel(read, _negated(), inputs=["h"], outputs=["sq"])
    assert sorted(text(made)) == sorted(
        ["h = MatMul(x, w)", "a = Add(h, b)", "inner_h = Neg(h)", "sq = Abs(inner_h)", "y = Add(sq, a)"]
    )
    inside = Session(read, engine="reference", tensors="all").run(X)
    y = Session(made, engine="reference").run(X)["y"]
    np.testing.assert_array_equal(y, np.abs(inside["h"]) + inside["a"])
    valid(made)
    assert text(read) == text(load(fork()))


def test_a_part_that_something_else_reads_stays():
    """`h`, inside the part, is also read by Add and is an output: its node stays."""
    nodes = [node("Neg", ["in"], ["n"]), node("MatMul", ["n", "w"], ["out"])]
    replacement = load(model(nodes, {"w": np.ones((4, 3), np.float32)}, inputs={"in": [2, 4]}, outputs=["out"]))
    made = inline_submodel(load(fork()), replacement, inputs=["x"], outputs=["sq"])
    assert sorted(text(made)) == sorted(
        ["h = MatMul(x, w)", "a = Add(h, b)", "n = Neg(x)", "sq = MatMul(n, inner_w)", "y = Add(sq, a)"]
    )
    inside = Session(fork(), engine="reference", tensors="all").run(X)
    y = Session(made, engine="reference").run(X)
    np.testing.assert_array_equal(y["h"], inside["h"])
    np.testing.assert_allclose(y["y"], -X.sum(1, keepdims=True) + inside["a"], rtol=1e-5)  # summed in another order


def test_a_graph_output_keeps_its_name():
    nodes = [node("Neg", ["p"], ["h"]), node("Sub", ["h", "q"], ["out"])]
    replacement = load(model(nodes, {}, inputs={"p": [2, 3], "q": [2, 3]}, outputs=["out"]))
    made = inline_submodel(load(fork()), replacement, inputs=["sq", "a"], outputs=["y"])
    assert [v.name for v in made.graph.outputs] == ["y", "h"]
    assert text(made) == [
        "h = MatMul(x, w)",
        "sq = Mul(h, h)",
        "a = Add(h, b)",
        "inner_h = Neg(sq)",
        "y = Sub(inner_h, a)",
    ]


def test_a_replacement_whose_output_is_its_input_or_a_constant():
    one = np.ones((2, 3), np.float32)
    passing = load(model([], {"one": one}, inputs={"x": [2, 3]}, outputs=["x", "one"]))
    made = inline_submodel(load(fork()), passing, inputs=["h"], outputs=["sq", "a"])
    assert sorted(text(made)) == [
        "a = Identity(one)",
        "h = MatMul(x, w)",
        "sq = Identity(h)",
        "y = Add(sq, a)",
    ]
    y = Session(made, engine="reference").run(X)
    np.testing.assert_array_equal(y["y"], y["h"] + one)


def test_names_of_the_replacement_that_are_those_of_outputs():
    nodes = [node("Neg", ["a"], ["sq"]), node("Abs", ["sq"], ["b"])]
    replacement = load(model(nodes, {}, inputs={"a": [2, 3]}, outputs=["b"]))
    made = inline_submodel(load(fork()), replacement, inputs=["h"], outputs=["sq"])
    assert {"inner_sq = Neg(h)", "sq = Abs(inner_sq)"} <= set(text(made))
    valid(made)


def test_the_captures_of_a_removed_if_are_gone():
    nodes = [node("Neg", ["in"], ["out"])]
    replacement = load(model(nodes, {}, inputs={"in": [2, 4]}, outputs=["out"]))
    made = inline_submodel(load(branches()), replacement, inputs=["h"], outputs=["i"])
    assert text(made) == ["h = Relu(x)", "i = Neg(h)", "y = Sub(i, h)"]
    assert not made.graph.initializers


@pytest.mark.parametrize(
    ("width", "inputs", "outputs", "error", "message"),
    [
        (3, ["h", "b"], ["a"], UsageError, "inputs of the replacement: got 1, expected 2"),
        (3, ["h"], ["a", "sq"], UsageError, "outputs of the replacement: got 1, expected 2"),
        (4, ["h"], ["sq"], InvalidModelError, r"got \[2, 3\], expected \[2, 4\]"),
        (3, ["sq"], ["y"], InvalidModelError, "not listed"),
        (3, ["h"], ["h"], UsageError, "is input and output"),
        (3, ["h"], ["sqq"], UsageError, "got 'sqq', expected 'sq'"),
    ],
)
def test_refusals(width, inputs, outputs, error, message):
    with pytest.raises(error, match=message):
        inline_submodel(load(fork()), _negated(width), inputs=inputs, outputs=outputs)


def test_an_input_that_depends_on_an_output():
    nodes = [
        node("Relu", ["x"], ["a"]),
        node("Neg", ["a"], ["b"]),
        node("Abs", ["b"], ["c"]),
        node("Add", ["a", "c"], ["y"]),
    ]
    read = load(model(nodes, {}, inputs={"x": [2]}, outputs=["y"]))
    replacement = load(
        model(
            [node("Add", ["p", "q"], ["r"]), node("Neg", ["q"], ["s"])],
            {},
            inputs={"p": [2], "q": [2]},
            outputs=["r", "s"],
        )
    )
    with pytest.raises(InvalidModelError, match="an input depends on an output"):
        inline_submodel(read, replacement, inputs=["x", "b"], outputs=["a", "c"])


def test_several_outputs_of_one_node():
    read = load(several())
    nodes = [node("Neg", ["in"], ["n"]), node("Split", ["n"], ["u", "v"], axis=1, num_outputs=2)]
    replacement = load(model(nodes, {}, inputs={"in": [2, 4]}, outputs=["u", "v"]))
    made = inline_submodel(read, replacement, inputs=["x"], outputs=["l", "r"])
    assert text(made) == ["n = Neg(x)", "l, r = Split(n)", "cl = Clip(l, -, top)", "y = Concat(cl, r)"]
    np.testing.assert_array_equal(Session(made, engine="reference").run(X)["r"], -X[:, 2:])


def test_constants_that_the_rest_reads_too_are_not_doubled():
    read = load(shared())
    part = extract_submodel(read, inputs=["x"], outputs=["a"])
    again = inline_submodel(read, part, inputs=["x"], outputs=["a"])
    assert text(again) == text(read)
    assert set(again.graph.initializers) == set(read.graph.initializers)
    annotate_number_format(part.graph.initializers["p_scale"], parse_number_format("FIXED<4,2>"))  # no longer the same
    other = inline_submodel(read, part, inputs=["x"], outputs=["a"])
    assert text(other)[0] == "a = Quant(x, inner_p_scale, p_zeropt, p_bits)"
    assert_same(shared(), other)


@needs_corpus
def test_corpus():
    path = CORPUS / "tfc_2w2a" / "model.onnx"
    read = load(path)
    names = [n.outputs[0].name for n in read.graph if n.op_type == "Quant" and n.inputs[0].producer() is not None]
    part = extract_submodel(read, inputs=[names[0]], outputs=[names[-1]])
    made = inline_submodel(read, part, inputs=[names[0]], outputs=[names[-1]])
    x = np.load(path.parent / "inputs.npz")["x"][:1]
    (a,), (b,) = (Session(m, engine="reference").run(x).values() for m in (read, made))
    np.testing.assert_array_equal(a, b)
