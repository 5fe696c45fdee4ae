"""The editor keeps names, annotations, metadata and doc strings, tells what it did, and cannot be used by halves."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from anybit import load
from anybit.errors import Refusal
from anybit.graph.annotations import annotate_layout, annotated_layout
from anybit.graph.editor import Editor
from tests.models import model


def _chain() -> ir.Model:
    """y = Neg(Add(x, c)), each node with metadata and a doc string of its own, h = Add(...) with a layout."""
    nodes = [helper.make_node("Add", ["x", "c"], ["h"], "add"), helper.make_node("Neg", ["h"], ["y"], "neg")]
    for node in nodes:
        node.doc_string = f"of {node.name}"
        node.metadata_props.add(key="origin", value=node.name)
    loaded = load(model(nodes, {"c": np.float32([1, 2])}, inputs={"x": [2]}, outputs=["y"]))
    annotate_layout(loaded.graph.node(0).outputs[0], ("C",))
    return loaded


def _said(node: ir.Node) -> tuple[str | None, str | None]:
    return node.metadata_props.get("origin"), node.doc_string


def _doubled(edit: Editor, old: ir.Value) -> list[ir.Node]:
    first = edit.node("Abs", [edit.model.graph.inputs[0]], f"{old.name}/first", like=old)
    return [first, edit.node("Sign", first.outputs, f"{old.name}/second", like=old)]


def test_a_replaced_node_leaves_name_annotations_metadata_and_doc_string():
    loaded = _chain()
    old = loaded.graph.node(0).outputs[0]
    with Editor(loaded, rule="test") as edit:
        edit.replace(old, _doubled(edit, old))
    assert [n.op_type for n in loaded.graph] == ["Abs", "Sign", "Neg"]
    assert loaded.graph.node(1).outputs[0].name == "h"
    assert annotated_layout(loaded.graph.node(1).outputs[0]) == ("C",)
    assert [_said(n) for n in loaded.graph] == [("add", "of add"), ("add", "of add"), ("neg", "of neg")]
    assert list(loaded.graph.initializers) == []  # what the old node alone has read
    assert edit.modified


def test_a_node_for_two_has_the_metadata_of_both():
    loaded = _chain()
    output = loaded.graph.outputs[0]
    with Editor(loaded, rule="test") as edit:
        edit.replace(output, edit.node("Abs", [loaded.graph.inputs[0]], "y/new", like=output))
    (node,) = loaded.graph
    assert (node.metadata_props["origin"], node.doc_string) == ("neg\nadd", "of neg\nof add")


def test_a_node_behind_another_one_tells_where_it_comes_from():
    loaded = _chain()
    add = loaded.graph.node(0)
    with Editor(loaded, rule="test") as edit:
        value = add.outputs[0]
        edit.insert(edit.node("Abs", [value], edit.successor(value, "inner")), after=add)
    assert [_said(n)[0] for n in loaded.graph] == ["add", "add", "neg"]
    assert [n.outputs[0].name for n in loaded.graph] == ["h/inner", "h", "y"]


def test_a_node_that_is_said_to_stand_for_another_one():
    loaded = _chain()
    add, neg = loaded.graph.node(0), loaded.graph.node(1)
    with Editor(loaded, rule="test") as edit:
        made = edit.node("Abs", [loaded.graph.inputs[0]], "other")
        edit.insert(made, before=add, of=add)
        edit.rewire(neg, 0, made.outputs[0])
    assert [(n.op_type, _said(n)[0]) for n in loaded.graph] == [("Abs", "add"), ("Neg", "neg")]


def test_readers_of_a_redirected_tensor():
    loaded = _chain()
    add = loaded.graph.node(0)
    with Editor(loaded, rule="test") as edit:
        made = edit.node("Abs", [loaded.graph.inputs[0]], "other")
        edit.insert(made, before=add)
        edit.redirect(add.outputs[0], made.outputs[0])
    assert [(n.op_type, _said(n)[0]) for n in loaded.graph] == [("Abs", "add"), ("Neg", "neg")]
    assert loaded.graph.node(0).outputs[0].name == "other"
    assert annotated_layout(loaded.graph.node(0).outputs[0]) == ("C",)


def test_what_is_read_elsewhere_stays():
    loaded = _chain()
    add, neg = loaded.graph.node(0), loaded.graph.node(1)
    loaded.graph.outputs.append(add.outputs[0])
    with Editor(loaded, rule="test") as edit:
        edit.rewire(neg, 0, loaded.graph.inputs[0])
    assert [n.op_type for n in loaded.graph] == ["Add", "Neg"]
    assert list(loaded.graph.initializers) == ["c"]


def test_notes_and_modified_are_values():
    loaded = _chain()
    with Editor(loaded, rule="test") as edit:
        edit.leave(loaded.graph.node(0), Refusal(problem="no", got="this"))
    assert not edit.modified
    result = edit.result()
    assert (result.model, result.modified) == (loaded, False)
    assert [(n.rule, n.node, n.problem, n.got) for n in result.notes] == [("test", "Add 'add'", "no", "this")]
    assert not [key for key in loaded.meta if "note" in key]


def test_nothing_is_removed_after_an_exception():
    loaded = _chain()
    edit = Editor(loaded, rule="test")

    def fail() -> None:
        with edit:
            edit.rewire(loaded.graph.node(1), 0, loaded.graph.inputs[0])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [n.op_type for n in loaded.graph] == ["Add", "Neg"]
    with pytest.raises(RuntimeError, match="has not ended"):
        edit.result()


def test_an_editor_outside_of_its_block_is_an_error():
    loaded = _chain()
    edit = Editor(loaded, rule="test")
    value = loaded.graph.node(0).outputs[0]
    for change in (
        lambda: edit.constant("k", np.zeros(1)),
        lambda: edit.discard(value),
        lambda: edit.successor(value, "x"),
        lambda: edit.replace(value, loaded.graph.inputs[0]),
        lambda: edit.remove(loaded.graph.node(1)),
    ):
        with pytest.raises(RuntimeError, match="inside of its block"):
            change()
    with pytest.raises(RuntimeError, match="has not ended"):
        edit.result()
    with edit:
        pass
    with pytest.raises(RuntimeError, match="inside of its block"):
        edit.discard(value)
    with pytest.raises(RuntimeError, match="one block"), edit:
        pass


def test_a_successor_that_no_node_makes_is_an_error():
    loaded = _chain()
    with pytest.raises(RuntimeError, match="no node of the model makes 'h'"), Editor(loaded, rule="test") as edit:
        edit.successor(loaded.graph.node(0).outputs[0], "old")


def test_a_place_is_needed():
    loaded = _chain()
    with Editor(loaded, rule="test") as edit:
        made = edit.node("Abs", [loaded.graph.inputs[0]], "a")
        with pytest.raises(ValueError, match="before one node"):
            edit.insert(made)
        with pytest.raises(ValueError, match="no place"):
            edit.replace(loaded.graph.inputs[0], made)
