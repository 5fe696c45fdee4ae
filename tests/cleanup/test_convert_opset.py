from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from anybit import Session, compare, load
from anybit.cleanup.convert_opset import ConvertOpset
from anybit.cleanup.infer_shapes import InferShapes
from anybit.errors import UnsupportedError
from anybit.io.save import to_proto
from tests.integration.corpus import executable_files, needs_corpus, zoo_files
from tests.models import DOMAIN, mlp, model, parameters, quant, samples


def node(op_type, inputs, *outputs, **attributes):
    return helper.make_node(op_type, inputs, list(outputs), name=f"{outputs[0]}_node", **attributes)


def lines(graph) -> list[str]:
    """One line a node: outputs, operator, inputs, attributes that are no graphs."""
    texts = []
    for n in graph:
        attributes = {k: a.value for k, a in n.attributes.items() if a.type != ir.AttributeType.GRAPH}
        shown = ", ".join("" if v is None else str(v.name) for v in n.inputs)
        texts.append(f"{', '.join(str(o.name) for o in n.outputs)} = {n.op_type}({shown}){attributes or ''}")
    return texts


def branch(name, *nodes):
    return helper.make_graph(
        list(nodes), name, [], [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)]
    )


def test_before_and_after():
    proto = model(
        [
            node("Squeeze", ["x"], "s", axes=[1]),
            quant("s", "q"),
            node("Softmax", ["q"], "p", axis=1),
            node("ReduceSum", ["p"], "y", axes=[2], keepdims=0),
        ],
        parameters("q"),
        inputs={"x": [2, 1, 3, 4]},
        outputs=["y", "p"],
        opset=12,
    )
    read = load(proto)
    read.graph.node(2).outputs[0].meta["quant_parameter_tensor_names"] = {"finn_datatype": "FLOAT32"}
    read.metadata_props["key"] = "value"
    result = ConvertOpset(21)(read)
    assert result.model is read
    assert result.modified
    assert lines(read.graph) == [
        "s = Squeeze(x, s_axes)",
        "q = Quant(s, q_scale, q_zeropt, q_bits){'narrow': 0, 'rounding_mode': 'ROUND', 'signed': 1}",
        "p_flat = Flatten(q){'axis': 1}",
        "p_shape = Shape(q)",
        "p_rows = Softmax(p_flat){'axis': -1}",
        "p = Reshape(p_rows, p_shape)",
        "y = ReduceSum(p, y_axes){'keepdims': 0}",
    ]
    assert [n.name for n in read.graph if n.op_type in ("Squeeze", "Quant", "Softmax", "ReduceSum")] == [
        "s_node", "q_node", "p_node", "y_node"
    ]  # fmt: skip
    assert [v.name for v in read.graph.outputs] == ["y", "p"]
    assert read.graph.outputs[1].meta["quant_parameter_tensor_names"] == {"finn_datatype": "FLOAT32"}
    assert read.metadata_props["key"] == "value"
    assert read.opset_imports == {"": 21, DOMAIN: 1}
    x = samples(2, 1, 3, 4)
    for engine in ("reference", "onnxruntime"):
        ours, theirs = (Session(m, engine=engine).run(x) for m in (read, proto))
        for name in ("y", "p"):
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-6)


def test_nothing_to_do():
    assert not ConvertOpset(21)(load(mlp(opset=21))).modified


def test_subgraphs_are_converted_and_read_from_outside():
    inner = branch("inner", node("Unsqueeze", ["x"], "u", axes=[0]), node("Softmax", ["u"], "yi", axis=2))
    other = branch("other", node("Clip", ["x"], "c", min=0.0), node("Unsqueeze", ["c"], "yo", axes=[0]))
    nested = branch("nested", node("If", ["on"], "yn", then_branch=inner, else_branch=other))
    names = {"k": TensorProto.INT64, "going": TensorProto.BOOL, "going_on": TensorProto.BOOL}
    flags = {n: helper.make_tensor_value_info(n, t, []) for n, t in names.items()}
    states = {n: helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, 3]) for n in ("state", "next")}
    body = helper.make_graph(
        [
            node("ReduceSum", ["state"], "total", axes=[1], keepdims=1),
            node("Add", ["state", "total"], "next"),
            node("Identity", ["going"], "going_on"),
        ],
        "body",
        [flags["k"], flags["going"], states["state"]],
        [flags["going_on"], states["next"]],
    )
    proto = model(
        [
            node("If", ["on"], "y", then_branch=nested, else_branch=other),
            node("Loop", ["trips", "", "x"], "z", body=body),
        ],
        {"on": np.array(1, bool), "trips": np.array(3)},
        inputs={"x": [2, 3]},
        outputs=["y", "z"],
        opset=10,
    )
    read = load(proto)
    ConvertOpset(21)(read)
    found = {n.op_type: n for n in read.graph.all_nodes()}
    assert [v.name for v in found["Clip"].inputs] == ["x", "c_min_1", "c_max_1"]  # of two branches alike
    assert [v.name for v in found["ReduceSum"].inputs] == ["state", "total_axes"]
    assert set(read.graph.initializers) >= {"total_axes", "u_axes", "yo_axes", "yo_axes_1"}
    for engine in ("reference", "onnxruntime"):
        ours, theirs = (Session(m, engine=engine).run(samples(2, 3)) for m in (read, proto))
        for name in ("y", "z"):
            np.testing.assert_array_equal(ours[name], theirs[name])


