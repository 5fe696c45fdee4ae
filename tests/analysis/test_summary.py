"""What a model is said to be: parameters wherever they are stored, quantisers however they are spelt."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.calibrate import CalibrationDataReader

from anybit import info, load, save
from anybit.analysis.summary import QuantizerCount
from anybit.cli.info import info as print_info
from tests.models import mlp, model, parameters, quant, samples

W = np.arange(12, dtype=np.float32).reshape(4, 3) / 8
VENDOR = "com.microsoft"


def kinds(source) -> dict[tuple[str, str, bool], int]:
    return {(q.operator, q.number_format, q.weights): q.count for q in info(source).quantizers}


def constant_node(array: np.ndarray, name: str) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(array, name))


def value_info(name, shape=None, dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def call_with_constants() -> onnx.ModelProto:
    """A function that adds a constant of 5, and a branch with an initializer of 7 and a constant of 2."""
    body = [constant_node(np.zeros(5, np.float32), "k"), helper.make_node("Concat", ["a", "k"], ["b"], axis=0)]
    inner = helper.make_function("f", "A", ["a"], ["b"], body, [helper.make_opsetid("", 21)])
    seven = onnx.numpy_helper.from_array(np.zeros(7, np.float32), "seven")
    joined = helper.make_node("Concat", ["x", "seven", "two"], ["o"], axis=0)
    then = helper.make_graph(
        [constant_node(np.zeros(2, np.float32), "two"), joined], "then", [], [value_info("o")], [seven]
    )
    other = helper.make_graph([helper.make_node("Neg", ["x"], ["p"])], "else", [], [value_info("p")])
    nodes = [
        helper.make_node("If", ["c"], ["z"], then_branch=then, else_branch=other),
        helper.make_node("A", ["z"], ["y"], domain="f"),
    ]
    return model(
        nodes, {"c": np.asarray(True)}, inputs={"x": [3]}, outputs=["y"], imports={"": 21, "f": 1}, functions=[inner]
    )


def with_constant(op_type: str, shape: list[int], **value) -> onnx.ModelProto:
    """x and a Constant node, whose value is stated in one of the ways that there are."""
    nodes = [helper.make_node("Constant", [], ["w"], **value), helper.make_node(op_type, ["x", "w"], ["y"])]
    return model(nodes, {}, inputs={"x": shape}, outputs=["y"])


def with_initializer() -> onnx.ModelProto:
    return model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": W}, inputs={"x": [1, 4]}, outputs=["y"])


@pytest.mark.parametrize(
    ("proto", "elements", "nbytes"),
    [
        (with_initializer(), 12, 48),
        (with_constant("MatMul", [1, 4], value=onnx.numpy_helper.from_array(W)), 12, 48),
        (with_constant("Add", [3], value_floats=[1.0, 2.0, 3.0]), 3, 12),
        (with_constant("Add", [3], value_float=1.0), 1, 4),
        (with_constant("Reshape", [3], value_ints=[3, 1]), 2, 16),
        (call_with_constants(), 1 + 7 + 2 + 5, 1 + 4 * (7 + 2 + 5)),
    ],
    ids=["initializer", "constant", "floats", "float", "ints", "subgraph and function"],
)
def test_parameters_count_wherever_they_are_stored(proto, elements, nbytes):
    summary = info(proto)
    assert (summary.parameters, summary.weight_bytes) == (elements, nbytes)


def test_four_bit_weights_are_counted_in_elements():
    packed = helper.make_tensor("w", TensorProto.INT4, [4, 3], np.zeros(6, np.uint8).tobytes(), raw=True)
    nodes = [helper.make_node("DequantizeLinear", ["w", "s"], ["wf"]), helper.make_node("MatMul", ["x", "wf"], ["y"])]
    for stored in ("initializer", "constant"):
        proto = model(nodes, {"s": np.float32(0.5)}, inputs={"x": [1, 4]}, outputs=["y"])
        if stored == "initializer":
            proto.graph.initializer.append(packed)
        else:
            proto.graph.node.insert(0, helper.make_node("Constant", [], ["w"], value=packed))
        summary = info(proto)
        assert (summary.parameters, summary.weight_bytes) == (13, 10)
        assert kinds(proto) == {("DequantizeLinear", "INT4", True): 1}


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_weights_in_blocks_are_counted_in_elements_with_their_bits(bits):
    columns, rows, block = 40, 6, 16
    blocks = -(-columns // block)
    values = {
        "b": np.zeros((rows, blocks, block * bits // 8), np.uint8),
        "s": np.ones((rows * blocks,), np.float32),
    }
    node = helper.make_node(
        "MatMulNBits", ["x", "b", "s"], ["y"], domain=VENDOR, K=columns, N=rows, bits=bits, block_size=block
    )
    proto = model([node], values, inputs={"x": [1, columns]}, outputs=["y"], imports={"": 21, VENDOR: 1})
    assert info(proto).parameters == rows * columns + rows * blocks
    assert kinds(proto) == {("MatMulNBits", f"UINT{bits}", True): 1}


def clipped(lo: int, hi: int, signed: bool) -> onnx.ModelProto:
    """QuantizeLinear, Clip, DequantizeLinear of x, and the same of constant integers."""
    dtype = np.int8 if signed else np.uint8
    values = {
        "s": np.float32(0.5), "z": dtype(0), "lo": dtype(lo), "hi": dtype(hi), "w": np.zeros((4, 3), dtype),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("Clip", ["q", "lo", "hi"], ["c"]),
        helper.make_node("DequantizeLinear", ["c", "s", "z"], ["a"]),
        helper.make_node("Clip", ["w", "lo", "hi"], ["wc"]),
        helper.make_node("Transpose", ["wc"], ["wt"], perm=[1, 0]),
        helper.make_node("Transpose", ["wt"], ["wtt"], perm=[1, 0]),
        helper.make_node("DequantizeLinear", ["wtt", "s", "z"], ["wf"]),
        helper.make_node("MatMul", ["a", "wf"], ["y"]),
    ]
    return model(nodes, values, inputs={"x": [1, 4]}, outputs=["y"])


@pytest.mark.parametrize(
    ("lo", "hi", "signed", "text"),
    [
        (-8, 7, True, "INT4"),
        (-7, 7, True, "INT4"),
        (-2, 1, True, "INT2"),
        (-128, 127, True, "INT8"),
        (0, 15, False, "UINT4"),
        (0, 14, False, "UINT4"),
        (0, 255, False, "UINT8"),
    ],
)
def test_clips_between_quantise_and_dequantise_narrow_the_format(lo, hi, signed, text):
    assert kinds(clipped(lo, hi, signed)) == {("QuantizeLinear", text, False): 1, ("DequantizeLinear", text, True): 1}


class _Samples(CalibrationDataReader):
    def __init__(self, *arrays: np.ndarray) -> None:
        self._left = [{"x": a} for a in arrays]

    def get_next(self):
        return self._left.pop() if self._left else None


def float_net(path) -> None:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "k", "b"], ["c"], name="conv"),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("Add", ["r", "r"], ["d"], name="add"),
        helper.make_node("GlobalAveragePool", ["d"], ["g"], name="pool"),
        helper.make_node("Flatten", ["g"], ["f"], name="flatten"),
        helper.make_node("MatMul", ["f", "w"], ["m"], name="product"),
        helper.make_node("Sigmoid", ["m"], ["y"], name="sigmoid"),
    ]
    shapes = {"k": (4, 3, 3, 3), "b": (4,), "w": (4, 5)}
    values = {n: rng.normal(size=s).astype(np.float32) for n, s in shapes.items()}
    proto = model(nodes, values, inputs={"x": [1, 3, 8, 8]}, outputs=["y"], opset=17, imports={"": 17}, ir_version=8)
    onnx.save(proto, path)


@pytest.mark.parametrize("form", [QuantFormat.QOperator, QuantFormat.QDQ])
@pytest.mark.parametrize("activations", [QuantType.QUInt8, QuantType.QInt8])
def test_what_onnx_runtime_s_quantiser_writes_is_said(tmp_path, form, activations):
    float_net(tmp_path / "f.onnx")
    quantize_static(
        tmp_path / "f.onnx", tmp_path / "q.onnx", _Samples(samples(2, 3, 8, 8)[:1], samples(2, 3, 8, 8)[1:]),
        quant_format=form, activation_type=activations, weight_type=QuantType.QInt8,
    )  # fmt: skip
    found = kinds(tmp_path / "q.onnx")
    text = "UINT8" if activations == QuantType.QUInt8 else "INT8"
    nodes = [n.op_type for n in onnx.load(tmp_path / "q.onnx").graph.node]
    quantized = nodes.count("QuantizeLinear")
    assert found["QuantizeLinear", text, False] == quantized > 0
    if form is QuantFormat.QDQ:
        assert found["DequantizeLinear", "INT8", True] == 2
        assert found["DequantizeLinear", "INT32", True] == 1  # the bias
        assert {key[0] for key in found} == {"QuantizeLinear", "DequantizeLinear"}
        return
    assert found["QLinearConv", "INT8", True] == found["QLinearMatMul", "INT8", True] == 1
    for name in ("QLinearConv", "QLinearMatMul", "QLinearAdd", "QLinearGlobalAveragePool", "QLinearSigmoid"):
        assert found[name, text, False] == nodes.count(name) == 1
    assert sum(found.values()) == quantized + 2 + 5


def test_dynamic_quantisation_is_said(tmp_path):
    float_net(tmp_path / "f.onnx")
    quantize_dynamic(tmp_path / "f.onnx", tmp_path / "q.onnx", weight_type=QuantType.QInt8)
    found = kinds(tmp_path / "q.onnx")
    assert found["DynamicQuantizeLinear", "UINT8", False] == 2
    assert found["MatMulInteger", "INT8", True] == found["ConvInteger", "INT8", True] == 1


def test_quantisers_in_functions_and_subgraphs_are_listed():
    inner = helper.make_function(
        "f", "A", ["a"], ["b"],
        [
            constant_node(np.float32(0.5), "s"),
            constant_node(np.int8(0), "z"),
            constant_node(np.zeros(4, np.int8), "w"),
            helper.make_node("QuantizeLinear", ["a", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
            helper.make_node("DequantizeLinear", ["w", "s", "z"], ["v"]),
            helper.make_node("Add", ["d", "v"], ["b"]),
        ],
        [helper.make_opsetid("", 21)],
    )  # fmt: skip
    then = helper.make_graph([quant("x", "o", prefix="p")], "then", [], [value_info("o")])
    other = helper.make_graph([helper.make_node("Neg", ["x"], ["p"])], "else", [], [value_info("p")])
    nodes = [
        helper.make_node("If", ["c"], ["z"], then_branch=then, else_branch=other),
        helper.make_node("A", ["z"], ["y"], domain="f"),
    ]
    values = {"c": np.asarray(True)} | parameters("p", bits=3.0)
    imports = {"": 21, "f": 1, "qonnx.custom_op.general": 1}
    proto = model(nodes, values, inputs={"x": [4]}, outputs=["y"], imports=imports, functions=[inner])
    assert kinds(proto) == {
        ("Quant", "INT3", False): 1,
        ("QuantizeLinear", "INT8", False): 1,
        ("DequantizeLinear", "INT8", True): 1,
    }


def test_the_quantisers_of_the_hub_are_listed_as_before():
    assert info(mlp()).quantizers == (
        QuantizerCount("Quant", "INT4", weights=False, count=1),
        QuantizerCount("Quant", "INT4", weights=True, count=1),
        QuantizerCount("Quant", "UINT4", weights=False, count=1),
    )


def test_info_marks_inputs_with_a_default(tmp_path, capsys):
    nodes, values = [helper.make_node("Add", ["x", "b"], ["y"])], {"b": np.zeros(3, np.float32)}
    proto = model(nodes, values, inputs={"x": [3], "b": [3]}, outputs=["y"])
    save(load(proto), tmp_path / "m.onnx")
    assert [t.optional for t in info(tmp_path / "m.onnx").inputs] == [False, True]
    print_info(tmp_path / "m.onnx")
    assert "(has a default)" in capsys.readouterr().out
