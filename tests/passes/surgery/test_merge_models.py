"""merge_models: the second model on what the first one puts out."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from anybit import load
from anybit.errors import InvalidModelError, UsageError
from anybit.graph.annotations import annotate_number_format, annotated_number_format
from anybit.number_formats import parse_number_format
from anybit.passes.surgery.merge_models import merge_models
from anybit.runtime.session import Session
from tests.integration.corpus import CORPUS, needs_corpus
from tests.models import DOMAIN, mlp, model, parameters, quant
from tests.passes.surgery.surgery import branches, fork, node, several, text, valid

X = np.random.default_rng(5).normal(size=(2, 4)).astype(np.float32)


def _chain(first, second, names, x=X):
    """The outputs of the second model on the connected outputs of the first, both run apart."""
    made = Session(first, engine="reference").run(x)
    return made, Session(second, engine="reference").run({i: made[o] for o, i in names.items()})


def test_before_and_after_with_clashing_names():
    merged = merge_models(load(branches()), load(several()))
    assert text(merged) == [
        "h = Relu(x)",
        "s = ReduceSum(h)",
        "c = Greater(s, half)",
        "i = If(c)",
        "y = Sub(i, h)",
        "l, r = Split(y)",
        "cl = Clip(l, -, top)",
        "second_y = Concat(cl, r)",
    ]
    assert [v.name for v in merged.graph.inputs] == ["x"]
    assert [v.name for v in merged.graph.outputs] == ["second_y", "r"]


@pytest.mark.parametrize("engine", ["reference", "onnxruntime"])
@pytest.mark.parametrize("pair", [(branches, several), (several, branches), (branches, branches), (branches, fork)])
def test_it_computes_the_chain(pair, engine):
    first, second = (make() for make in pair)
    merged = merge_models(load(pair[0]()), load(pair[1]()), connect={"y": "x"})
    valid(merged)
    labels = [n.name for n in merged.graph.all_nodes() if n.name]
    assert len(labels) == len(set(labels))
    made, expected = _chain(first, second, {"y": "x"})
    results = list(Session(merged, engine=engine).run(X).values())
    kept = [a for name, a in made.items() if name != "y"]
    assert len(results) == len(kept) + len(expected)
    for a, b in zip(results, [*kept, *expected.values()], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)  # ONNX Runtime sums in float32
        assert engine != "reference" or np.array_equal(a, b)


def test_the_sources_stay_and_models_merge_with_themselves():
    read = load(fork())
    before = valid(read).SerializeToString()
    wide = load(model([node("Add", ["x", "z"], ["y"])], {}, inputs={"x": [2, 3], "z": [2, 3]}, outputs=["y"]))
    merged = merge_models(read, wide)
    assert [v.name for v in merged.graph.outputs] == ["second_y"]
    assert text(merged)[-1] == "second_y = Add(y, h)"
    again = merge_models(merged, load(several_on(3)))
    valid(again)
    assert valid(read).SerializeToString() == before
    assert text(wide) == ["y = Add(x, z)"]


def several_on(width):
    return model([node("Relu", ["x"], ["y"])], {}, inputs={"x": [2, width]}, outputs=["y"])


def test_unconnected_inputs_and_outputs_stay():
    wide = load(model([node("Add", ["x", "z"], ["sum"])], {}, inputs={"x": [2, 3], "z": [2, 3]}, outputs=["sum"]))
    merged = merge_models(load(fork()), wide, connect={"h": "z"})
    assert [v.name for v in merged.graph.inputs] == ["x", "second_x"]
    assert [v.name for v in merged.graph.outputs] == ["y", "sum"]
    assert text(merged)[-1] == "sum = Add(second_x, h)"
    extra = np.ones((2, 3), np.float32)
    made = Session(merged, engine="reference").run({"x": X, "second_x": extra})
    np.testing.assert_array_equal(made["sum"], Session(fork(), engine="reference").run(X)["h"] + extra)


def test_a_second_model_that_passes_its_input_on():
    passing = load(model([node("Neg", ["x"], ["n"])], {}, inputs={"x": [2, 4]}, outputs=["n", "x"]))
    merged = merge_models(load(branches()), passing)
    assert [v.name for v in merged.graph.outputs] == ["n", "y"]
    valid(merged)


def test_annotations_and_metadata_are_kept():
    first, second = load(branches()), load(several())
    annotate_number_format(first.graph.outputs[0], parse_number_format("INT4"))
    annotate_number_format(second.graph.node(0).outputs[1], parse_number_format("INT5"))
    first.metadata_props.update({"a": "1", "b": "2"})
    second.metadata_props.update({"b": "3", "c": "4"})
    merged = merge_models(first, second)
    found = {str(o.name): annotated_number_format(o) for n in merged.graph for o in n.outputs}
    assert (str(found["y"]), str(found["r"])) == ("INT4", "INT5")
    assert merged.metadata_props == {"a": "1", "b": "2", "c": "4", "second_b": "3"}


def _with_function(constant, name="F"):
    body = [helper.make_node("Constant", [], ["k"], value_float=constant), node("Mul", ["a", "k"], ["b"])]
    function = helper.make_function("my", name, ["a"], ["b"], body, [helper.make_opsetid("", 21)])
    nodes = [node(name, ["x"], ["y"], domain="my")]
    imports = {"": 21, "my": 1}
    proto = model(nodes, {}, inputs={"x": [2, 4]}, outputs=["y"], imports=imports, functions=[function])
    return load(proto)


def test_functions_are_merged():
    merged = merge_models(_with_function(2.0), _with_function(3.0, "G"))
    np.testing.assert_array_equal(next(iter(Session(merged).run(X).values())), X * 2 * 3)
    assert len(merge_models(_with_function(2.0), _with_function(2.0)).functions) == 1
    with pytest.raises(InvalidModelError, match="my::F: two functions have this name"):
        merge_models(_with_function(2.0), _with_function(3.0))


@pytest.mark.parametrize(
    ("second", "connect", "error", "message"),
    [
        (several, {"y": "z"}, UsageError, "no such tensor: got 'z'"),
        (several, {"q": "x"}, UsageError, "no such tensor: got 'q'"),
        (several, {"y": "x", "h": "x"}, UsageError, "to an input of its own"),
        (several, None, UsageError, "2 outputs, 1 inputs"),
        (several, {"h": "x"}, InvalidModelError, r"shape: got \[2, 3\], expected \[2, 4\]"),
        (lambda: mlp(opset=20), {"h": "x"}, UsageError, "got 21 and 20"),
        (
            lambda: model([node("Neg", ["x"], ["y"])], {}, inputs={"x": [2, 3]}, outputs=["y"], input_type=7),
            {"h": "x"},
            InvalidModelError,
            "got FLOAT, expected INT64",
        ),
    ],
)
def test_refusals(second, connect, error, message):
    first = fork()
    first.graph.output[1].type.tensor_type.CopyFrom(helper.make_tensor_type_proto(1, [2, 3]).tensor_type)
    with pytest.raises(error, match=message):
        merge_models(load(first), load(second()), connect=connect)


def test_a_free_dimension_may_meet_a_fixed_one():
    first = model([node("Neg", ["x"], ["y"])], {}, inputs={"x": ["N", 4]}, outputs=["y"])
    first.graph.output[0].type.tensor_type.CopyFrom(helper.make_tensor_type_proto(1, ["N", 4]).tensor_type)
    merged = merge_models(load(first), load(several()))
    assert next(n.op_type for n in merged.graph) == "Neg"


def test_versions_of_our_domain_count_where_the_operator_differs():
    second = mlp()
    for entry in second.opset_import:
        entry.version = 2 if entry.domain else entry.version
    extra = model([node("Trunc", ["x", *"abcd"], ["y"], domain=DOMAIN)], dict.fromkeys("abcd", np.float32(8)),
                  inputs={"x": [1, 8]}, outputs=["y"])  # fmt: skip
    imports = {"": 21, DOMAIN: 2}
    quantizer = model([quant("x", "q")], parameters("q"), inputs={"x": [1, 8]}, outputs=["q"], imports=imports)
    newer = load(second)
    assert newer.opset_imports[DOMAIN] == 2
    with pytest.raises(UsageError, match="got 2 and 1"):
        merge_models(newer, load(extra))
    merged = merge_models(load(extra), load(quantizer))  # Quant is the same in both
    assert merged.opset_imports[DOMAIN] == 1
    valid(merged)


@needs_corpus
def test_corpus():
    path = CORPUS / "tfc_2w2a" / "model.onnx"
    scale = model(
        [node("Mul", ["x", "two"], ["y"])], {"two": np.float32(2)}, inputs={"x": [1, 10]}, outputs=["y"], opset=20
    )
    merged = merge_models(load(path), load(scale))
    x = np.load(path.parent / "inputs.npz")["x"][:1]
    (made,) = Session(merged, engine="reference").run(x).values()
    (before,) = Session(path, engine="reference").run(x).values()
    np.testing.assert_array_equal(made, before * 2)
    assert onnx.checker.check_model(valid(merged)) is None
