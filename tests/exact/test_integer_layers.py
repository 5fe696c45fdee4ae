"""Integer products against the reference engine: sums, scales and biases; and why others are none."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

import anybit
from anybit.analysis.values.interpreter import values_of
from anybit.errors import Refusal
from anybit.exact.integer_layers import IntegerProduct, find_layers, read_product
from tests.formats.qdq.linear_models import loaded
from tests.models import model, parameters, quant

_RNG = np.random.default_rng(5)


def _floats(*shape: int) -> np.ndarray:
    return _RNG.normal(size=shape).astype(np.float32)


def _proto(op_type: str, shape: list[Any], weights: np.ndarray, bias: Any = None, *, behind=(), **options: Any):
    """x and weights of four bits, multiplied; `scale` and `w_scale` are what their levels stand for."""
    known = parameters("q", scale=options.pop("scale", 0.25), zeropt=options.pop("zeropt", 0.0), bits=4)
    known |= parameters("wq", scale=options.pop("w_scale", 0.5), bits=4) | {"w": weights}
    known |= options.pop("constants", {}) | ({} if bias is None else {"b": np.asarray(bias, np.float32)})
    names = ["q", "wq"] + ([] if bias is None else ["b"])
    made = helper.make_node(op_type, names, ["s"], name="product", **options)
    return model([quant("x", "q"), quant("w", "wq"), made, *behind], known, inputs={"x": shape}, outputs=["s"])


def _read(proto, *, by_term: bool = False) -> IntegerProduct | Refusal:
    source = loaded(proto)
    return read_product(source.graph.node("product"), source.opset_imports, values_of(source), by_term=by_term)


_TERMS = np.float32([[0.5], [0.25], [0.125]])
PRODUCTS: dict[str, tuple[Any, ...]] = {
    "MatMul": ("MatMul", [5, 3], _floats(3, 4), None, {}),
    "MatMul of sequences": ("MatMul", [2, 5, 3], _floats(3, 4), None, {}),
    "MatMul by channel": ("MatMul", [5, 3], _floats(3, 4), None, {"w_scale": np.float32([0.5, 0.25, 0.125, 1])}),
    "Gemm": ("Gemm", [5, 3], _floats(3, 4), _floats(4), {"alpha": 0.5, "beta": 2.0}),
    "Gemm of one bias": ("Gemm", [5, 3], _floats(3, 4), _floats(1), {}),
    "Gemm transposed": ("Gemm", [5, 3], _floats(4, 3), None, {"transB": 1, "alpha": -1.0}),
    "Conv": ("Conv", [2, 3, 5, 5], _floats(4, 3, 2, 2), _floats(4), {"pads": [1, 0, 1, 0]}),
    "Conv by channel": ("Conv", [2, 3, 5], _floats(4, 3, 2), None, {"w_scale": _floats(4, 1, 1) ** 2 + 0.1}),
    "Conv in groups": ("Conv", [2, 4, 5], _floats(6, 2, 2), None, {"group": 2, "strides": [2]}),
    "Conv of channels apart": ("Conv", [2, 3, 5], _floats(6, 1, 2), None, {"group": 3, "scale": _TERMS}),
}


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_no_integers_whatever_the_file_says(number: float):
    """NaN is within any bounds; infinity leaves those of the format that is stated."""
    node = helper.make_node("MatMul", ["q", "w"], ["m"], name="product")
    known = parameters("q") | parameters("y") | {"w": np.full((3, 2), number, np.float32)}
    proto = model([quant("x", "q"), node, quant("m", "y")], known, inputs={"x": ["N", 3]}, outputs=["y"])
    entry = proto.graph.quantization_annotation.add(tensor_name="w")
    entry.quant_parameter_tensor_names.add(key="finn_datatype", value="INT4")
    found = _read(proto)
    assert isinstance(found, Refusal)
    assert ("weights that are no numbers" in found.problem) == np.isnan(number)


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_is_what_its_sums_stand_for(name: str):
    op_type, shape, weights, bias, options = PRODUCTS[name]
    proto = _proto(op_type, shape, weights, bias, **options)
    product = _read(proto)
    assert isinstance(product, IntegerProduct)
    x = _RNG.normal(size=shape).astype(np.float32)
    found = anybit.Session(proto, engine="reference", tensors=["q", "s"]).run(x)
    axis = 1 if op_type == "Conv" else found["s"].ndim - 1
    rows = np.moveaxis(found["s"], axis, -1).reshape(-1, product.channels).astype(np.float64)
    shift = 0.0 if product.bias is None else product.bias
    sums = np.rint((rows - shift) / product.scale)
    np.testing.assert_allclose(sums * product.scale + shift, rows, rtol=1e-5, atol=1e-6)
    assert (product.lo <= sums).all()
    assert (sums <= product.hi).all()
    np.testing.assert_allclose(product.numbers.reals(sums), rows, rtol=1e-5, atol=1e-6)
    assert product.laid(sums[:1]).reshape(-1).tolist() == sums[0].tolist()
    assert np.broadcast_shapes(product.laid(sums[:1]).shape, (1, *found["s"].shape[1:])) == (1, *found["s"].shape[1:])


def test_weights_are_the_integers_of_the_levels():
    weights = np.float32([[1, -2], [3, 0.4], [0.3, -9]])  # in steps of a half: 2, -4, 6, 1, 1, -8
    for op_type, options, given in (("MatMul", {}, weights), ("Gemm", {"transB": 1}, weights.T)):
        product = _read(_proto(op_type, [5, 3], given, **options))
        assert isinstance(product, IntegerProduct)
        np.testing.assert_array_equal(product.weights, [[2, -4], [6, 1], [1, -8]])
        assert product.magnitudes.tolist() == [9, 13]
        assert (product.lo.tolist(), product.hi.tolist()) == ([-8 * 9, -8 * 1 - 7 * 12], [7 * 9, 7 * 1 + 8 * 12])
    conv = _read(_proto("Conv", [2, 3, 5], weights.T[:, :, None]))
    assert isinstance(conv, IntegerProduct)
    np.testing.assert_array_equal(conv.weights[:, :, 0], [[2, 6, 1], [-4, 1, -8]])
    assert conv.magnitudes.tolist() == [9, 13]


def test_a_bias_is_scaled_as_gemm_says():
    product = _read(_proto("Gemm", [5, 3], _floats(3, 2), [[3.0, -1.0]], alpha=0.5, beta=2.0))
    assert isinstance(product, IntegerProduct)
    assert product.bias is not None
    assert product.bias.tolist() == [6, -2]
    assert product.scale.tolist() == [0.25 * 0.5 * 0.5] * 2
    conv = _read(_proto("Conv", [2, 3, 5], _floats(2, 3, 1), [3.0, -1.0]))
    assert isinstance(conv, IntegerProduct)
    assert conv.bias is not None
    assert conv.bias.tolist() == [3, -1]


_BY_TERM = np.float32([0.5, 0.25, 0.125])
BY_TERM: dict[str, tuple[Any, ...]] = {
    "MatMul": ("MatMul", [5, 3], _floats(3, 4), {"scale": _BY_TERM}),
    "MatMul of sequences": ("MatMul", [2, 5, 3], _floats(3, 4), {"scale": _BY_TERM[None, None]}),
    "Gemm transposed": ("Gemm", [5, 3], _floats(4, 3), {"transB": 1, "alpha": -1.0, "scale": _BY_TERM}),
    "Conv": ("Conv", [2, 3, 5], _floats(4, 3, 2), {"scale": _BY_TERM[:, None], "w_scale": _floats(4, 1, 1) ** 2 + 0.1}),
    "Conv in groups": (
        "Conv",
        [2, 4, 5],
        _floats(6, 2, 2),
        {"group": 2, "scale": np.float32([[0.5], [2], [4], [0.25]])},
    ),
}


@pytest.mark.parametrize("name", BY_TERM)
def test_scales_of_the_terms_are_in_the_weights(name: str):
    op_type, shape, weights, options = BY_TERM[name]
    proto = _proto(op_type, shape, weights, **options)
    assert isinstance(_read(proto), Refusal)
    product = _read(proto, by_term=True)
    assert isinstance(product, IntegerProduct)
    x = _RNG.normal(size=shape).astype(np.float32)
    found = anybit.Session(proto, engine="reference", tensors=["q", "s"]).run(x)
    axis = 1 if op_type == "Conv" else found["s"].ndim - 1
    levels = (found["q"] / options["scale"]).astype(np.float64)
    product_of = {"MatMul": "MatMul", "Gemm": "MatMul", "Conv": "Conv"}[op_type]
    group = {"group": options["group"]} if "group" in options else {}
    node = helper.make_node(product_of, ["x", "w"], ["s"], **group)
    plain = model([node], {"w": product.weights.astype(np.float32)}, inputs={"x": shape}, outputs=["s"])
    sums = anybit.run(plain, levels.astype(np.float32), engine="reference")["s"].astype(np.float64)
    expected = np.moveaxis(found["s"], axis, -1)
    np.testing.assert_allclose(np.moveaxis(sums, axis, -1) * product.scale, expected, rtol=1e-5, atol=1e-6)
    by_channel = np.moveaxis(sums, axis, -1).reshape(-1, product.channels)
    assert (product.lo <= by_channel).all()
    assert (by_channel <= product.hi).all()


def test_a_scale_along_another_axis_is_none_of_the_terms():
    found = _read(_proto("MatMul", [2, 3, 3], _floats(3, 4), scale=_BY_TERM[:, None]), by_term=True)
    assert isinstance(found, Refusal)


@pytest.mark.parametrize(
    ("proto", "problem"),
    [
        (_proto("Gemm", [3, 5], _floats(3, 4), transA=1), "a transposed input"),
        (_proto("MatMul", [2, 5, 3], _floats(2, 3, 4)), "weights that are no matrix"),
        (_proto("MatMul", [5, 3], _floats(3, 4), scale=_BY_TERM), "more than one scale for a sum"),
        (_proto("Conv", [2, 3, 5], _floats(4, 3, 2), scale=_BY_TERM[:, None]), "more than one scale for a sum"),
        (_proto("Gemm", [5, 3], _floats(3, 4), _floats(5, 4)), "the bias is not known by channel"),
    ],
)
def test_a_product_that_is_none_of_integers_says_why(proto, problem: str):
    found = _read(proto)
    assert isinstance(found, Refusal)
    assert found.node.endswith("'product'")
    assert problem in found.problem


def _changed(name: str, change) -> Refusal:
    source = loaded(_proto("Gemm", [5, 3], _floats(3, 4), _floats(4)))
    values, node = values_of(source), source.graph.node(name)
    change(node)
    found = read_product(node, source.opset_imports, values)
    assert isinstance(found, Refusal)
    return found


def test_other_element_types_and_biases_that_are_computed_are_refused():
    def doubled(node: ir.Node) -> None:
        node.outputs[0].type = ir.TensorType(ir.DataType.DOUBLE)

    found = _changed("product", doubled)
    assert (found.problem, found.got, found.expected) == ("element type of a product", "DOUBLE", "FLOAT")
    found = _changed("product", lambda node: node.replace_input_with(2, node.inputs[0]))
    assert found.problem == "the bias is not known by channel"
    found = _changed("product", lambda node: node.replace_input_with(1, node.inputs[0]))
    assert found.problem == "no product of a quantised tensor and quantised weights"


def _behind(*nodes, constants=None, outputs=("y",)):
    proto = _proto("MatMul", [5, 3], _floats(3, 4), behind=nodes, constants=parameters("y") | (constants or {}))
    del proto.graph.output[:]
    proto.graph.output.extend(helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs)
    source = loaded(proto)
    return find_layers(source, values_of(source))


_RELU = helper.make_node("Relu", ["s"], ["r"], name="relu")


@pytest.mark.parametrize(
    ("nodes", "constants", "outputs", "problem", "node"),
    [
        ([], {}, ["s"], "no quantiser follows", "MatMul 'product'"),
        ([_RELU], {}, ["r"], "no quantiser follows", "Relu 'relu'"),
        ([quant("s", "y")], {}, ["y", "s"], "no quantiser follows", "MatMul 'product'"),
        ([_RELU, quant("s", "y")], {}, ["y", "r"], "its sums have several users", "MatMul 'product'"),
        ([helper.make_node("Softmax", ["s"], ["y"], name="soft")], {}, ["y"], "element by element", "Softmax 'soft'"),
        (
            [quant("s", "y")],
            {"y_scale": np.full((5, 1), 0.5, np.float32) * np.float32([[1], [2], [3], [4], [5]])},
            ["y"],
            "a parameter that is not one by channel",
            "Quant 'y_node'",
        ),
    ],
)
def test_a_product_without_a_quantiser_is_no_layer(nodes, constants, outputs, problem: str, node: str):
    layers, (refusal,) = _behind(*nodes, constants=constants, outputs=outputs)
    assert layers == []
    assert problem in refusal.problem
    assert refusal.node == node


@pytest.mark.parametrize("scale", [0.5, np.float32([0.5, 0.25, 1, 2])])
def test_levels_of_a_layer_are_those_of_its_quantiser(scale):
    (layer,), refusals = _behind(_RELU, quant("r", "y", signed=0), constants=parameters("y", scale=scale))
    assert refusals == []
    assert layer.quantizer.op_type == "Quant"
    sums = np.broadcast_to(np.arange(-60.0, 60)[:, None], (120, 4))
    expected = np.clip(np.rint(np.maximum(sums * 0.125, 0) / scale), 0, 15)
    np.testing.assert_array_equal(layer.function(sums), expected)
    np.testing.assert_array_equal(layer.levels_of(layer.numbers.reals(sums)), expected)
    some = np.array([2, 0])
    np.testing.assert_array_equal(layer.function_of(some)(sums[:, some]), expected[:, some])
    lo, hi = layer.function_of(some).ends
    assert (lo.tolist(), hi.tolist()) == (layer.lo[some].tolist(), layer.hi[some].tolist())
