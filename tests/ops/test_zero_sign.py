"""The table of operators against ONNX Runtime and the references: what they make of -0 in the place of +0."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper

from anybit import Session, load
from anybit.ops.zero_sign import ZeroSign, tensors_of_told_zeros, zero_sign
from tests.models import model, parameters, quant

ROW = np.float32([0.0, -0.0, -0.25, 0.25, 1.0, -1.0, 3.0, 0.0])
UNARY = (
    "Abs Acos Acosh Asin Asinh Atan Atanh Ceil Celu Cos Cosh Elu Erf Exp Floor Gelu HardSigmoid HardSwish Identity "
    "IsInf IsNaN LeakyRelu Log LogSoftmax Mish Neg Reciprocal ReduceL1 ReduceL2 ReduceLogSumExp ReduceMax ReduceMean "
    "ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Round Selu Shrink Sigmoid Sign Sin Sinh Size Softmax Softplus "
    "Softsign Sqrt Tan Tanh ThresholdedRelu"
).split()
PAIRS = "Add Div Equal Greater Less Max Min Mul PRelu Pow Sub Sum Mean".split()
NUMBERS = (0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 0.5, -0.5)
UNKNOWN = (
    "BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor CausalConvWithState Constant ConstantOfShape ImageDecoder "
    "LinearAttention RandomNormal RandomUniform RegexFullMatch SequenceEmpty StringConcat StringNormalizer StringSplit "
    "TfIdfVectorizer"
).split()
"""Operators that have no floats as inputs, or whose arithmetic is not specified step by step."""


def _flipped(x: np.ndarray) -> np.ndarray:
    return np.where(x == 0, -x, x).astype(x.dtype)


def _made(x: np.ndarray, y: np.ndarray) -> ZeroSign:
    """What became of the sign of zeros, of two results of which one came from zeros of the other sign."""
    if not np.array_equal(x, y, equal_nan=True):
        return ZeroSign.TOLD
    if x.dtype.kind != "f":
        return ZeroSign.ENDED
    numbers = ~np.isnan(x)
    same = np.array_equal(np.signbit(x[numbers]), np.signbit(y[numbers]))
    return ZeroSign.ENDED if same else ZeroSign.PASSED_ON


def _results(proto: onnx.ModelProto, *feeds: np.ndarray) -> list[list[np.ndarray]]:
    """By the reference, and by ONNX Runtime as the model stands, whatever the type of its output."""
    dtype = {"Size": TensorProto.INT64}.get(proto.graph.node[0].op_type, TensorProto.FLOAT)
    compares = proto.graph.node[0].op_type in ("Equal", "Greater", "IsInf", "IsNaN", "Less")
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.BOOL if compares else dtype
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    engine = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    reference = Session(proto, engine="reference")
    return [[e.run(*run)["y"] for run in (({"x": x},) for x in feeds)] for e in (reference, _Stock(engine))]


class _Stock:
    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"y": self._session.run(["y"], feeds)[0]}


def _check(proto: onnx.ModelProto, place: int, *feeds: np.ndarray) -> ZeroSign:
    """The table's answer is no weaker than what is seen, whichever of the zeros are flipped; the answer."""
    graph = load(proto).graph
    node = graph[0]
    stated = zero_sign(node, place, {"": 21, "qonnx.custom_op.general": 1})
    order = (ZeroSign.ENDED, ZeroSign.PASSED_ON, ZeroSign.TOLD)
    for x in feeds:
        for results in _results(proto, x, _flipped(x)):
            assert order.index(_made(*results)) <= order.index(stated), (node.op_type, place, results)
    return stated


@pytest.mark.parametrize("op_type", UNARY)
def test_operators_of_one_tensor(op_type):
    proto = model([helper.make_node(op_type, ["x"], ["y"])], {}, inputs={"x": [None]}, outputs=["y"])
    _check(proto, 0, ROW, np.zeros(3, np.float32))


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("op_type", PAIRS)
def test_operators_of_a_tensor_and_a_constant(op_type, first):
    for number in NUMBERS:
        names = ["x", "c"] if first else ["c", "x"]
        shape = {"PRelu": (1,), "Mean": ROW.shape}.get(op_type, ())
        constants = {"c": np.full(shape, number, np.float32)}
        proto = model([helper.make_node(op_type, names, ["y"])], constants, inputs={"x": [None]}, outputs=["y"])
        x = np.zeros(1, np.float32) if op_type == "PRelu" and not first else ROW
        _check(proto, 0 if first else 1, x, np.zeros_like(x))


