"""check finds everything at once, and names the node each time."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper
from typer.testing import CliRunner

import anybit
from anybit import check
from anybit.cli.app import app
from anybit.errors import InvalidModelError, Severity
from anybit.reporting.describe import describe
from tests.models import DOMAIN, mlp, model, parameters, quant


def _rules(proto) -> list[tuple[str, str]]:
    return [(f.rule, f.node) for f in check(proto) if f.severity is Severity.ERROR]


def test_a_good_model_has_no_findings():
    assert check(mlp()) == ()


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"y_bits": np.float32(2.5)}, "bit-width"),
        ({"y_bits": np.float32(-1)}, "bit-width"),
        ({"y_bits": np.float32(np.nan)}, "bit-width"),
        ({"y_bits": np.float32(np.inf)}, "bit-width"),
        ({"y_scale": np.float32(0)}, "scale"),
        ({"y_scale": np.float32(-1)}, "scale"),
        ({"y_scale": np.float32(np.nan)}, "scale"),
        ({"y_scale": np.array([1, 1, 1, 1, 1, -1], np.float32)}, "scale"),
        ({"y_zeropt": np.float32(np.inf)}, "zero-point"),
        ({"y_scale": np.ones(5, np.float32)}, "broadcast"),
        ({"y_scale": np.ones((1, 1, 6), np.float32)}, "broadcast"),
        ({"y_bits": np.full((2, 6), 4, np.float32)}, "broadcast"),
    ],
)
def test_bad_parameters_are_found(change, rule):
    proto = model([quant("x", "y")], parameters("y") | change, inputs={"x": [1, 6]}, outputs=["y"])
    assert _rules(proto) == [(rule, "Quant 'y_node'")]


@pytest.mark.parametrize(
    ("attributes", "rule"),
    [
        ({"signed": 2}, "attribute"),
        ({"narrow": -1}, "attribute"),
        ({"rounding_mode": "SIDEWAYS"}, "rounding-mode"),
        ({"signed": "yes"}, "attribute"),
        ({"rounding_mode": 1}, "attribute"),
    ],
)
def test_bad_attributes_are_found(attributes, rule):
    proto = model([quant("x", "y", **attributes)], parameters("y"), inputs={"x": [1, 6]}, outputs=["y"])
    assert _rules(proto) == [(rule, "Quant 'y_node'")]


def test_all_findings_come_at_once():
    nodes = [
        quant("x", "a", rounding_mode="SIDEWAYS"),
        quant("a", "b"),
        helper.make_node("Mystery", ["b"], ["c"], name="who", domain=DOMAIN),
        helper.make_node("Nonsense", ["c"], ["d"], name="what"),
        helper.make_node("Add", ["d", "ghost"], ["y"], name="sum"),
    ]
    values = parameters("a") | parameters("b", scale=-1, bits=0)
    found = _rules(model(nodes, values, inputs={"x": [1, 6]}, outputs=["y"]))
    assert sorted(found) == [
        ("bit-width", "Quant 'b_node'"),
        ("operator", "Mystery 'who'"),
        ("operator", "Nonsense 'what'"),
        ("rounding-mode", "Quant 'a_node'"),
        ("scale", "Quant 'b_node'"),
        ("undefined", "Add 'sum'"),
    ]


def test_missing_inputs_and_outputs_are_found():
    node = helper.make_node("Quant", ["x", "y_scale"], ["y"], name="short", domain=DOMAIN)
    assert _rules(model([node], parameters("y"), inputs={"x": [1]}, outputs=["y"])) == [("inputs", "Quant 'short'")]


def test_attributes_and_inputs_of_standard_operators_are_checked():
    nodes = [
        helper.make_node("Relu", ["x", "x"], ["a"], name="relu"),
        helper.make_node("Clip", ["a"], ["b"], name="clip", min=0.0),
        helper.make_node("Concat", ["b"], ["y"], name="concat"),
    ]
    found = _rules(model(nodes, {}, inputs={"x": [1]}, outputs=["y"]))
    assert found == [("inputs", "Relu 'relu'"), ("attribute", "Clip 'clip'"), ("attribute", "Concat 'concat'")]


@pytest.mark.parametrize(("domain", "version"), [("", 99), ("", 3), (DOMAIN, 9)])
def test_unknown_versions_are_found(domain, version):
    imports = {"": 21, DOMAIN: 1} | {domain: version}
    proto = model([quant("x", "y")], parameters("y"), inputs={"x": [1, 6]}, outputs=["y"], imports=imports)
    assert ("opset", "") in _rules(proto)


def test_integer_tensors_cannot_be_quantised():
    proto = model([quant("x", "y")], parameters("y"), inputs={"x": [1, 6]}, outputs=["y"], input_type=7)
    assert ("element-type", "Quant 'y_node'") in _rules(proto)


def test_nodes_of_subgraphs_and_functions_are_checked():
    bad = quant("x", "inner", prefix="q", rounding_mode="SIDEWAYS")
    body = helper.make_graph([bad], "branch", [], [helper.make_tensor_value_info("inner", 1, None)])
    function = helper.make_function(
        "local", "F", ["a", "s"], ["b"],
        [helper.make_node("Quant", ["a", "s"], ["b"], name="inside", domain=DOMAIN)],
        [helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, 1)],
    )  # fmt: skip
    nodes = [
        helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body),
        helper.make_node("F", ["y", "q_scale"], ["z"], domain="local"),
    ]
    proto = model(
        nodes, parameters("q") | {"c": np.bool_(1)}, inputs={"x": [3]}, outputs=["z"], functions=[function],
        imports={"": 21, DOMAIN: 1, "local": 1},
    )  # fmt: skip
    assert _rules(proto) == [
        ("rounding-mode", "Quant 'inner_node'"),
        ("rounding-mode", "Quant 'inner_node'"),
        ("inputs", "Quant 'inside'"),
    ]


def test_an_input_without_shape_and_an_unsorted_graph_are_warnings():
    nodes = [helper.make_node("Neg", ["a"], ["y"], name="late"), helper.make_node("Abs", ["x"], ["a"], name="early")]
    findings = check(model(nodes, {}, inputs={"x": None}, outputs=["y"]))
    assert {f.severity for f in findings} == {Severity.WARNING}
    assert {f.rule for f in findings} >= {"order", "shape"}


def test_a_size_that_nobody_named_is_shown_as_unknown():
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    proto = model(nodes, {"shape": np.array([-1, 2])}, inputs={"x": ["N", 4]}, outputs=["y"])
    stated = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 5])
    proto.graph.output[0].CopyFrom(stated)
    (finding,) = check(proto)
    assert (finding.rule, finding.got, finding.expected) == ("shape", "[N,5]", "[?,2]")


def test_false_shapes_circles_and_recursion_are_found():
    nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Neg", ["a"], ["y"])]
    proto = model(nodes, {}, inputs={"x": [3, 4]}, outputs=["y"])
    proto.graph.value_info.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, [5, 6, 7]))
    (finding,) = check(proto)
    assert (finding.rule, finding.got, finding.expected) == ("shape", "[5,6,7]", "[3,4]")

    nodes = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])]
    assert "cycle" in {f.rule for f in check(model(nodes, {}, inputs={"x": [1, 4]}, outputs=["b"]))}

    call = helper.make_node("F", ["x"], ["y"], domain="my")
    function = helper.make_function("my", "F", ["x"], ["y"], [call], [helper.make_opsetid("my", 1)])
    imports = {"": 21, "my": 1}
    check(model([call], {}, inputs={"x": [1]}, outputs=["y"], imports=imports, functions=[function]))


def _branch(nodes, output):
    return helper.make_graph(nodes, "branch", [], [helper.make_tensor_value_info(output, 1, None)])


def _if(branch):
    other = _branch([helper.make_node("Neg", ["x"], ["e"])], "e")
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=other)
    return model([node], {"c": np.bool_(1)}, inputs={"x": [1, 3]}, outputs=["y"])


def _function(*nodes):
    function = helper.make_function("local", "F", ["a"], ["b"], nodes, [helper.make_opsetid("", 21)])
    call = helper.make_node("F", ["x"], ["y"], domain="local")
    return model([call], {}, inputs={"x": [1, 3]}, outputs=["y"], functions=[function], imports={"": 21, "local": 1})


GHOST = helper.make_node("Relu", ["ghost"], ["a"], name="reads")
BROKEN = {
    "a dangling input": model(
        [GHOST, helper.make_node("Add", ["x", "a"], ["y"])], {}, inputs={"x": [1, 3]}, outputs=["y"]
    ),
    "a dangling input that no output needs": model(
        [GHOST, helper.make_node("Neg", ["x"], ["y"])], {}, inputs={"x": [1, 3]}, outputs=["y"]
    ),
    "a dangling input in a branch": _if(_branch([GHOST], "a")),
    "a dangling output of a branch": _if(_branch([], "nothing")),
    "a dangling input in a function": _function(helper.make_node("Add", ["a", "ghost"], ["b"])),
    "an output that nothing makes": model(
        [helper.make_node("Neg", ["x"], ["a"])], {}, inputs={"x": [1, 3]}, outputs=["y"]
    ),
    "an attribute of another version": model(
        [helper.make_node("Clip", ["x"], ["y"], min=0.0)], {}, inputs={"x": [1, 3]}, outputs=["y"]
    ),
    "too few inputs": model([helper.make_node("Add", ["x"], ["y"])], {}, inputs={"x": [1, 3]}, outputs=["y"]),
    "a bit width that is none": model(
        [quant("x", "y")], parameters("y", bits=2.5), inputs={"x": [1, 3]}, outputs=["y"]
    ),
    "an opset that there is not": model(
        [helper.make_node("Neg", ["x"], ["y"])], {}, inputs={"x": [1, 3]}, outputs=["y"], imports={"": 99}
    ),
}
_ENDS = {"inputs": ["x"], "outputs": ["y"]}
WRITERS = {
    "clean": anybit.clean,
    "apply": lambda proto: anybit.apply(proto, []),
    "convert": lambda proto: anybit.convert(proto, "qcdq"),
    "convert to qonnx": lambda proto: anybit.convert(proto, "qonnx"),
    "prepare_finn": anybit.prepare_finn,
    "prepare_hls4ml": anybit.prepare_hls4ml,
    "extract_submodel": lambda proto: anybit.surgery.extract_submodel(ir.from_proto(proto), **_ENDS),
    "merge_models": lambda proto: anybit.surgery.merge_models(ir.from_proto(mlp(hidden=3)), ir.from_proto(proto)),
    "inline_submodel": lambda proto: anybit.surgery.inline_submodel(
        ir.from_proto(mlp()), ir.from_proto(proto), **_ENDS
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_no_writer_takes_a_model_with_an_error(kind):
    proto = BROKEN[kind]
    assert any(f.severity is Severity.ERROR for f in check(proto))
    for write in WRITERS.values():
        with pytest.raises(InvalidModelError):
            write(proto)


def test_no_command_writes_a_model_with_an_error(tmp_path):
    source, target = tmp_path / "broken.onnx", tmp_path / "written.onnx"
    onnx.save(BROKEN["a dangling input"], source)
    for command in (["clean"], ["apply", "-p", "remove-unused"], ["convert", "--to", "qcdq"], ["export", "finn"]):
        outcome = CliRunner().invoke(app, [*command, str(source), "-o", str(target)])
        assert outcome.exit_code != 0
        assert not target.exists()


def test_an_unknown_operator_is_kept_by_every_writer():
    """Its meaning is needed by none of them; `run` refuses it by name."""
    nodes = [helper.make_node("Mystery", ["x"], ["a"], domain=DOMAIN), helper.make_node("Neg", ["a"], ["y"])]
    proto = model(nodes, {}, inputs={"x": [1, 3]}, outputs=["y"])
    assert _rules(proto) == [("operator", "Mystery 'a'")]
    for made in (anybit.clean(proto), anybit.apply(proto, []).model, anybit.convert(proto, "qcdq").model):
        assert "Mystery" in {n.op_type for n in made.graph}


def test_the_table_of_formats_and_the_page_show_a_model_with_an_error():
    proto = BROKEN["a bit width that is none"]
    assert anybit.capabilities(proto)
    assert any("bitwidth" in f.text for f in describe(proto).findings)


def test_a_resize_without_the_region_that_it_does_not_read_is_no_finding():
    node = helper.make_node("Resize", ["x", "", "s"], ["y"], mode="nearest")
    known = {"s": np.float32([1, 1, 2, 2])}
    proto = model([node], known, inputs={"x": [1, 1, 2, 2]}, outputs=["y"], opset=11)
    assert not anybit.check(proto)
    assert [r.rule for r in anybit.repairs(anybit.load(proto))] == ["region"]
    x = np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)
    results = [anybit.run(proto, x, engine=e)["y"] for e in ("onnxruntime", "reference")]
    np.testing.assert_array_equal(results[0], results[1])


def test_a_resize_that_reads_a_region_must_have_one():
    node = helper.make_node("Resize", ["x", "", "s"], ["y"], coordinate_transformation_mode="tf_crop_and_resize")
    known = {"s": np.float32([1, 1, 2, 2])}
    found = anybit.check(model([node], known, inputs={"x": [1, 1, 2, 2]}, outputs=["y"], opset=11))
    assert any("roi" in str(f) for f in found)