def with_function(nodes, *, opset=12):
    function = helper.make_function("local", "F", ["a"], ["b"], list(nodes), [helper.make_opsetid("", opset)])
    call = helper.make_node("F", ["x"], ["y"], name="call", domain="local")
    return model([call], {}, inputs={"x": [2, 3]}, outputs=["y"], functions=[function], imports={"": 12, "local": 1})


def test_functions_are_kept_and_converted():
    proto = with_function([node("Unsqueeze", ["a"], "u", axes=[0]), node("ReduceSum", ["u"], "b", axes=[2])])
    read = load(proto)
    ConvertOpset(21)(read)
    (function,) = read.functions.values()
    assert function.opset_imports[""] == 21
    assert [n.op_type for n in function] == ["Constant", "Unsqueeze", "Constant", "ReduceSum"]
    assert lines(function)[1::2] == ["u = Unsqueeze(a, u_axes)", "b = ReduceSum(u, b_axes)"]
    onnx.checker.check_model(to_proto(read))
    ours, theirs = (Session(m, engine="reference").run(samples(2, 3))["y"] for m in (read, proto))
    np.testing.assert_array_equal(ours, theirs)


def test_an_argument_of_a_function_cannot_become_an_input():
    referring = node("Unsqueeze", ["a"], "b")
    referring.attribute.append(onnx.AttributeProto(name="axes", ref_attr_name="where", type=onnx.AttributeProto.INTS))
    proto = with_function([referring])
    proto.functions[0].attribute.append("where")
    read = load(proto)
    with pytest.raises(UnsupportedError, match=r"Unsqueeze 'b_node'.*argument of the function"):
        ConvertOpset(21)(read)


def test_shared_constants_are_not_changed_for_others():
    proto = model(
        [node("ReduceSum", ["x", "axes"], "s"), node("Gather", ["x", "axes"], "g"), node("Add", ["s", "g"], "y")],
        {"axes": np.array([1])},
        inputs={"x": [2, 3]},
        outputs=["y", "s"],
    )
    read = load(proto)
    ConvertOpset(12)(read)
    assert read.graph.node(0).attributes["axes"].value == (1,)
    assert read.graph.initializers["axes"].const_value.numpy().tolist() == [1]
    again = load(to_proto(read))
    ConvertOpset(21)(again)
    for name in ("y", "s"):
        values = [
            Session(m, engine="reference").run({"x": np.ones((2, 3), np.float32)})[name] for m in (proto, read, again)
        ]
        np.testing.assert_array_equal(values[0], values[1])
        np.testing.assert_array_equal(values[0], values[2])


def test_a_refusal_leaves_the_model_as_it_was():
    proto = model(
        [node("ReduceSum", ["x", "axes"], "s", keepdims=0), node("LayerNormalization", ["x", "w"], "y")],
        {"axes": np.array([1]), "w": np.ones(3, np.float32)},
        inputs={"x": [2, 3]},
        outputs=["y", "s"],
    )
    read = load(proto)
    InferShapes()(read)
    before = to_proto(read).SerializeToString(deterministic=True)
    with pytest.raises(
        UnsupportedError, match=r"LayerNormalization 'y_node'.*no operator LayerNormalization at opset 12"
    ):
        ConvertOpset(12)(read)
    assert to_proto(read).SerializeToString(deterministic=True) == before


def test_weights_are_not_copied():
    proto = mlp(opset=12, hidden=4096)
    read = load(proto)
    weight = read.graph.initializers["w"].const_value
    ConvertOpset(21)(read)
    assert read.graph.initializers["w"].const_value is weight


def test_optional_inputs_left_out():
    proto = model(
        [
            node("Clip", ["x", "", "hi"], "c"),
            node("Unsqueeze", ["c", "axes"], "r"),
            node("Resize", ["r", "", "scales"], "y", mode="nearest"),
        ],
        {"hi": np.float32(0.5), "axes": np.array([0, 1]), "scales": np.float32([1, 1, 2, 2])},
        inputs={"x": [2, 3]},
        outputs=["y"],
        opset=13,
    )
    for version in (11, 12, 18, 23):
        read = load(proto)
        ConvertOpset(version)(read)
        ours, theirs = (Session(m, engine="reference").run(samples(2, 3))["y"] for m in (read, proto))
        np.testing.assert_array_equal(ours, theirs)


def small(limit):
    return [c.path for c in executable_files() if c.path.stat().st_size < limit] + zoo_files()


@needs_corpus
@pytest.mark.parametrize("path", small(400_000), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_corpus_to_21(path):
    read = load(path)
    ConvertOpset(21)(read)
    assert read.opset_imports[""] == 21
    assert compare(path, read, samples=2, engine_a="reference", engine_b="reference").equal


@needs_corpus
def test_corpus_to_13_where_possible():
    refused = set()
    for path in small(60_000):
        read = load(path)
        try:
            ConvertOpset(13)(read)
        except UnsupportedError as error:
            refused.add((path.parent.name, str(error).split("'")[0].strip()))
            continue
        assert read.opset_imports[""] == 13
        assert compare(path, read, samples=2, engine_a="reference", engine_b="reference").equal
    assert {op for _, op in refused} <= {"LayerNormalization", "QuantizeLinear", "DequantizeLinear", "Cast"}