def _stated(op_type: str, *others, place: int = 0, outputs: int | None = 1, **attributes) -> ZeroSign:
    """What the table says of an input between constants."""
    constants = [ir.node("Constant", [], {"value": ir.tensor(np.asarray(o, np.float32))}).outputs[0] for o in others]
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT))
    node = ir.node(op_type, [*constants[:place], x, *constants[place:]], attributes)
    node.outputs[0].type = None if outputs is None else ir.TensorType(ir.DataType(outputs))
    return zero_sign(node, place, {"": 21})


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("op_type", ["Add", "Sub", "Sum"])
def test_a_sum_ends_the_sign_exactly_where_no_element_of_it_depends_on_it(op_type, place):
    function = np.subtract if op_type == "Sub" else np.add
    zeros = np.float32([[0.0], [-0.0]])
    pairs = [[a, b] for a in NUMBERS for b in NUMBERS]
    for others in (*NUMBERS, *pairs):
        constant = np.float32(others)
        y = function(zeros, constant) if place == 0 else function(constant, zeros)
        ended = np.array_equal(np.signbit(y[0]), np.signbit(y[1]))
        assert _stated(op_type, others, place=place) is (ZeroSign.ENDED if ended else ZeroSign.PASSED_ON), others


def test_one_of_several_summands_is_enough_to_end_the_sign():
    assert _stated("Sum", 0.0, -0.0, place=1) is ZeroSign.ENDED
    assert _stated("Sum", -0.0, -0.0, place=2) is ZeroSign.PASSED_ON
    assert _stated("Sum") is ZeroSign.PASSED_ON


@pytest.mark.parametrize(
    ("exponent", "expected"),
    [
        (2, ZeroSign.ENDED),
        (-2, ZeroSign.ENDED),
        (0, ZeroSign.ENDED),
        (3, ZeroSign.PASSED_ON),
        (0.5, ZeroSign.PASSED_ON),
        ([2, 3], ZeroSign.PASSED_ON),
        (-3, ZeroSign.TOLD),
        (-0.5, ZeroSign.TOLD),
        ([2, -3], ZeroSign.TOLD),
        ([-2, 3], ZeroSign.PASSED_ON),
    ],
)
def test_a_power_tells_the_sign_where_it_is_odd_and_negative(exponent, expected):
    assert _stated("Pow", exponent) is expected
    with np.errstate(divide="ignore"):
        y = np.power(np.float32([[0.0], [-0.0]]), np.float32(exponent))
    if expected is not ZeroSign.TOLD:
        assert np.array_equal(y[0], y[1])
    elif np.all(np.float32(exponent) == np.rint(exponent)):
        assert not np.array_equal(y[0], y[1])


def test_an_exponent_has_no_sign_of_zero_and_a_computed_one_may_be_any():
    assert _stated("Pow", 3.0, place=1) is ZeroSign.ENDED
    x, n = (ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT)) for name in "xn")
    assert zero_sign(ir.node("Pow", [x, n]), 0, {"": 21}) is ZeroSign.TOLD


@pytest.mark.parametrize(
    ("op_type", "place", "dtype", "expected"),
    [
        ("CastLike", 0, ir.DataType.DOUBLE, ZeroSign.PASSED_ON),
        ("CastLike", 0, ir.DataType.INT8, ZeroSign.ENDED),
        ("CastLike", 0, ir.DataType.STRING, ZeroSign.TOLD),
        ("CastLike", 0, None, ZeroSign.TOLD),
        ("CastLike", 1, ir.DataType.DOUBLE, ZeroSign.ENDED),
        ("QuantizeLinear", 0, ir.DataType.UINT8, ZeroSign.ENDED),
        ("QuantizeLinear", 0, ir.DataType.FLOAT8E5M2, ZeroSign.PASSED_ON),
        ("QuantizeLinear", 0, None, ZeroSign.PASSED_ON),
        ("QuantizeLinear", 1, ir.DataType.UINT8, ZeroSign.TOLD),
        ("QuantizeLinear", 2, ir.DataType.UINT8, ZeroSign.PASSED_ON),
        ("Where", 0, ir.DataType.FLOAT, ZeroSign.ENDED),
        ("Where", 1, ir.DataType.FLOAT, ZeroSign.PASSED_ON),
        ("Div", 1, ir.DataType.FLOAT, ZeroSign.TOLD),
        ("Div", 0, ir.DataType.FLOAT, ZeroSign.PASSED_ON),
    ],
)
def test_types_and_places_decide(op_type, place, dtype, expected):
    assert _stated(op_type, 1.0, 1.0, place=place, outputs=None if dtype is None else dtype.value) is expected


