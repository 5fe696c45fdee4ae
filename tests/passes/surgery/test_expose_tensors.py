"""ExposeTensors: what was inside can be read from outside, and what was outside stays."""

from __future__ import annotations

import numpy as np
import pytest

from anybit import load
from anybit.errors import InvalidModelError, UsageError
from anybit.passes.surgery.expose_tensors import ExposeTensors
from anybit.runtime.session import Session
from tests.integration.corpus import executable_files, needs_corpus
from tests.models import model
from tests.passes.surgery.surgery import branches, fork, node, several, text, valid

X = {"x": np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)}


def _outputs(read) -> list[str]:
    return [str(v.name) for v in read.graph.outputs]


def test_by_name_in_the_order_of_the_graph_without_doubles():
    read = load(fork())
    before = text(read)
    assert ExposeTensors(("a", "sq", "h", "a"))(read).modified
    assert _outputs(read) == ["y", "h", "sq", "a"]
    assert text(read) == before
    assert not ExposeTensors(("a",))(read).modified


@pytest.mark.parametrize(("pattern", "outputs"), [("*", ["y", "h", "sq", "a"]), ("?q", ["y", "h", "sq"])])
def test_by_pattern(pattern, outputs):
    read = load(fork())
    ExposeTensors((pattern,))(read)
    assert _outputs(read) == outputs


def test_a_name_with_the_characters_of_a_pattern_is_a_name():
    proto = fork()
    for n in proto.graph.node:
        n.input[:] = ["s[0]" if i == "sq" else i for i in n.input]
        n.output[:] = ["s[0]" if i == "sq" else i for i in n.output]
    read = load(proto)
    ExposeTensors(("s[0]",))(read)
    assert _outputs(read)[-1] == "s[0]"


@pytest.mark.parametrize("make", [fork, branches, several])
@pytest.mark.parametrize("engine", ["reference", "onnxruntime"])
def test_values_are_those_that_were_inside(make, engine):
    read = load(make())
    ExposeTensors(("*",))(read)
    made = Session(read, engine=engine).run(X)
    inside = Session(make(), engine=engine, tensors="all").run(X)
    assert set(made) == set(inside)
    for name, array in made.items():
        np.testing.assert_array_equal(array, inside[name])


def test_types_and_shapes_are_inferred():
    read = load(branches())
    ExposeTensors(("c", "s"))(read)
    exposed = {o.name: o.type.tensor_type for o in valid(read).graph.output}
    assert exposed["c"].elem_type == 9
    assert [d.dim_value for d in exposed["s"].shape.dim] == []


@pytest.mark.parametrize(
    ("wanted", "message"),
    [("hh", "got 'hh', expected 'h'"), ("z*", "got 'z\\*'"), ("t0", "inside a subgraph"), ("w", "got 'w'")],
)
def test_unknown_names(wanted, message):
    read = load(branches())
    with pytest.raises(UsageError, match=message):
        ExposeTensors(("h", wanted))(read)
    assert _outputs(read) == ["y"]


def _untyped():
    nodes = [
        node("Relu", ["x"], ["a"]),
        node("Foreign", ["a"], ["f"], domain="my", name="odd"),
        node("Relu", ["a"], ["y"]),
    ]
    imports = {"": 21, "my": 1}
    return model(nodes, {}, inputs={"x": [2, 3]}, outputs=["y"], imports=imports)


def test_a_tensor_of_unknown_type():
    read = load(_untyped())
    with pytest.raises(InvalidModelError, match="tensor 'f'"):
        ExposeTensors(("f",))(read)
    result = ExposeTensors(("*",))(read)
    assert _outputs(read) == ["y", "a"]
    assert [n.node for n in result.notes] == ["Foreign 'odd'"]


@needs_corpus
@pytest.mark.parametrize(
    "case", [c for c in executable_files() if c.path.parent.name == "tfc_1w1a"], ids=lambda c: c.name
)
def test_corpus(case):
    read = load(case.path)
    ExposeTensors(("*",))(read)
    made = Session(read, engine="reference").run(case.inputs[:1])
    for name, array in Session(case.path, engine="reference", tensors="all").run(case.inputs[:1]).items():
        np.testing.assert_array_equal(made[name], array)
