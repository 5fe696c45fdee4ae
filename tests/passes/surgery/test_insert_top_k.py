"""InsertTopK: the model answers with indices."""

from __future__ import annotations

import numpy as np
import pytest

from anybit import load
from anybit.errors import InvalidModelError, UsageError
from anybit.passes.surgery.insert_top_k import InsertTopK
from anybit.runtime.session import Session
from tests.integration.corpus import executable_files, needs_corpus
from tests.models import mlp, model
from tests.passes.surgery.surgery import branches, fork, node, text, valid

X = np.random.default_rng(3).normal(size=(2, 4)).astype(np.float32)


def test_before_and_after():
    read = load(mlp())
    InsertTopK(3)(read)
    assert text(read)[-1] == "y_values, y_indices = TopK(y, y_k)"
    (output,) = read.graph.outputs
    assert (output.name, output.dtype.name, list(output.shape)) == ("y_indices", "INT64", [1, 3])
    valid(read)


@pytest.mark.parametrize("engine", ["reference", "onnxruntime"])
@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize(("axis", "k"), [(-1, 2), (1, 3), (0, 1), (-2, 2)])
def test_indices_and_values_agree_with_numpy(axis, k, largest, engine):
    read = load(fork())
    InsertTopK(k, axis=axis, largest=largest, output="h", values=True)(read)
    assert [v.name for v in read.graph.outputs] == ["y", "h_values", "h_indices"]
    made = Session(read, engine=engine).run(X)
    before = Session(fork(), engine=engine).run(X)
    order = np.argsort(-before["h"] if largest else before["h"], axis=axis, kind="stable").take(range(k), axis)
    np.testing.assert_array_equal(made["h_indices"], order)
    np.testing.assert_array_equal(made["h_values"], np.take_along_axis(before["h"], order, axis))
    np.testing.assert_array_equal(made["y"], before["y"])  # other readers of the tensor are not disturbed


@pytest.mark.parametrize("opset", [9, 10, 11, 21])
def test_the_form_of_the_opset(opset):
    proto = model([node("Relu", ["x"], ["y"])], {}, inputs={"x": [2, 4]}, outputs=["y"], opset=opset)
    read = load(proto)
    InsertTopK(2)(read)
    valid(read)
    (top,) = (n for n in read.graph if n.op_type == "TopK")
    assert sorted(top.attributes) == {9: ["axis", "k"], 10: ["axis"]}.get(opset, ["axis", "largest", "sorted"])
    made = Session(read, engine="onnxruntime").run(np.abs(X))["y_indices"]
    np.testing.assert_array_equal(made, np.argsort(-np.abs(X), axis=-1)[:, :2])


def test_the_smallest_need_opset_11():
    proto = model([node("Relu", ["x"], ["y"])], {}, inputs={"x": [2, 4]}, outputs=["y"], opset=10)
    read = load(proto)
    with pytest.raises(InvalidModelError, match="convert the opset"):
        InsertTopK(2, largest=False)(read)
    assert text(read) == ["y = Relu(x)"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"k": 0}, UsageError, "got 0, expected a positive number"),
        ({"k": 5, "output": "h"}, InvalidModelError, "got 5, expected at most 3"),
        ({"k": 1, "axis": 2, "output": "h"}, InvalidModelError, r"got 2, expected an axis of \[2, 3\]"),
        ({"k": 1}, UsageError, "which output is not stated"),
        ({"k": 1, "output": "hh"}, UsageError, "got 'hh', expected 'h'"),
    ],
)
def test_refusals_change_nothing(options, error, message):
    read = load(fork())
    with pytest.raises(error, match=message):
        InsertTopK(**options)(read)
    assert text(read) == text(load(fork()))
    assert len(read.graph.initializers) == 2


def test_booleans_have_no_order():
    read = load(model([node("IsNaN", ["x"], ["y"])], {}, inputs={"x": [2, 4]}, outputs=["y"]))
    read.graph.outputs[0].dtype = type(read.graph.outputs[0].dtype).BOOL
    with pytest.raises(InvalidModelError, match="got BOOL"):
        InsertTopK(1)(read)


def test_a_model_with_subgraphs():
    read = load(branches())
    InsertTopK(2)(read)
    expected = np.argsort(-Session(branches(), engine="reference").run(X)["y"], axis=-1, kind="stable")[:, :2]
    np.testing.assert_array_equal(Session(read, engine="reference").run(X)["y_indices"], expected)


@needs_corpus
@pytest.mark.parametrize(
    "case", [c for c in executable_files() if c.path.parent.name == "jet_mlp_6b"], ids=lambda c: c.name
)
def test_corpus(case):
    read = load(case.path)
    InsertTopK(1)(read)
    (made,) = Session(read).run(case.inputs[:8]).values()
    (before,) = Session(case.path).run(case.inputs[:8]).values()
    np.testing.assert_array_equal(made[:, 0], before.argmax(axis=1))
