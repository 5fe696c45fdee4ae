"""What a file states of its inner tensors decides nothing, and no model ends the process in onnx's shape inference."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise, product
from pathlib import Path
from unittest import mock

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import given
from onnx import TensorProto, helper

import anybit
import anybit.io.shapes
from anybit.cleanup.fold_shapes import FoldShapes
from anybit.io.shapes import infer_shapes
from tests.graphs import WITH_SCOPES, random_graphs
from tests.models import DOMAIN, model, samples
from tests.strategies import examples

ENGINES = ("auto", "reference")
FLOAT = TensorProto.FLOAT
X = samples(4, 3)


def _info(name: str, shape: Sequence[int | str | None] | None, dtype: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def _over_batch(source: str, x: str = "x", y: str = "y") -> list[onnx.NodeProto]:
    """y = x / number of rows of `source`."""
    return [
        helper.make_node("Shape", [source], [f"{y}_shape"], end=1),
        helper.make_node("Cast", [f"{y}_shape"], [f"{y}_rows"], to=FLOAT),
        helper.make_node("Div", [x, f"{y}_rows"], [y]),
    ]


def _stale(nodes, *infos, batch="N", initializers=None, functions=(), outputs=("y",)) -> onnx.ModelProto:
    imports = {"": 21, DOMAIN: 1, "com.microsoft": 1, "local": 1}
    proto = model(
        nodes, initializers or {}, inputs={"x": [batch, 3]}, outputs=outputs, imports=imports, functions=functions
    )
    proto.graph.value_info.extend(infos)
    return proto


def _branch(nodes, output: str, *infos) -> onnx.GraphProto:
    graph = helper.make_graph(nodes, "branch", [], [_info(output, None)])
    graph.value_info.extend(infos)
    return graph


def _if() -> onnx.ModelProto:
    inner = _branch([helper.make_node("Relu", ["x"], ["a"]), *_over_batch("a", y="t")], "t", _info("a", [1, 3]))
    other = _branch([helper.make_node("Neg", ["x"], ["e"])], "e")
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=other)
    return _stale([node], initializers={"c": np.bool_(1)})


def _output_of_if() -> onnx.ModelProto:
    branches = [_branch([helper.make_node(op, ["x"], [op])], op) for op in ("Neg", "Abs")]
    node = helper.make_node("If", ["c"], ["a"], then_branch=branches[0], else_branch=branches[1])
    return _stale([node, *_over_batch("a")], _info("a", [1, 3]), initializers={"c": np.bool_(1)})


def _loop() -> onnx.ModelProto:
    """The state grows; ONNX Runtime itself folds what the file states of its shape, at its default level."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["on_"]), helper.make_node("Concat", ["s", "x"], ["s_"], axis=0)],
        "body",
        [_info("i", [], TensorProto.INT64), _info("on", [], TensorProto.BOOL), _info("s", [4, 3])],
        [_info("on_", [], TensorProto.BOOL), _info("s_", [8, 3])],
    )
    loop = helper.make_node("Loop", ["count", "", "x"], ["a"], body=body)
    return _stale([loop, *_over_batch("a")], _info("a", [4, 3]), batch=4, initializers={"count": np.int64(3)})


def _function() -> onnx.ModelProto:
    nodes = [helper.make_node("Relu", ["u"], ["r"]), *_over_batch("r", x="u", y="v")]
    function = helper.make_function("local", "F", ["u"], ["v"], nodes, [helper.make_opsetid("", 21)])
    function.value_info.append(_info("r", [1, 3]))
    return _stale([helper.make_node("F", ["x"], ["y"], domain="local")], functions=[function])


def _output() -> onnx.ModelProto:
    proto = _stale([helper.make_node("Relu", ["x"], ["a"]), *_over_batch("a")], outputs=("a", "y"))
    proto.graph.output[0].CopyFrom(_info("a", [1, 3]))
    return proto


def _size() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Size", ["a"], ["n"]),
        helper.make_node("Cast", ["n"], ["f"], to=FLOAT),
        helper.make_node("Div", ["x", "f"], ["y"]),
    ]
    return _stale(nodes, _info("a", [1, 3]))


def _found() -> onnx.ModelProto:
    """A size that depends on data: the file states that of one run."""
    nodes = [
        helper.make_node("NonZero", ["x"], ["n"]),
        helper.make_node("Transpose", ["n"], ["a"]),
        *_over_batch("a"),
    ]
    return _stale(nodes, _info("n", [2, 5], TensorProto.INT64), _info("a", [5, 2], TensorProto.INT64))