def test_integers_and_inputs_that_are_left_out_have_no_sign_of_zero():
    whole = ir.Value(name="x", type=ir.TensorType(ir.DataType.INT32))
    assert zero_sign(ir.node("Reciprocal", [whole]), 0, {}) is ZeroSign.ENDED
    assert zero_sign(ir.node("Reciprocal", [None]), 0, {}) is ZeroSign.ENDED
    unknown = ir.Value(name="x")
    assert zero_sign(ir.node("Reciprocal", [unknown]), 0, {}) is ZeroSign.TOLD
    turning = ir.Value(name="x", type=ir.TensorType(ir.DataType.COMPLEX64))
    assert zero_sign(ir.node("Reciprocal", [turning]), 0, {}) is ZeroSign.TOLD


@pytest.mark.parametrize(
    ("op_type", "place", "expected"),
    [
        ("QuantizeLinear", 0, ZeroSign.ENDED),
        ("QuantizeLinear", 1, ZeroSign.TOLD),
        ("FusedMatMul", 0, ZeroSign.PASSED_ON),
        ("Unheard", 0, ZeroSign.TOLD),
    ],
)
def test_operators_of_the_vendor(op_type, place, expected):
    values = [ir.Value(name=n, type=ir.TensorType(ir.DataType.FLOAT)) for n in "xs"]
    assert zero_sign(ir.node(op_type, values, domain="com.microsoft"), place, {}) is expected


@pytest.mark.parametrize("op_type", ["Add", "Mul", "Sub"])
def test_a_tensor_twice(op_type):
    proto = model([helper.make_node(op_type, ["x", "x"], ["y"])], {}, inputs={"x": [None]}, outputs=["y"])
    assert _check(proto, 0, ROW) is (ZeroSign.ENDED if op_type == "Mul" else ZeroSign.PASSED_ON)


@pytest.mark.parametrize("bounds", [(-1, 1), (0, 1), (-1, 0), (0.5, 1), (-1, -0.5), (-0.0, 1)])
def test_clip(bounds):
    constants = {"lo": np.float32(bounds[0]), "hi": np.float32(bounds[1])}
    proto = model([helper.make_node("Clip", ["x", "lo", "hi"], ["y"])], constants, inputs={"x": [None]}, outputs=["y"])
    assert _check(proto, 0, ROW) is (ZeroSign.PASSED_ON if bounds[0] <= 0 <= bounds[1] else ZeroSign.ENDED)


@pytest.mark.parametrize(
    ("to", "expected"),
    [("DOUBLE", ZeroSign.PASSED_ON), ("INT32", ZeroSign.ENDED), ("BOOL", ZeroSign.ENDED), ("STRING", ZeroSign.TOLD)],
)
def test_cast(to, expected):
    cast = helper.make_node("Cast", ["x"], ["y"], to=getattr(TensorProto, to))
    proto = model([cast], {}, inputs={"x": [None]}, outputs=["y"])
    node = load(proto).graph[0]
    assert zero_sign(node, 0, {}) is expected


@pytest.mark.parametrize("op_type", ["Quant", "BipolarQuant", "MultiThreshold", "FloatQuant"])
def test_our_operators(op_type):
    domain = "qonnx.custom_op.general"
    constants = {
        "Quant": parameters("y"),
        "BipolarQuant": {"s": np.float32(1)},
        "MultiThreshold": {"t": np.float32([[-0.5, 0.0, 0.5]])},
        "FloatQuant": {n: np.float32(v) for n, v in zip("abcde", (1, 4, 3, 7, 240), strict=True)},
    }[op_type]
    node = quant("x", "y") if op_type == "Quant" else helper.make_node(op_type, ["x", *constants], ["y"], domain=domain)
    proto = model([node], constants, inputs={"x": [None, 1]}, outputs=["y"])
    x = ROW.reshape(-1, 1)
    results = [Session(proto, engine="reference").run(v)["y"] for v in (x, _flipped(x))]
    assert _made(*results) is zero_sign(load(proto).graph[0], 0, load(proto).opset_imports)


