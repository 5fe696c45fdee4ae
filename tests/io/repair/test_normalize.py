"""What real files get wrong is put right once, and each repair is recorded."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from anybit import compare, load, repairs, run
from anybit.cleanup.infer_shapes import InferShapes
from anybit.io.repair.normalize import normalize
from anybit.io.save import to_proto
from tests.models import DOMAIN, mlp, model, parameters, quant


def _rules(proto) -> set[str]:
    return {r.rule for r in repairs(load(proto))}


def test_a_clean_model_is_left_alone():
    assert repairs(load(mlp())) == ()


@pytest.mark.parametrize("domain", ["onnx.brevitas", "finn.custom_op.general", "finn"])
def test_domain_aliases_are_read(domain):
    loaded = load(mlp(domain=domain))
    assert loaded.opset_imports == {"": 21, DOMAIN: 1}
    assert {n.domain for n in loaded.graph} == {"", DOMAIN}
    assert compare(mlp(), mlp(domain=domain), tolerance=0).equal


def test_hardware_layers_of_finn_keep_their_domain():
    node = helper.make_node("Quant", ["x"], ["y"], domain="finn", backend="fpgadataflow")
    loaded = load(model([node], {}, inputs={"x": [1]}, outputs=["y"], imports={"": 21, "finn": 1}))
    assert loaded.graph.node(0).domain == "finn"


def test_missing_imports_are_added():
    proto = mlp()
    del proto.opset_import[:]
    proto.opset_import.append(helper.make_opsetid("", 13))
    assert load(proto).opset_imports == {"": 13, DOMAIN: 1}
    assert f"import {DOMAIN}" in _rules(proto)


def test_a_missing_standard_import_is_taken_from_the_age_of_the_file():
    proto = mlp()
    proto.ir_version = 6
    del proto.opset_import[:]
    assert load(proto).opset_imports[""] == 11


def test_imports_of_the_standard_domain_come_first():
    proto = mlp(domain=DOMAIN)
    entries = list(reversed(proto.opset_import))
    del proto.opset_import[:]
    proto.opset_import.extend(entries)
    assert next(iter(load(proto).opset_imports)) == ""


@pytest.mark.parametrize(("inputs", "version"), [(5, 1), (6, 2)])
def test_the_version_of_trunc_follows_from_its_inputs(inputs, version):
    names = [f"p{i}" for i in range(1, inputs)]
    node = helper.make_node("Trunc", ["x", *names], ["y"], domain=DOMAIN)
    values = {n: np.float32(8) for n in names}
    for stated in (1, 2):
        proto = model([node], values, inputs={"x": [1]}, outputs=["y"], imports={"": 21, DOMAIN: stated})
        assert load(proto).opset_imports[DOMAIN] == version
        assert ("trunc-version" in _rules(proto)) == (stated != version)


def test_initializers_are_no_inputs():
    proto = mlp()
    for tensor in proto.graph.initializer:
        proto.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    loaded = load(proto)
    assert [v.name for v in loaded.graph.inputs] == ["x"]
    assert "initializer-inputs" in _rules(proto)


def test_int_quant_is_read_as_quant():
    node = quant("x", "y", op_type="IntQuant")
    proto = model([node], parameters("y"), inputs={"x": [3]}, outputs=["y"])
    assert load(proto).graph.node(0).op_type == "Quant"


@pytest.mark.parametrize(
    ("written", "read"),
    [("round", "ROUND"), ("Half_Even", "ROUND"), ("ROUND_TO_ZERO", "DOWN"), ("nonsense", "nonsense")],
)
def test_rounding_modes_get_one_spelling(written, read):
    proto = model([quant("x", "y", rounding_mode=written)], parameters("y"), inputs={"x": [3]}, outputs=["y"])
    assert load(proto).graph.node(0).attributes["rounding_mode"].value == read


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, np.uint8])
def test_integer_zero_points_and_bit_widths_become_float(dtype):
    values = parameters("y") | {"y_zeropt": np.asarray(1, dtype), "y_bits": np.asarray(8, dtype)}
    loaded = load(model([quant("x", "y")], values, inputs={"x": [3]}, outputs=["y"]))
    for position in (2, 3):
        assert loaded.graph.node(0).inputs[position].const_value.numpy().dtype == np.float32
    assert not {"y_zeropt", "y_bits"} & loaded.graph.initializers.keys()


def test_a_shared_integer_initializer_stays_for_its_other_users():
    values = parameters("y") | {"y_zeropt": np.asarray(1, np.int64)}
    nodes = [quant("x", "y"), helper.make_node("Gather", ["y", "y_zeropt"], ["z"])]
    loaded = load(model(nodes, values, inputs={"x": [3]}, outputs=["z"]))
    assert loaded.graph.initializers["y_zeropt"].const_value.numpy().dtype == np.int64
    assert loaded.graph.node(0).inputs[2].const_value.numpy().dtype == np.float32


def test_a_missing_zero_point_is_zero():
    node = quant("x", "y")
    node.input[2] = ""
    values = {k: v for k, v in parameters("y").items() if k != "y_zeropt"}
    loaded = load(model([node], values, inputs={"x": [3]}, outputs=["y"]))
    assert loaded.graph.node(0).inputs[2].const_value.numpy() == 0


def test_nodes_in_subgraphs_and_functions_are_repaired_too():
    body = helper.make_graph(
        [quant("x", "inner", prefix="q", domain="onnx.brevitas", rounding_mode="floor")],
        "branch",
        [],
        [helper.make_tensor_value_info("inner", 1, None)],
    )
    function = helper.make_function(
        "local", "F", ["a"], ["b"],
        [helper.make_node("BipolarQuant", ["a", "one"], ["b"], domain="onnx.brevitas"),
         ] , [helper.make_opsetid("", 21), helper.make_opsetid("onnx.brevitas", 1)],
    )  # fmt: skip
    del function.node[0].input[1:]
    function.node[0].input.append("a")
    nodes = [
        helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body),
        helper.make_node("F", ["y"], ["z"], domain="local"),
    ]
    proto = model(
        nodes,
        parameters("q") | {"c": np.asarray(True)},
        inputs={"x": [3]},
        outputs=["z"],
        functions=[function],
        imports={"": 21, "onnx.brevitas": 1, "local": 1},
    )
    loaded = load(proto)
    (f,) = loaded.functions.values()
    assert [n.domain for n in f] == [DOMAIN]
    assert f.opset_imports[DOMAIN] == 1
    inner = [n for n in loaded.graph.all_nodes() if n.op_type == "Quant"]
    assert {n.domain for n in inner} == {DOMAIN}
    assert {n.attributes["rounding_mode"].value for n in inner} == {"FLOOR"}


@pytest.mark.parametrize("where", ["the body", "the graph", "both"])
def test_integer_parameters_of_quantisers_in_bodies_become_floats(where: str):
    """The old zero point goes from the graph that holds it, unless something reads it still."""
    nodes = [quant("x", "inner", prefix="q")] + (
        [helper.make_node("Neg", ["q_zeropt"], ["n"])] if where == "both" else []
    )
    held = [onnx.numpy_helper.from_array(np.zeros((), np.int64), "q_zeropt")]
    output = [helper.make_tensor_value_info("inner", 1, None)]
    body = helper.make_graph(nodes, "branch", [], output, held if where != "the graph" else [])
    node = helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body)
    constants = {k: v for k, v in parameters("q").items() if k != "q_zeropt"} | {"c": np.asarray(True)}
    if where == "the graph":
        constants["q_zeropt"] = np.zeros((), np.int64)
    proto = model([node], constants, inputs={"x": [3]}, outputs=["y"])
    loaded = load(proto)
    inner = [n for n in loaded.graph.all_nodes() if n.op_type == "Quant"]
    assert [str(n.inputs[2].dtype) for n in inner] == ["FLOAT", "FLOAT"]
    graphs = [loaded.graph, *(n.graph for n in inner)]
    left = {name for graph in graphs for name in graph.initializers if name == "q_zeropt"}
    assert left == ({"q_zeropt"} if where == "both" else set())
    x = np.array([-1.3, 0.4, 2.2], np.float32)
    wanted = run(model([quant("x", "y")], parameters("y"), inputs={"x": [3]}, outputs=["y"]), x)["y"]
    np.testing.assert_array_equal(run(proto, x)["y"], wanted)


def test_doing_it_again_changes_nothing():
    proto = mlp(domain="onnx.brevitas")
    loaded = load(proto)
    before = to_proto(loaded).SerializeToString(deterministic=True)
    recorded = repairs(loaded)
    normalize(loaded)
    assert to_proto(loaded).SerializeToString(deterministic=True) == before
    assert repairs(loaded) == recorded


def test_a_graph_without_a_name_gets_one():
    proto = mlp()
    proto.graph.name = ""
    loaded = load(proto)
    InferShapes()(loaded)
    onnx.checker.check_model(to_proto(loaded))


def test_new_parameters_never_take_a_name_that_is_taken():
    nodes = [helper.make_node("Relu", ["x"], ["z_float"]), quant("z_float", "y", prefix="y")]
    nodes[1].input[2] = "z"
    values = {k: v for k, v in parameters("y").items() if k != "y_zeropt"} | {"z": np.asarray(0, np.int64)}
    loaded = load(model(nodes, values, inputs={"x": [3]}, outputs=["y"]))
    names = [o.name for n in loaded.graph for o in n.outputs] + list(loaded.graph.initializers)
    assert len(names) == len(set(names))
    assert load(to_proto(loaded)).graph.node(1).inputs[0].producer().op_type == "Relu"


def test_parameters_inside_of_functions_stay_inside():
    """A function does not see the initializers of the model."""
    constants = {"s": np.float32(0.5), "z": np.int64(1), "b": np.int8(4)}
    nodes = [helper.make_node("Constant", [], [k], value=onnx.numpy_helper.from_array(v)) for k, v in constants.items()]
    nodes.append(helper.make_node("Quant", ["a", "s", "z", "b"], ["o"], domain=DOMAIN))
    imports = [helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, 1)]
    proto = model(
        [helper.make_node("Q", ["x"], ["y"], domain="my")],
        {},
        inputs={"x": [1, 3]},
        outputs=["y"],
        imports={"": 21, DOMAIN: 1, "my": 1},
        functions=[helper.make_function("my", "Q", ["a"], ["o"], nodes, imports)],
    )
    x = np.float32([[0.2, 0.3, 9.0]])
    for read in (load(proto), load(to_proto(load(proto)))):
        assert not read.graph.initializers
        np.testing.assert_array_equal(run(read, x)["y"], np.float32([[0, 0.5, 3]]))
