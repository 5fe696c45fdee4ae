"""AnnotateTypes: what is proven is stated, what is stale goes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from anybit.analysis.types import types
from anybit.graph.annotations import annotate_layout, annotate_number_format, annotated_layout, annotated_number_format
from anybit.graph.names import all_values
from anybit.io.load import load
from anybit.io.save import save, to_proto
from anybit.number_formats import parse_number_format
from anybit.passes.types.annotate_types import AnnotateTypes
from anybit.runtime.session import Session
from tests.analysis.legacy_example import MEASURED, legacy_example
from tests.models import mlp, model, samples


def _stated(read) -> dict[str, str]:
    return {str(v.name): str(d) for v in all_values(read.graph) if (d := annotated_number_format(v)) is not None}


def test_formats_are_stated_and_stay_in_the_file(tmp_path):
    read = load(mlp())
    assert AnnotateTypes()(read).modified
    save(read, tmp_path / "annotated.onnx")
    stated = _stated(load(tmp_path / "annotated.onnx"))
    expected = {t.name: str(t.format) for t in types(mlp()) if str(t.format) != "FLOAT32"}
    assert stated == expected
    assert stated["wq"] == "FIXED<4,2>"
    assert stated["y"] == "SCALEDINT<4>"
    assert "x" not in stated
    assert "w" not in stated


def test_a_second_run_changes_nothing():
    for legacy in (False, True):
        read = load(mlp())
        assert AnnotateTypes(legacy=legacy)(read).modified
        assert not AnnotateTypes(legacy=legacy)(read).modified


def test_numbers_stay_as_they_are():
    read = load(mlp())
    AnnotateTypes()(read)
    x = samples(1, 6)
    np.testing.assert_array_equal(Session(read).run(x)["y"], Session(mlp()).run(x)["y"])


@pytest.mark.parametrize("text", ["INT32", "FLOAT32", "no format at all"])
def test_stale_statements_are_replaced_and_other_annotations_stay(text):
    read = load(mlp())
    values = {str(v.name): v for v in all_values(read.graph)}
    for name in ("h", "wq"):
        values[name].meta["quant_parameter_tensor_names"] = {"finn_datatype": text}
    annotate_layout(values["h"], ("N", "C"))
    assert AnnotateTypes()(read).modified
    fresh = load(mlp())
    AnnotateTypes()(fresh)
    assert _stated(read) == _stated(fresh)
    assert annotated_layout(values["h"]) == ("N", "C")


def test_a_wrong_statement_about_a_float_tensor_is_taken_away():
    proto = model([helper.make_node("Softmax", ["x"], ["y"])], {}, inputs={"x": [1, 3]}, outputs=["y"])
    read = load(proto)
    annotate_number_format(read.graph.outputs[0], parse_number_format("INT4"))
    assert AnnotateTypes()(read).modified
    assert annotated_number_format(read.graph.outputs[0]) is None


def test_what_the_file_says_about_its_input_is_believed():
    read = load(mlp())
    annotate_number_format(read.graph.inputs[0], parse_number_format("UINT8"))
    AnnotateTypes()(read)
    assert _stated(read)["x"] == "UINT8"


def test_functions_and_subgraphs_are_followed():
    then = helper.make_graph(
        [helper.make_node("Neg", ["y"], ["t"])], "then", [], [helper.make_tensor_value_info("t", 1, None)]
    )
    other = helper.make_graph(
        [helper.make_node("Identity", ["y"], ["t"])], "else", [], [helper.make_tensor_value_info("t", 1, None)]
    )
    body = [helper.make_node("Neg", ["a"], ["h"]), helper.make_node("Identity", ["h"], ["b"])]
    function = helper.make_function("my", "Negated", ["a"], ["b"], body, [helper.make_opsetid("", 21)])
    plain = mlp()
    nodes = [
        *plain.graph.node,
        helper.make_node("Negated", ["h"], ["n"], domain="my"),
        helper.make_node("If", ["yes"], ["z"], then_branch=then, else_branch=other),
    ]
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in plain.graph.initializer} | {"yes": np.array(True)}
    imports = {o.domain: o.version for o in plain.opset_import} | {"my": 1}
    read = load(model(nodes, arrays, inputs={"x": [1, 6]}, outputs=["n", "z"], imports=imports, functions=[function]))
    AnnotateTypes()(read)
    stated = _stated(read)
    assert stated["n"] == stated["h"]
    assert len(read.functions) == 1
    assert {a.tensor_name for a in to_proto(read).graph.quantization_annotation} >= {"n", "h", "wq"}


def test_the_legacy_formats_are_those_of_the_existing_tool():
    read = load(legacy_example())
    before = _stated(read)
    AnnotateTypes(legacy=True)(read)
    assert before == {}
    assert _stated(read) == MEASURED


def test_the_legacy_mode_calls_accumulators_int32():
    plain = mlp()
    for tensor in plain.graph.initializer:
        if tensor.name.endswith("_scale"):
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.float32(1.0), tensor.name))
    read = load(plain)
    AnnotateTypes(legacy=True)(read)
    assert _stated(read) == {"xq": "INT4", "wq": "INT4", "h": "INT32", "r": "FLOAT32", "y": "UINT4"}
    AnnotateTypes()(read)
    assert _stated(read)["h"] in {f"INT{n}" for n in range(5, 12)}