def test_every_standard_operator_has_an_entry():
    """A node of each operator, with float inputs: what is not known is told."""
    known = set[str]()
    for schema in onnx.defs.get_all_schemas():
        if schema.domain == "" and not schema.deprecated:
            node = ir.node(schema.name, [ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT))] * 2)
            answers = {zero_sign(node, place, {}) for place in range(2)}
            known |= set() if answers == {ZeroSign.TOLD} and schema.name not in ("BitCast", "Cast") else {schema.name}
    telling = {"Pow", "Reciprocal"}
    names = {s.name for s in onnx.defs.get_all_schemas() if s.domain == "" and not s.deprecated}
    assert names - known - telling == set(UNKNOWN)


def _told(nodes, constants, **inputs):
    found = tensors_of_told_zeros(load(model(nodes, constants, inputs=inputs or {"x": ["N", 4]}, outputs=["y"])))
    return {str(v.name): n.op_type for v, n in found.items()}


def test_the_walk_follows_what_passes_the_sign_on():
    nodes = [
        helper.make_node("Round", ["x"], ["a"]),
        helper.make_node("Neg", ["a"], ["b"]),
        helper.make_node("Abs", ["b"], ["c"]),
        helper.make_node("Mul", ["b", "c"], ["d"]),
        helper.make_node("Reciprocal", ["d"], ["y"]),
    ]
    assert _told(nodes, {}) == dict.fromkeys("abcd", "Reciprocal")
    assert _told([*nodes[:3], helper.make_node("Reciprocal", ["c"], ["y"])], {}) == {"c": "Reciprocal"}


def test_an_unknown_operator_tells():
    nodes = [
        helper.make_node("Round", ["x"], ["a"]),
        helper.make_node("Mystery", ["a"], ["y"], domain="elsewhere"),
    ]
    proto = model(nodes, {}, inputs={"x": [4]}, outputs=["y"], imports={"": 21, "elsewhere": 1})
    assert {str(v.name) for v in tensors_of_told_zeros(load(proto))} == {"a"}


def test_the_walk_enters_and_leaves_subgraphs():
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Neg", ["carried"], ["n"]),
            helper.make_node("Add", ["n", "captured"], ["out"]),
            helper.make_node("Identity", ["go"], ["on"]),
        ],
        "body",
        [info("i", 7, []), info("go", 9, []), info("carried", 1, [4])],
        [info("on", 9, []), info("out", 1, [4])],
    )
    nodes = [
        helper.make_node("Round", ["x"], ["start"]),
        helper.make_node("Floor", ["x"], ["captured"]),
        helper.make_node("Loop", ["two", "true", "start"], ["end"], body=body),
        helper.make_node("Reciprocal", ["end"], ["y"]),
    ]
    constants = {"two": np.int64(2), "true": np.array(True)}
    told = _told(nodes, constants)
    assert {"start", "captured", "carried", "n", "out", "end"} <= set(told)
    assert not _told([*nodes[:3], helper.make_node("Exp", ["end"], ["y"])], constants)


def test_a_branch_hands_its_zeros_on():
    info = helper.make_tensor_value_info
    branches = {
        f"{k}_branch": helper.make_graph([helper.make_node(o, ["a"], [k])], k, [], [info(k, 1, None)])
        for k, o in (("then", "Neg"), ("else", "Abs"))
    }
    nodes = [
        helper.make_node("Round", ["x"], ["a"]),
        helper.make_node("Cast", ["flag"], ["c"], to=TensorProto.BOOL),
        helper.make_node("If", ["c"], ["b"], **branches),
        helper.make_node("Reciprocal", ["b"], ["y"]),
    ]
    assert set(_told(nodes, {}, x=["N", 4], flag=[])) == {"a", "b", "then", "else"}
