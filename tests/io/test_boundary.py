"""A model is judged once, at load: whatever is broken is named there, and listed by `check` and by the page."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import AttributeProto, TensorProto, helper

import anybit
from anybit.errors import AnybitError, InvalidModelError, LimitError, ModelFileError, Severity
from anybit.ops.operator import DOMAIN
from anybit.reporting.describe import describe
from tests.models import mlp, model

Change = Callable[[onnx.ModelProto], object]


def _function(nodes, *, inputs=("a",), outputs=("b",), attributes=(), name="F", domain="own"):
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("own", 1)]
    return helper.make_function(domain, name, list(inputs), list(outputs), list(nodes), imports, list(attributes))


def _with_function(proto: onnx.ModelProto, *functions: onnx.FunctionProto, inputs=("r",)) -> None:
    proto.functions.extend(functions)
    proto.opset_import.add(domain="own", version=1)
    proto.graph.node.append(helper.make_node("F", list(inputs), ["z"], "call", domain="own"))


def _attribute(proto: onnx.ModelProto, index: int = 0) -> AttributeProto:
    return proto.graph.node[0].attribute[index]


def _tensor(proto: onnx.ModelProto, **fields: object) -> None:
    """The weights with other fields: lists replace the data, a number its type."""
    tensor = proto.graph.initializer[0]
    for name, value in fields.items():
        if isinstance(value, list):
            del getattr(tensor, name)[:]
            getattr(tensor, name).extend(value)
        else:
            setattr(tensor, name, value)


RELU = helper.make_node("Relu", ["a"], ["b"])
CALL = helper.make_node("F", ["a"], ["b"], domain="own")
FILES: dict[str, tuple[Change, str]] = {
    "two initializers of one name": (lambda p: p.graph.initializer.append(p.graph.initializer[0]), "tensor 'w'"),
    "two inputs of one name": (lambda p: p.graph.input.append(p.graph.input[0]), "tensor 'x'"),
    "two nodes make one tensor": (lambda p: p.graph.node[1].output.__setitem__(0, "xq"), "tensor 'xq'"),
    "a node makes an initializer": (lambda p: p.graph.node[0].output.__setitem__(0, "w"), "tensor 'w'"),
    "an input without a name": (lambda p: p.graph.input.add(), "input without a name"),
    "an output without a name": (lambda p: p.graph.output.add(), "output without a name"),
    "two attributes of one name": (lambda p: p.graph.node[0].attribute.append(_attribute(p)), "Quant 'xq_node'"),
    "an attribute without a name": (lambda p: setattr(_attribute(p), "name", ""), "Quant 'xq_node'"),
    "an attribute without a type": (lambda p: setattr(_attribute(p), "type", 0), "Quant 'xq_node'"),
    "an attribute without its tensor": (lambda p: setattr(_attribute(p), "type", AttributeProto.TENSOR), "is empty"),
    "an attribute without its graph": (lambda p: setattr(_attribute(p), "type", AttributeProto.GRAPH), "is empty"),
    "a node without an operator": (lambda p: setattr(p.graph.node[0], "op_type", ""), "without an operator"),
    "an unknown element type": (lambda p: setattr(p.graph.input[0].type.tensor_type, "elem_type", 77), "tensor 'x'"),
    "two versions of a domain": (lambda p: p.opset_import.add(domain="", version=13), "two versions"),
    "a tensor of an unknown type": (lambda p: _tensor(p, data_type=99), "tensor 'w'"),
    "a tensor of negative size": (lambda p: _tensor(p, dims=[-1, 8]), "tensor 'w'"),
    "a tensor that numpy cannot address": (lambda p: _tensor(p, dims=[0, 2**40, 2**40]), "tensor 'w'"),
    "a tensor that is not filled": (lambda p: _tensor(p, dims=[7, 8]), "tensor 'w'"),
    "data in two fields": (lambda p: _tensor(p, float_data=[1.0]), "tensor 'w'"),
    "data in a field of another type": (
        lambda p: (p.graph.initializer[0].ClearField("raw_data"), _tensor(p, int64_data=[0] * 48)),
        "tensor 'w'",
    ),
    "data in another file with a broken place": (
        lambda p: (
            p.graph.initializer[0].external_data.add(key="offset", value="-1"),
            _tensor(p, data_location=TensorProto.EXTERNAL),
        ),
        "tensor 'w'",
    ),
    "data in another file without a folder": (
        lambda p: (
            p.graph.initializer[0].external_data.add(key="location", value="w.bin"),
            _tensor(p, data_location=TensorProto.EXTERNAL),
        ),
        "initializer 'w'",
    ),
    "two functions of one name": (lambda p: _with_function(p, *[_function([RELU])] * 2), "own::F"),
    "a function whose inputs have one name": (
        lambda p: _with_function(p, _function([RELU], inputs=("a", "a"))),
        "own::F",
    ),
    "a function whose output nothing makes": (lambda p: _with_function(p, _function([RELU], outputs=("c",))), "own::F"),
    "a function without a name": (lambda p: _with_function(p, _function([RELU], name="")), "without a name"),
    "a function with two attributes of one name": (
        lambda p: _with_function(p, _function([RELU], attributes=("k", "k"))),
        "own::F",
    ),
}
MODELS: dict[str, tuple[Change, str]] = {
    "a tensor that nothing makes": (lambda p: p.graph.node[3].input.__setitem__(0, "ghost"), "Relu 'relu'"),
    "an output that nothing makes": (lambda p: setattr(p.graph.output[0], "name", "ghost"), "output 'ghost'"),
    "a cycle": (lambda p: p.graph.node[2].input.__setitem__(0, "r"), "cycle"),
    "an attribute of a function outside of one": (
        lambda p: setattr(_attribute(p), "ref_attr_name", "nothing"),
        "Quant 'xq_node'",
    ),
    "a graph that is an attribute of a function outside of one": (
        lambda p: p.graph.node[0].attribute.add(name="body", type=AttributeProto.GRAPH, ref_attr_name="nothing"),
        "Quant 'xq_node'",
    ),
    "a function that calls itself": (lambda p: _with_function(p, _function([CALL])), "own::F -> own::F"),
    "functions that call each other": (
        lambda p: _with_function(
            p,
            _function([helper.make_node("G", ["a"], ["b"], domain="own")]),
            _function([CALL], name="G"),
        ),
        "a function calls itself",
    ),
    "a call with too many inputs": (
        lambda p: _with_function(p, _function([RELU]), inputs=("r", "h")),
        "F 'call'",
    ),
    "an input that a function lacks": (
        lambda p: _with_function(p, _function([helper.make_node("Relu", ["ghost"], ["b"])])),
        "ghost",
    ),
    "too few inputs": (lambda p: p.graph.node[2].input.__delitem__(1), "MatMul 'matmul'"),
    "too many inputs": (lambda p: p.graph.node[3].input.append("h"), "Relu 'relu'"),
    "too many outputs": (lambda p: p.graph.node[3].output.append("more"), "Relu 'relu'"),
    "an input left out": (lambda p: p.graph.node[2].input.__setitem__(0, ""), "MatMul 'matmul'"),
    "a mode of Resize that is no text": (
        lambda p: p.graph.node.append(
            helper.make_node("Resize", ["r", "", "w"], ["z"], "resize", coordinate_transformation_mode=b"\xff")
        ),
        "Resize 'resize'",
    ),
    "amounts of Pad that are none": (
        lambda p: p.graph.node.append(helper.make_node("Pad", ["r"], ["z"], "pad", pads=1.5)),
        "Pad 'pad'",
    ),
    "a quantiser that makes nothing": (
        lambda p: p.graph.node.append(helper.make_node("BipolarQuant", ["r", "w"], [], "q", domain=DOMAIN)),
        "BipolarQuant 'q'",
    ),
    "an attribute of another kind": (
        lambda p: _attribute(p).CopyFrom(helper.make_attribute(_attribute(p).name, 1.5)),
        "Quant 'xq_node'",
    ),
    "text that is none": (
        lambda p: next(a for a in p.graph.node[0].attribute if a.name == "rounding_mode").__setattr__("s", b"\xff"),
        "Quant 'xq_node'",
    ),
    "an attribute that is missing": (
        lambda p: p.graph.node.append(helper.make_node("Cast", ["r"], ["z"], "cast")),
        "Cast 'cast'",
    ),
    "an element type that there is not": (
        lambda p: p.graph.node.append(helper.make_node("Cast", ["r"], ["z"], "cast", to=99)),
        "Cast 'cast'",
    ),
    "a constant without a value": (
        lambda p: p.graph.node.append(helper.make_node("Constant", [], ["z"], "constant")),
        "Constant 'constant'",
    ),
}


def _broken(change: Change) -> onnx.ModelProto:
    proto = mlp()
    change(proto)
    return proto


def _errors(source) -> list[str]:
    return [str(f) for f in anybit.check(source) if f.severity is Severity.ERROR]


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_cannot_be_read_without_loss_says_why(kind):
    change, text = FILES[kind]
    proto = _broken(change)
    for source in (proto, proto.SerializeToString()):
        with pytest.raises(ModelFileError, match=text):
            anybit.load(source)
        assert any(text in error for error in _errors(source))
        assert any(text in f"{f.node}: {f.text}" for f in describe(source).findings)


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_that_cannot_be_walked_or_called_says_why(kind):
    change, text = MODELS[kind]
    proto = _broken(change)
    for source in (proto, proto.SerializeToString(), ir.from_proto(proto)):
        for read in (anybit.load, anybit.clean, anybit.analyse, anybit.cost, anybit.capabilities, anybit.Session):
            with pytest.raises(InvalidModelError, match=text):
                read(source)
        assert any(text in error for error in _errors(source))
        assert any(text in f"{f.node}: {f.text}" for f in describe(source).findings)


@pytest.mark.parametrize(
    ("op_type", "opset", "inputs"),
    [("LayerNormalization", 13, []), ("Gelu", 13, []), ("Mish", 11, []), ("Upsample", 13, []), ("Scatter", 13, ["x"])],
)
def test_an_operator_that_its_opset_does_not_have_has_the_form_of_another_version(op_type, opset, inputs):
    node = helper.make_node(op_type, inputs, ["y"], "node")
    proto = model([node], {}, inputs={"x": [2, 3]}, outputs=["y"], opset=opset)
    with pytest.raises(InvalidModelError, match="number of inputs") as error:
        anybit.load(proto)
    assert f"{op_type} 'node'" in str(error.value)
    assert any(f"{op_type} 'node'" in line for line in _errors(proto))


@pytest.mark.parametrize("opset", [-1, 0, 255])
@pytest.mark.parametrize("op_type", ["Shape", "Expand", "Slice", "GatherND", "ConstantOfShape", "Split", "Relu"])
def test_an_operator_without_inputs_at_an_unknown_opset_is_listed(op_type, opset):
    proto = model([helper.make_node(op_type, [], ["y"], "node")], {}, inputs={"x": [2, 3]}, outputs=["y"])
    proto.opset_import[0].version = opset
    assert _errors(proto)
    with pytest.raises(AnybitError):
        anybit.load(proto)


def test_an_operator_of_an_older_version_is_still_read():
    node = helper.make_node("Upsample", ["x"], ["y"], "node", scales=[1.0, 2.0], mode="nearest")  # as of opset 7
    proto = model([node], {}, inputs={"x": [2, 3]}, outputs=["y"], opset=13)
    assert len(anybit.load(proto).graph) == 1


def test_all_that_is_wrong_is_listed_at_once():
    proto = mlp()
    proto.graph.initializer.append(proto.graph.initializer[0])
    proto.graph.node[0].attribute[0].type = 0
    assert len(_errors(proto)) == 2
    proto = mlp()
    proto.graph.node[3].input[0] = "ghost"
    proto.graph.node[4].input.append("xq")
    assert [error.split("]")[0] for error in _errors(proto)] == ["error [undefined", "error [inputs"]


def _node_named(read: ir.Model, name: str) -> ir.Node:
    return next(n for n in read.graph if n.name == name)


def _set(attribute: ir.Attr) -> Callable[[ir.Model], None]:
    return lambda read: _node_named(read, "xq_node").attributes.add(attribute)


def _unnamed_input(read: ir.Model) -> None:
    read.graph.inputs[0].name = None


def _without_values(read: ir.Model) -> None:
    read.graph.initializers["w"].const_value = None


def _same_name(read: ir.Model) -> None:
    _node_named(read, "relu").outputs[0].name = "h"


def _twice(read: ir.Model) -> None:
    read.graph.inputs.append(read.graph.inputs[0])


def _text_tensor(read: ir.Model) -> None:
    read.graph.initializers["w"].const_value = ir.StringTensor([b"a"], shape=ir.Shape((6, 8)), name="w")


def _annotation(read: ir.Model) -> None:
    read.graph.inputs[0].meta["quant_parameter_tensor_names"] = {b"SCALE_TENSOR\xff": "s"}


def _metadata(read: ir.Model) -> None:
    _node_named(read, "relu").metadata_props["origin"] = b"\xff"  # type: ignore[assignment]


MEMORY: dict[str, Callable[[ir.Model], None]] = {
    "a number where text should be": _set(ir.Attr("rounding_mode", ir.AttributeType.STRING, 3)),
    "nothing where tensors should be": _set(ir.Attr("values", ir.AttributeType.TENSORS, (None,))),
    "no graph": _set(ir.Attr("body", ir.AttributeType.GRAPH, None)),
    "no tensor": _set(ir.Attr("value", ir.AttributeType.TENSOR, None)),
    "an input without a name": _unnamed_input,
    "an initializer without values": _without_values,
    "two tensors of one name": _same_name,
    "a tensor that is two inputs": _twice,
    "strings that do not fill their shape": _text_tensor,
    "an annotation that is no text": _annotation,
    "metadata that are no text": _metadata,
    "an attribute that is described by no text": _set(
        ir.Attr("signed", ir.AttributeType.INT, 1, doc_string=b"\xff")  # type: ignore[arg-type]
    ),
}


@pytest.mark.parametrize("kind", MEMORY)
def test_a_broken_model_in_memory_is_named_and_listed(kind):
    read = ir.from_proto(mlp())
    MEMORY[kind](read)
    assert _errors(read)
    for call in (
        anybit.load,
        anybit.clean,
        anybit.cost,
        lambda m: anybit.surgery.extract_submodel(m, inputs=[], outputs=[]),
    ):
        with pytest.raises(AnybitError):
            call(read)
    assert describe(read).findings


def test_onnx_ir_logs_nothing_of_what_findings_say(caplog):
    proto = mlp()
    proto.graph.node[3].input[0] = "ghost\x1b[31m"
    anybit.check(proto)
    assert not caplog.records


def test_numbers_of_numpy_are_attributes_too():
    read = ir.from_proto(mlp())
    _node_named(read, "xq_node").attributes.add(ir.Attr("signed", ir.AttributeType.INT, np.int64(1)))
    assert not any("value of attribute" in error for error in _errors(read))


def _bodies(**changes: int) -> onnx.ModelProto:
    """A Loop of two states and a scan whose numbers of inputs and outputs are changed."""
    value = helper.make_tensor_value_info
    inputs = [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("s", 1, None)]
    outputs = [value("going", TensorProto.BOOL, []), value("t", 1, None), value("row", 1, None)]
    nodes = [
        helper.make_node("Identity", ["go"], ["going"]),
        helper.make_node("Neg", ["s"], ["t"]),
        helper.make_node("Abs", ["s"], ["row"]),
    ]
    body = helper.make_graph(nodes, "body", inputs[: changes.get("inputs", 3)], outputs[: changes.get("outputs", 3)])
    if changes.get("inputs", 3) < 3:
        body.initializer.append(onnx.numpy_helper.from_array(np.zeros(2, np.float32), "s"))
    names = ["y", "z"][: changes.get("made", 2)]
    loop = helper.make_node("Loop", ["n", "", "x"], names, "loop", body=body)
    return model([loop], {"n": np.int64(changes.get("trips", 3))}, inputs={"x": [2]}, outputs=names)


@pytest.mark.parametrize("changes", [{"inputs": 2}, {"outputs": 2}, {"made": 1}, {"trips": 2**62}])
def test_bodies_fit_their_nodes(changes):
    assert not _errors(_bodies())
    with pytest.raises(InvalidModelError, match="Loop 'loop'"):
        anybit.load(_bodies(**changes))


def test_functions_that_multiply_are_refused_before_they_are_inlined():
    functions = []
    for depth in range(12):
        inner = [helper.make_node(f"F{depth - 1}" if depth else "Relu", ["a"], ["t0"], domain="own" if depth else "")]
        inner += [
            helper.make_node(n.op_type, [f"t{k}"], [f"t{k + 1}"], domain=n.domain) for k, n in enumerate(inner * 9)
        ]
        functions.append(_function(inner, outputs=("t9",), name=f"F{depth}"))
    call = helper.make_node("F11", ["x"], ["y"], domain="own")
    imports = {"": 21, "own": 1}
    proto = model([call], {}, inputs={"x": [2]}, outputs=["y"], functions=functions, imports=imports)
    with pytest.raises(InvalidModelError, match=r"1,000,000,000,000, expected 1,000,000"):
        anybit.load(proto)
    assert len(_errors(proto)) == 1


def test_sparse_tensors_are_refused_before_they_are_made_dense():
    values = onnx.numpy_helper.from_array(np.float32([1]), "w")
    indices = onnx.numpy_helper.from_array(np.int64([3]), "i")
    proto = model([helper.make_node("Add", ["x", "w"], ["y"])], {}, inputs={"x": [1, 4]}, outputs=["y"])
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [1 << 15, 1 << 15]))
    assert proto.ByteSize() < 200
    with anybit.limits(memory=1 << 30):
        with pytest.raises(LimitError, match="sparse initializer 'w'"):
            anybit.load(proto)
        assert len(_errors(proto)) == 1


def test_sparse_values_that_do_not_fill_their_shape_take_no_memory():
    values = onnx.TensorProto(name="v", data_type=TensorProto.UINT4, dims=[1 << 31, 1], raw_data=bytes(8))
    indices = onnx.numpy_helper.from_array(np.int64([3]), "i")
    sparse = onnx.SparseTensorProto(values=values, indices=indices, dims=[2, 3])
    nodes = [helper.make_node("Constant", [], ["c"], sparse_value=sparse), helper.make_node("Add", ["x", "c"], ["y"])]
    proto = model(nodes, {}, inputs={"x": [2, 3]}, outputs=["y"])
    tracemalloc.start()
    with pytest.raises(ModelFileError, match="tensor 'v': data does not fill the shape"):
        anybit.load(proto)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 24


@pytest.mark.parametrize(("op_type", "opset", "name"), [("AveragePool", 5, "ceil_mode"), ("MaxPool", 7, "dilations")])
def test_an_attribute_of_another_version_has_the_kind_that_it_has_there(op_type, opset, name):
    tensor = onnx.numpy_helper.from_array(np.zeros(2, np.float32))
    node = helper.make_node(op_type, ["x"], ["y"], kernel_shape=[2, 2], **{name: tensor})
    with pytest.raises(InvalidModelError, match=f"type of attribute '{name}': got TENSOR"):
        anybit.load(model([node], {}, inputs={"x": [1, 4, 6, 6]}, outputs=["y"], opset=opset))


@pytest.mark.parametrize("position", [0, 2, 5])
def test_an_unknown_operator_may_make_nothing(position):
    proto = mlp()
    proto.opset_import.add(domain="own", version=1)
    proto.graph.node.insert(position, helper.make_node("Print", ["xq" if position else "x"], [], "print", domain="own"))
    unknown = _errors(proto)
    assert [e for e in unknown if "unknown operator" in e] == unknown
    assert not [f for f in describe(proto).findings if f.severity is Severity.ERROR]
    assert anybit.convert(proto, "qcdq").certificate
    assert anybit.analyse(proto)
    assert anybit.stats(proto) is not None


def test_a_text_may_be_more_than_one():
    """As the version of torch is, which its exporter writes into models."""

    class Version(str):
        __slots__ = ()

    read = ir.from_proto(mlp())
    read.producer_version = Version("2.1")
    node = _node_named(read, "relu")
    node.doc_string = Version("made by a script")
    node.metadata_props["version"] = Version("2.1")
    assert not _errors(read)
