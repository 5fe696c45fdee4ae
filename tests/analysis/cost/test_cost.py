"""Number formats, memory, batches and accumulation."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from anybit.analysis.cost.cost import BitOperations, cost
from anybit.errors import InvalidModelError, ModelFileError, Severity
from anybit.graph.annotations import annotate_number_format
from anybit.io.load import load
from anybit.number_formats import parse_number_format
from tests.models import DOMAIN, mlp, model, parameters, quant


def formats(result) -> list[tuple[str, str, int]]:
    return [(str(f.activation), str(f.weight), f.macs) for f in result.dense.formats]


def weights(*shape: int) -> np.ndarray:
    return np.linspace(-1, 1, math.prod(shape), dtype=np.float32).reshape(shape)


def test_bit_operations_are_the_product_of_the_widths():
    result = cost(mlp(hidden=8))
    assert formats(result) == [("INT4", "INT4", 48)]
    assert result.dense.bit_operations == 4 * 4 * 48
    assert (result.dense.weight_bits, result.dense.activation_bits) == (4 * 48, 4 * 6)
    assert [(o.operator, o.nodes, o.elements) for o in result.others] == [(f"{DOMAIN}::Quant", 2, 14), ("Relu", 1, 8)]
    assert not result.findings


def test_accumulation_adds_the_additions_and_the_width_of_the_accumulator():
    """m*n*k^2 * (a*w + a + w + log2(n*k^2)) for each of the 7*7 output positions."""
    nodes = [quant("x", "xq", signed=0), quant("w", "wq"), helper.make_node("Conv", ["xq", "wq"], ["y"])]
    initializers = {"w": weights(5, 3, 2, 2)} | parameters("xq", bits=3.0) | parameters("wq", bits=2.0)
    source = model(nodes, initializers, inputs={"x": [1, 3, 8, 8]}, outputs=["y"])
    m, n, k = 5, 3, 2
    expected = 7 * 7 * m * n * k**2 * (3 * 2 + 3 + 2 + math.log2(n * k**2))
    result = cost(source, counting=BitOperations.ACCUMULATION)
    assert result.dense.bit_operations == round(expected)
    assert result.counting is BitOperations.ACCUMULATION
    assert cost(source).dense.bit_operations == 7 * 7 * m * n * k**2 * 6


def of_weight(nodes, initializers, *, float_type=TensorProto.FLOAT, **options):
    """The cost of a product with the weight `wq` that these nodes make."""
    nodes = [*nodes, helper.make_node("MatMul", ["x", "wq"], ["y"])]
    return cost(model(nodes, initializers, inputs={"x": [1, 4]}, outputs=["y"], input_type=float_type, **options))


def test_one_bit_weights_are_bipolar():
    bipolar = helper.make_node("BipolarQuant", ["w", "s"], ["wq"], domain=DOMAIN)
    by_operator = of_weight([bipolar], {"w": weights(4, 3), "s": np.float32(0.5)})
    by_width = of_weight([quant("w", "wq")], {"w": weights(4, 3)} | parameters("wq", bits=1.0))
    for result in (by_operator, by_width):
        assert formats(result) == [("FLOAT32", "BIPOLAR", 12)]
        assert result.dense.bit_operations == 32 * 12
        assert (result.dense.weight_bits, result.sparse.weight_bits) == (12, 12)


def test_minifloats_have_the_bits_of_their_fields():
    node = helper.make_node("FloatQuant", ["w", "s", "e", "m", "b", "max"], ["wq"], domain=DOMAIN)
    fields = {"s": 1.0, "e": 4.0, "m": 3.0, "b": 7.0, "max": 448.0}
    result = of_weight([node], {"w": weights(4, 3)} | {k: np.float32(v) for k, v in fields.items()})
    assert formats(result) == [("FLOAT32", "FLOAT<4,3,7>", 12)]
    assert result.dense.weight_bits == 8 * 12


@pytest.mark.parametrize(
    ("dtype", "bits"), [(TensorProto.FLOAT16, 16), (TensorProto.FLOAT, 32), (TensorProto.DOUBLE, 64)]
)
def test_what_is_not_quantised_has_the_bits_of_its_type(dtype, bits):
    w = weights(4, 3).astype(helper.tensor_dtype_to_np_dtype(dtype)) * 0.3
    identity = helper.make_node("Identity", ["w"], ["wq"])
    result = of_weight([identity], {"w": w}, float_type=dtype)
    assert result.dense.bit_operations == bits * bits * 12
    assert result.dense.weight_bits == bits * 12


def test_integers_behind_dequantize_linear_are_weights():
    node = helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wq"])
    w = np.array([[-128, 5, 5], [5, 127, 0], [1, 1, 1], [5, 5, 5]], np.int8)
    result = of_weight([node], {"w": w, "s": np.float32(0.1), "z": np.int8(5)})
    assert formats(result) == [("FLOAT32", "INT8", 12)]
    assert result.sparse.macs == 12 - 6  # the zero point stands for 0
    assert result.dense.weight_bits == 8 * 12


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("batch", [1, "N"])
def test_annotated_weights_have_the_format_that_the_file_states(transposed, batch):
    nodes = [helper.make_node("Transpose", ["w"], ["t"])] if transposed else []
    nodes.append(helper.make_node("MatMul", ["x", "t" if transposed else "w"], ["y"]))
    w = np.float32([[1, 0, -1], [1, 1, 1], [0, 0, 1], [1, -1, -1]])
    read = load(model(nodes, {"w": w.T if transposed else w}, inputs={"x": [batch, 4]}, outputs=["y"]))
    annotate_number_format(read.graph.initializers["w"], parse_number_format("INT3"))
    annotate_number_format(read.graph.inputs[0], parse_number_format("UINT5"))
    result = cost(read)
    assert formats(result) == [("UINT5", "INT3", 12)]
    assert (result.dense.bit_operations, result.sparse.macs) == (5 * 3 * 12, 9)
    assert (result.dense.weight_bits, result.dense.activation_bits) == (36, 20)


def test_weights_that_two_layers_share_are_stored_once():
    """The same initializer, quantised twice alike and once otherwise."""
    nodes = [
        quant("x", "xq"),
        quant("w", "w1"),
        quant("w", "w2", prefix="w1"),
        quant("w", "w3"),
        helper.make_node("MatMul", ["xq", "w1"], ["a"], name="a"),
        helper.make_node("MatMul", ["xq", "w2"], ["b"], name="b"),
        helper.make_node("Transpose", ["w3"], ["w3t"]),
        helper.make_node("MatMul", ["xq", "w3t"], ["c"], name="c"),
    ]
    initializers = {"w": weights(4, 4)} | parameters("xq") | parameters("w1") | parameters("w3", scale=0.25)
    result = cost(model(nodes, initializers, inputs={"x": [1, 4]}, outputs=["a", "b", "c"]))
    assert [p.dense.weight_bits for p in result.layers] == [64, 64, 64]
    assert result.dense.weight_bits == 128
    assert result.dense.activation_bits == 16
    assert result.operators[0].dense == result.dense
    assert [p.name for p in result.layers] == ["a", "b", "c"]


def test_a_table_of_embeddings_is_weights():
    nodes = [
        quant("w", "wq"),
        helper.make_node("Gather", ["wq", "ids"], ["e"], name="embedding"),
        helper.make_node("Flatten", ["e"], ["f"]),
        quant("v", "vq"),
        helper.make_node("MatMul", ["f", "vq"], ["y"]),
    ]
    initializers = {"w": weights(10, 3), "v": weights(6, 2)} | parameters("wq") | parameters("vq", bits=2.0)
    source = model(nodes, initializers, inputs={"ids": [1, 2]}, outputs=["y"], input_type=TensorProto.INT64)
    result = cost(source)
    assert [(p.operator, p.dense.macs, p.dense.weight_bits) for p in result.layers] == [
        ("Gather", 0, 120),
        ("MatMul", 12, 24),
    ]


@pytest.mark.parametrize("batch", [1, "N", 8])
def test_figures_are_those_of_one_sample(batch):
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Reshape", ["c", "shape"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    size = batch if isinstance(batch, int) else -1
    shape = [size, -1] if size > 0 else [0, -1]
    initializers = {"k": weights(3, 2, 3, 3), "shape": np.int64(shape), "w": weights(48, 5)}
    result = cost(model(nodes, initializers, inputs={"x": [batch, 2, 4, 4]}, outputs=["y"]))
    assert result.samples == 1
    assert result.dense.macs == 16 * 3 * 2 * 9 + 48 * 5
    assert result.dense.activation_bits == 32 * (2 * 16 + 48)
    assert not result.findings


def test_a_batch_whose_samples_are_mixed_is_counted_whole():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("ReduceMean", ["h", "axis"], ["y"], keepdims=0),
    ]
    source = model(nodes, {"w": weights(3, 2), "axis": np.int64([0])}, inputs={"x": [8, 3]}, outputs=["y"])
    result = cost(source)
    assert (result.samples, result.dense.macs) == (8, 8 * 6)
    (finding,) = result.findings
    assert finding.severity is Severity.WARNING
    assert "8" in finding.problem


def test_a_free_batch_whose_samples_are_mixed_counts_as_one():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("ReduceMean", ["h", "axis"], ["m"], keepdims=1),
        helper.make_node("MatMul", ["m", "v"], ["y"]),
    ]
    initializers = {"w": weights(3, 2), "v": weights(2, 2), "axis": np.int64([0])}
    result = cost(model(nodes, initializers, inputs={"x": ["N", 3]}, outputs=["y"]))
    assert (result.samples, result.dense.macs) == (1, 10)


def test_inputs_of_different_first_dimensions_have_no_batch():
    nodes = [helper.make_node("MatMul", ["a", "b"], ["y"])]
    result = cost(model(nodes, {}, inputs={"a": [4, 3], "b": [3, 2]}, outputs=["y"]))
    assert (result.samples, result.dense.macs) == (None, 24)


def test_a_free_image_size_leaves_what_follows_from_it_open():
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"], name="conv"),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["y"], name="head"),
    ]
    initializers = {"k": weights(3, 2, 3, 3), "w": weights(3, 5)}
    result = cost(model(nodes, initializers, inputs={"x": ["N", 2, "H", "W"]}, outputs=["y"]))
    conv, head = result.layers
    assert (conv.dense.macs, conv.dense.bit_operations, conv.dense.activation_bits) == (None, None, None)
    assert conv.dense.weight_bits == 32 * 54
    assert head.dense.macs == 15
    assert (result.dense.macs, result.sparse.macs, result.dense.formats) == (None, None, ())
    assert result.dense.weight_bits == 32 * (54 + 15)
    assert [o.elements for o in result.others] == [None, None]
    (finding,) = result.findings
    assert (finding.node, finding.severity) == ("Conv 'conv'", Severity.ERROR)
    assert "dimension 2" in finding.problem


def test_functions_are_counted_through():
    body = [helper.make_node("MatMul", ["a", "b"], ["c"])]
    function = helper.make_function("mine", "product", ["a", "b"], ["c"], body, [helper.make_opsetid("", 21)])
    node = helper.make_node("product", ["x", "w"], ["y"], domain="mine")
    source = model(
        [node],
        {"w": weights(3, 5)},
        inputs={"x": [1, 3]},
        outputs=["y"],
        imports={"": 21, "mine": 1},
        functions=[function],
    )
    assert cost(source).dense.macs == 15


def test_the_model_stays_as_it_is():
    read = ir.from_proto(mlp(batch="N"))
    before = ir.to_proto(read).SerializeToString(deterministic=True)
    cost(read)
    assert ir.to_proto(read).SerializeToString(deterministic=True) == before


def test_a_model_without_nodes_costs_nothing():
    result = cost(model([], {}, inputs={"x": [1, 3]}, outputs=["x"]))
    assert (result.dense.macs, result.dense.weight_bits, result.dense.formats) == (0, 0, ())


def test_an_unreadable_model_is_an_error():
    with pytest.raises(ModelFileError):
        cost(b"no model")


def test_a_model_that_contradicts_itself_has_no_cost():
    node = helper.make_node("MatMul", ["x", "w"], ["h"])
    product = helper.make_node("MatMul", ["h", "v"], ["y"])
    source = model([node, product], {"w": weights(4, 3), "v": weights(3, 3)}, inputs={"x": [1, 3]}, outputs=["y"])
    with pytest.raises(InvalidModelError, match="do not fit"):
        cost(source)