RELU = helper.make_node("Relu", ["x"], ["a"])
STALE = {
    "batch": lambda: _stale([RELU, *_over_batch("a")], _info("a", [1, 3])),
    "nameless batch": lambda: _stale([RELU, *_over_batch("a")], _info("a", [1, 3]), batch=None),
    "negative batch": lambda: _stale([RELU, *_over_batch("a")], _info("a", [-1, 3]), batch=-1),
    "other batch": lambda: _stale([RELU, *_over_batch("a")], _info("a", [1, 3]), batch=4),
    "rank": lambda: _stale([RELU, *_over_batch("a")], _info("a", [1, 3, 1])),
    "size": _size,
    "output": _output,
    "data": _found,
    "branch": _if,
    "output of branches": _output_of_if,
    "loop": _loop,
    "function": _function,
}


def _stock(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """By ONNX Runtime, which is shown nothing that is stated of inner tensors."""
    plain = onnx.ModelProto()
    plain.CopyFrom(proto)
    plain.graph.ClearField("value_info")
    for output in plain.graph.output:
        output.type.tensor_type.ClearField("shape")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(plain.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(["y"], {"x": x})[0]


@pytest.mark.parametrize("kind", STALE)
def test_what_a_file_states_falsely_changes_no_result(kind):
    proto = STALE[kind]()
    right = _stock(proto, X)
    for made in (proto, anybit.clean(proto), anybit.convert(proto, "qcdq").model):
        for engine in ENGINES:
            np.testing.assert_array_equal(anybit.run(made, X, engine=engine)["y"], right)
    np.testing.assert_array_equal(_stock(anybit.to_proto(anybit.clean(proto)), X), right)


@pytest.mark.parametrize("kind", ["batch", "nameless batch", "other batch", "rank", "size", "output", "branch"])
def test_what_is_false_is_a_finding(kind):
    (finding,) = anybit.check(STALE[kind]())
    assert (finding.rule, finding.node, finding.severity) == ("shape", "tensor 'a'", anybit.errors.Severity.WARNING)
    assert finding.got.startswith("[1,3")


def test_a_false_type_is_replaced_and_found():
    proto = _stale([RELU, helper.make_node("Neg", ["a"], ["y"])], _info("a", ["N", 3], TensorProto.FLOAT16))
    (finding,) = anybit.check(proto)
    assert (finding.rule, finding.got, finding.expected) == ("element-type", "FLOAT16", "FLOAT")
    assert anybit.clean(proto).graph.node(0).outputs[0].dtype.name == "FLOAT"


@pytest.mark.parametrize(
    ("batch", "stated", "kept"),
    [(4, [4, 5], [4, 5]), ("N", ["N", 5], [None, 5]), ("N", [1, 5], [None, None]), (None, [None, 5], [None, 5])],
)
def test_behind_an_unknown_operator_the_rank_is_believed_and_sizes_decide_nothing(batch, stated, kept):
    nodes = [helper.make_node("Mystery", ["x"], ["m"], domain="com.microsoft"), helper.make_node("Neg", ["m"], ["a"])]
    proto = _stale([*nodes, *_over_batch("a")], _info("m", stated), _info("a", stated), batch=batch)
    read = anybit.load(proto)
    inference = infer_shapes(read, data_propagation=True)
    for node in list(read.graph)[:2]:
        value = node.outputs[0]
        assert [d if isinstance(d, int) else None for d in value.shape] == kept
        assert inference.proven(value).rank() == 2
        assert value.dtype.name == "FLOAT"
    FoldShapes()(read)
    assert "Shape" in {n.op_type for n in read.graph}


def test_known_shapes_are_folded_still():
    proto = _stale([RELU, *_over_batch("a")], batch=4)
    read = anybit.load(proto)
    FoldShapes()(read)
    assert [n.op_type for n in read.graph] == ["Relu", "Div"]


PICKED = {"b": np.array([0]), "e": np.array([2]), "s": np.array([2])}
CONV = {"w": np.zeros((2, 3, 9, 9), np.float32)}
# Each of these ended the process, or never returned, in onnx 1.23.2.
FATAL = {
    "Slice of a negative size": (
        [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Slice", ["c", "b", "e", "s"], ["y"])],
        CONV | PICKED,
        [1, 3, 4, 4],
    ),
    "GatherND of negative batch_dims": (
        [helper.make_node("GatherND", ["x", "i"], ["y"], batch_dims=-2)],
        {"i": np.array([0])},
        [1, 5, 5],
    ),
    "EyeLike of an unknown type": (
        [helper.make_node("Mystery", ["x"], ["m"], domain="com.microsoft"), helper.make_node("EyeLike", ["m"], ["y"])],
        {},
        [2, 2],
    ),
    "EyeLike without its input": ([helper.make_node("EyeLike", [""], ["y"], dtype=1)], {}, [2]),
    "RegexFullMatch of an unknown type": (
        [
            helper.make_node("Mystery", ["x"], ["m"], domain="com.microsoft"),
            helper.make_node("RegexFullMatch", ["m"], ["y"], pattern="a"),
        ],
        {},
        [2],
    ),
    "LabelEncoder of an unknown type": (
        [
            helper.make_node("Mystery", ["x"], ["m"], domain="com.microsoft"),
            helper.make_node("LabelEncoder", ["m"], ["y"], domain="ai.onnx.ml", keys_int64s=[1], values_int64s=[2]),
        ],
        {},
        [2],
    ),
    "Split into more outputs than it says": (
        [helper.make_node("Split", ["x"], ["y", "y2", "y3"], num_outputs=2, axis=-1)],
        {},
        [4],
    ),
    "Einsum of half an arrow": ([helper.make_node("Einsum", ["x", "x"], ["y"], equation="-")], {}, [2]),
    **{
        f"Einsum of {equation.replace('.', 'dot')!a} and {rank} axes": (
            [helper.make_node("Einsum", ["x"], ["y"], equation=equation)],
            {},
            [2] * rank,
        )
        for equation, rank in product(
            ("\u00e9", "1", "i1", "i>j", ".", "....", "i.j", "...i...", "......->"), (0, 1, 2)
        )
    },
    "LayerNormalization along an axis beyond an int": (
        [helper.make_node("LayerNormalization", ["x", "g"], ["y"], axis=1 << 31)],
        {"g": np.ones(2, np.float32)},
        [2, 2],
    ),
    "Slice of a stated negative size": ([helper.make_node("Slice", ["x", "b", "e", "s"], ["y"])], PICKED, [2, 3, -1]),
}


def test_no_model_ends_the_process(tmp_path):
    """In a process of its own, as this one would be gone; each node stands in a graph and in a branch."""
    imports = {"": 21, "com.microsoft": 1, "ai.onnx.ml": 4}
    for kind, (nodes, initializers, shape) in FATAL.items():
        outer = model(nodes, initializers, inputs={"x": shape}, outputs=["y"], imports=imports)
        inner = helper.make_graph(outer.graph.node, "inner", [], outer.graph.output)
        node = helper.make_node("If", ["on"], ["z"], then_branch=inner, else_branch=inner)
        constants = initializers | {"on": np.bool_(1)}
        nested = model([node], constants, inputs={"x": shape}, outputs=["z"], imports=imports)
        onnx.save(outer, tmp_path / f"{kind}.onnx")
        onnx.save(nested, tmp_path / f"{kind}, in a branch.onnx")
    paths = sorted(map(str, tmp_path.iterdir()))
    code = f"import anybit\nfor path in {paths}: print(path, flush=True); anybit.check(path)"
    environment = os.environ | {"PYTHONPATH": str(Path(anybit.__file__).parents[1])}
    run = subprocess.run([sys.executable, "-c", code], timeout=300, check=False, env=environment, capture_output=True)
    assert run.returncode == 0, run.stdout.splitlines()[-1] + run.stderr[-1000:]
    assert len(run.stdout.splitlines()) == 2 * len(FATAL)


def test_a_negative_size_is_no_size_further_on():
    """-4 times -4 is no 16: a window larger than its image makes nothing that Flatten could count."""
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Flatten", ["c"], ["y"])]
    read = anybit.load(model(nodes, CONV, inputs={"x": [1, 3, 4, 4]}, outputs=["y"]))
    infer_shapes(read, data_propagation=True)
    for value in (o for n in read.graph for o in n.outputs):
        assert all(not isinstance(d, int) or d >= 0 for d in value.shape or ())
    assert 32 not in list(read.graph.outputs[0].shape or ())


def test_bodies_of_nodes_that_leave_out_outputs_are_told_apart():
    """Names of outputs that are left out are all the same."""

    def body(op_type: str) -> onnx.GraphProto:
        nodes = [helper.make_node("Identity", ["x"], [f"{op_type}_a"]), helper.make_node(op_type, ["x"], [op_type])]
        return onnx.GraphProto(name=op_type, node=nodes, output=[_info(f"{op_type}_a", None), _info(op_type, None)])

    nodes = [
        helper.make_node("If", ["choice"], ["", "y"], then_branch=body("Neg"), else_branch=body("Abs")),
        helper.make_node("Log", ["x"], [""], domain="other"),
    ]
    opsets = {"": 21, "other": 1}
    read = anybit.load(model(nodes, {"choice": np.asarray(True)}, inputs={"x": [2, 3]}, outputs=["y"], imports=opsets))
    infer_shapes(read, data_propagation=True)
    made = [node.outputs[0].shape for graph in read.graph.subgraphs() for node in graph]
    assert [list(shape or ()) for shape in made] == [[2, 3]] * 4


@pytest.mark.parametrize("op_type", ["NotLong", "NotNegative", "Unknown", "SameShape"])
def test_operators_of_others_may_have_any_name(op_type):
    """Also those of what is put into a model while shapes are inferred."""
    node = helper.make_node(op_type, ["x"], ["t"], domain="anybit.inference")
    then = onnx.GraphProto(name="then", node=[helper.make_node("Neg", ["t"], ["u"])], output=[_info("u", None)])
    other = onnx.GraphProto(name="else", node=[helper.make_node("Abs", ["x"], ["v"])], output=[_info("v", None)])
    nodes = [node, helper.make_node("If", ["choice"], ["y"], then_branch=then, else_branch=other)]
    proto = model(
        nodes,
        {"choice": np.asarray(True)},
        inputs={"x": [2, 3]},
        outputs=["y"],
        imports={"": 21, "anybit.inference": 1},
    )
    read = anybit.load(proto)
    infer_shapes(read, data_propagation=True)
    (neg, absolute) = (n for graph in read.graph.subgraphs() for n in graph)
    assert list(absolute.outputs[0].shape or ()) == [2, 3] or list(neg.outputs[0].shape or ()) == [2, 3]
    assert any(f.rule == "operator" for f in anybit.check(proto))


LONG = 1 << 27
LONG_VECTORS = {
    "an input": ([], [LONG]),
    "a computed constant": (
        [
            helper.make_node("Concat", ["size"], ["s"], axis=0),
            helper.make_node("ConstantOfShape", ["s"], ["x0"]),
        ],
        [2],
    ),
    "a vector doubled again and again": (
        [
            helper.make_node("Concat", [a, a], [b], axis=0)
            for a, b in pairwise(["x", *(f"d{k}" for k in range(26)), "x0"])
        ],
        [2],
    ),
}
READERS = {
    "Add": ["v", "v"], "Cast": ["v"], "Expand": ["one", "v"], "Gather": ["v", "i"], "MeanVarianceNormalization": ["v"],
    "Mul": ["v", "v"], "Size": ["v"], "Slice": ["v", "i", "i"], "Squeeze": ["v"], "Sub": ["v", "v"],
    "Unsqueeze": ["v", "i"],
}  # fmt: skip


@pytest.mark.parametrize("kind", LONG_VECTORS)
@pytest.mark.parametrize("op_type", READERS)
@pytest.mark.parametrize("opset", [11, 21])
def test_no_vector_takes_a_dimension_for_each_element(kind, op_type, opset):
    """Propagation of data, and Expand before version 13, took 4 GB and more for a file of 200 bytes."""
    nodes, shape = LONG_VECTORS[kind]
    vector = "x0" if nodes else "x"
    attributes = {"to": 7} if op_type == "Cast" else {"axes": [0]} if op_type == "Unsqueeze" and opset < 13 else {}
    names = [vector if n == "v" else n for n in READERS[op_type]]
    reader = helper.make_node(op_type, names[:1] if attributes.get("axes") else names, ["y"], **attributes)
    constants = {"size": np.int64([LONG]), "i": np.int64([0]), "one": np.float32(1)}
    used = {n for node in (*nodes, reader) for n in node.input}
    known = {n: a for n, a in constants.items() if n in used}
    kind_of_input = onnx.TensorProto.FLOAT if op_type == "MeanVarianceNormalization" else onnx.TensorProto.INT64
    proto = model([*nodes, reader], known, inputs={"x": shape}, outputs=["y"], opset=opset, input_type=kind_of_input)
    read = ir.from_proto(proto)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    infer_shapes(read, data_propagation=True)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kilobytes


def test_what_is_known_of_long_vectors_stays_known():
    nodes = [helper.make_node("Add", ["x", "x"], ["a"]), helper.make_node("Reshape", ["a", "two"], ["y"])]
    read = anybit.load(model(nodes, {"two": np.int64([2, -1])}, inputs={"x": [1 << 24]}, outputs=["y"]))
    infer_shapes(read, data_propagation=True)
    assert [list(n.outputs[0].shape or ()) for n in read.graph] == [[1 << 24], [2, 1 << 23]]


def _shapes(source: onnx.ModelProto) -> dict[str, object]:
    loaded = ir.from_proto(source)
    infer_shapes(loaded, data_propagation=True)
    values = [o for n in loaded.graph.all_nodes() for o in n.outputs]
    return {str(v.name): (v.dtype, v.shape) for v in values}


@given(random_graphs(WITH_SCOPES))
@examples(60)
def test_propagation_of_data_adds_nothing_to_what_is_complete(graph):
    """It takes as long as the inference before it, and most models have no shapes to follow."""
    found = _shapes(graph.model)
    with mock.patch.object(anybit.io.shapes, "_is_complete", return_value=False):
        assert _shapes(graph.model) == found


def test_shapes_that_are_computed_are_followed_still():
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"], start=2, end=4),
        helper.make_node("ConstantOfShape", ["shape"], ["y"]),
    ]
    known = _shapes(model(nodes, {}, inputs={"x": ["N", 3, 5, 7]}, outputs=["y"], opset=17))
    assert known["y"] == (ir.DataType.FLOAT, ir.Shape([5, 7]))


def test_tensors_of_one_type_have_types_of_their_own():
    """To set the type of one of them changes no other."""
    nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Relu", ["a"], ["y"])]
    loaded = ir.from_proto(model(nodes, {}, inputs={"x": [1, 4]}, outputs=["y"]))
    infer_shapes(loaded, data_propagation=True)
    a, y = (node.outputs[0] for node in loaded.graph)
    a.dtype = ir.DataType.DOUBLE
    assert y.dtype == ir.DataType.FLOAT


@pytest.mark.parametrize(
    ("op_type", "opset"),
    [*product(("AveragePool", "MaxPool"), (11, 19, 22)), ("LpPool", 18), ("LpPool", 22)],
)
def test_windows_that_start_behind_the_input_are_none(op_type, opset):
    """All windows of an axis of up to 5 elements, in one model, as ONNX Runtime computes them."""
    nodes = []
    for size, k, s, begin, end, d in product((1, 2, 3, 5), (1, 2, 3), (1, 2, 3, 4), (0, 1), (0, 1, 2), (1, 2)):
        legal = begin < k and end < k and (k - 1) * d < size + begin + end
        if legal and (d == 1 or op_type == "MaxPool" or opset > 11):
            given = {"kernel_shape": [k], "strides": [s], "pads": [begin, end], "dilations": [d]}
            if op_type == "AveragePool" and opset == 11:
                del given["dilations"]
            nodes.append(helper.make_node(op_type, [f"x{size}"], [f"y{len(nodes)}"], ceil_mode=1, **given))
    sizes = {f"x{n}": [1, 1, n] for n in (1, 2, 3, 5)}
    nodes += [
        helper.make_node(op_type, ["x2"], ["valid"], kernel_shape=[1], strides=[2], auto_pad="VALID", ceil_mode=1)
    ]
    source = model(nodes, {}, inputs=sizes, outputs=[n.output[0] for n in nodes], opset=opset)
    known = _shapes(source)
    session = onnxruntime.InferenceSession(source.SerializeToString(), providers=["CPUExecutionProvider"])
    computed = session.run(None, {name: np.ones(shape, np.float32) for name, shape in sizes.items()})
    for output, array in zip(session.get_outputs(), computed, strict=True):
        assert known[output.name] == (ir.DataType.FLOAT, ir.Shape(array.shape)), output.name


def test_the_shape_of_such_a_pool_is_folded_to_what_it_is():
    nodes = [
        helper.make_node("MaxPool", ["x"], ["pooled"], kernel_shape=[1], strides=[2], ceil_mode=1),
        helper.make_node("Shape", ["pooled"], ["y"]),
    ]
    source = model(nodes, {}, inputs={"x": [1, 1, 2]}, outputs=["y"], opset=13)
    (found,) = anybit.run(anybit.clean(source), np.ones((1, 1, 2), np.float32)).values()
    assert found.tolist() == [1, 1, 1]
