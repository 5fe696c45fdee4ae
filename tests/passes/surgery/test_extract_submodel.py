"""extract_submodel: a part of a model computes what it computed inside."""

from __future__ import annotations

import numpy as np
import pytest

from anybit import load
from anybit.errors import InvalidModelError, UsageError
from anybit.graph.annotations import annotate_number_format, annotated_number_format
from anybit.number_formats import parse_number_format
from anybit.passes.surgery.extract_submodel import extract_submodel
from anybit.runtime.session import Session
from tests.integration.corpus import executable_files, needs_corpus
from tests.models import model
from tests.passes.surgery.surgery import branches, fork, node, several, text, valid

_CUT = ("tfc_2w2a/model.onnx", "transformer_4w8a/model.onnx", "espcn_deconv_4w4a/model_dynamo.onnx")
X = np.random.default_rng(5).normal(size=(2, 4)).astype(np.float32)


def test_before_and_after():
    part = extract_submodel(load(fork()), inputs=["h"], outputs=["a", "sq"])
    assert text(part) == ["sq = Mul(h, h)", "a = Add(h, b)"]
    assert [v.name for v in part.graph.inputs] == ["h"]
    assert [v.name for v in part.graph.outputs] == ["a", "sq"]
    assert list(part.graph.initializers) == ["b"]
    valid(part)


CUTS = [
    (fork, ["x"], ["y", "h"]),
    (fork, ["sq", "a"], ["y"]),
    (fork, ["h", "b"], ["y"]),  # a weight becomes an input
    (fork, ["h"], ["h", "a"]),  # an input is an output too
    (branches, ["h"], ["y"]),  # the branches capture the input
    (branches, ["h", "c"], ["i"]),
    (branches, ["h", "w", "c"], ["i"]),  # a weight that only a branch reads becomes an input
    (several, ["l"], ["cl"]),  # an optional input is left out
    (several, ["x"], ["r"]),
]


@pytest.mark.parametrize("engine", ["reference", "onnxruntime"])
@pytest.mark.parametrize(("make", "inputs", "outputs"), CUTS)
def test_it_computes_what_it_computed_inside(make, inputs, outputs, engine):
    whole = load(make())
    inside = Session(make(), engine=engine, tensors="all").run(X) | {"x": X}
    inside |= {name: v.const_value.numpy() for name, v in whole.graph.initializers.items()}
    part = extract_submodel(whole, inputs=inputs, outputs=outputs)
    valid(part)
    assert not any(v.const_value for v in part.graph.inputs)
    if set(inputs) & set(outputs) and engine == "onnxruntime":
        return
    made = Session(part, engine=engine).run({n: inside[n] for n in inputs})
    assert list(made) == outputs
    for name, array in made.items():
        np.testing.assert_array_equal(array, inside[name])


def test_the_source_stays_and_annotations_go_along():
    read = load(fork())
    annotate_number_format(read.graph.node(0).outputs[0], parse_number_format("INT7"))
    annotate_number_format(read.graph.initializers["b"], parse_number_format("INT3"))
    read.metadata_props["a"] = "1"
    before = valid(read).SerializeToString()
    part = extract_submodel(read, inputs=["h"], outputs=["a"])
    assert str(annotated_number_format(part.graph.inputs[0])) == "INT7"
    assert str(annotated_number_format(part.graph.initializers["b"])) == "INT3"
    assert part.metadata_props == {"a": "1"}
    assert valid(read).SerializeToString() == before


@pytest.mark.parametrize(
    ("inputs", "outputs", "error", "message"),
    [
        (["c"], ["y"], InvalidModelError, "graph inputs that are not listed: got 'x'"),
        ([], ["i"], InvalidModelError, "got 'x'"),  # only the branches read what depends on x
        (["hh"], ["y"], UsageError, "got 'hh', expected 'h'"),
        (["x"], ["t0"], UsageError, "inside a subgraph"),
        (["x", "x"], ["y"], UsageError, "each once"),
        (["x"], [], UsageError, "no outputs given"),
        ("x", ["y"], UsageError, r"Sequence\[str\]"),
    ],
)
def test_refusals(inputs, outputs, error, message):
    with pytest.raises(error, match=message):
        extract_submodel(load(branches()), inputs=inputs, outputs=outputs)


def test_a_boundary_of_unknown_type():
    nodes = [node("Odd", ["x"], ["h"], domain="my"), node("Neg", ["h"], ["y"])]
    read = load(model(nodes, {}, inputs={"x": [2]}, outputs=["y"], imports={"": 21, "my": 1}))
    with pytest.raises(InvalidModelError, match="'h': its type is not known"):
        extract_submodel(read, inputs=["h"], outputs=["y"])


@needs_corpus
@pytest.mark.parametrize("case", [c for c in executable_files() if c.name in _CUT], ids=lambda c: c.name)
def test_corpus_cut_in_the_middle(case):
    read = load(case.path)
    quantisers = [n for n in read.graph if n.op_type == "Quant" and n.inputs[0].producer() is not None]
    names = [n.outputs[0].name for n in quantisers]
    cut = names[len(names) // 2]
    output = read.graph.outputs[0].name
    try:
        part = extract_submodel(read, inputs=[cut], outputs=[output])
    except InvalidModelError as error:  # a residual path passes the cut
        assert "not listed" in str(error)
        part = extract_submodel(read, inputs=[read.graph.inputs[0].name], outputs=[cut])
        cut, output = read.graph.inputs[0].name, cut
    inside = Session(read, engine="reference", tensors="all").run(case.inputs[:1])
    inside[str(read.graph.inputs[0].name)] = case.inputs[:1]
    np.testing.assert_array_equal(Session(part, engine="reference").run({cut: inside[cut]})[output], inside[output])
