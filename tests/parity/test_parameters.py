"""Parameters in a format, constants that stay, quantisers on tensors, and a rebalanced Im2Col, as in the package."""

from __future__ import annotations

import pytest

pytest.importorskip("qonnx", reason="the qonnx package is not installed: make test-qonnx")

import numpy as np
from onnx import helper
from qonnx.core.datatype import DataType
from qonnx.transformation.fixedpt_quantize import FixedPointQuantizeParams, FixedPointQuantizeParamsFromDict
from qonnx.transformation.fold_constants import FoldConstantsFiltered
from qonnx.transformation.quantize_graph import QuantizeGraph
from qonnx.transformation.rebalance_conv import RebalanceIm2Col
from qonnx.util.basic import gen_finn_dt_tensor

import anybit
from anybit.number_formats import numpy_type, parse_number_format, random_values, smallest_number_format
from anybit.ops.operator import DOMAIN
from tests.models import model
from tests.parity.bridge import executed, wrapped

FORMATS = ("FIXED<6,3>", "FIXED<8,5>", "FIXED<12,4>")  # with room for all: the package fails where it has to clip


def _affine(rng: np.random.Generator):
    nodes = [
        helper.make_node("Mul", ["x", "w"], ["h"], name="mul"),
        helper.make_node("Add", ["h", "b"], ["y"], name="add"),
    ]
    constants = {k: rng.uniform(-3.9, 3.8, 3).astype(np.float32) for k in "wb"}
    return model(nodes, constants, inputs={"x": [2, 3]}, outputs=["y"])


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("mode", ["ROUND", "CEIL", "FLOOR", "HALF_UP", "HALF_DOWN"])
def test_parameters_are_rounded_to_the_same_numbers(name, mode):
    proto = _affine(np.random.default_rng(0))
    theirs = wrapped(proto).transform(FixedPointQuantizeParams(name, rounding_mode=mode))
    ours = anybit.apply(proto, [f"quantize-parameters:number_format={name},rounding={mode}"]).model
    for tensor in "wb":
        np.testing.assert_array_equal(
            ours.graph.initializers[tensor].const_value.numpy(), theirs.get_initializer(tensor)
        )
        assert str(anybit.annotations.number_format(ours, tensor)) == theirs.get_tensor_datatype(tensor).name
    only = wrapped(proto).transform(FixedPointQuantizeParamsFromDict({"w": name}))
    named = anybit.apply(proto, [f'quantize-parameters:tensors={{"w": "{name}"}}']).model
    for tensor in "wb":
        np.testing.assert_array_equal(
            named.graph.initializers[tensor].const_value.numpy(), only.get_initializer(tensor)
        )


def test_the_same_constants_stay():
    nodes = [
        helper.make_node("Neg", ["c"], ["d"], name="kept"),
        helper.make_node("Exp", ["c"], ["e"], name="folded"),
        helper.make_node("Sum", ["x", "d", "e"], ["y"], name="sum"),
    ]
    proto = model(nodes, {"c": np.float32([1, 2])}, inputs={"x": [2]}, outputs=["y"])
    theirs = wrapped(proto).transform(FoldConstantsFiltered(lambda _, n: n.op_type != "Neg"))
    ours = anybit.apply(proto, ['fold-constants:keep=["Neg"]']).model
    assert [n.op_type for n in ours.graph] == [n.op_type for n in theirs.graph.node]


def test_quantisers_on_tensors_compute_the_same():
    proto = _affine(np.random.default_rng(1))
    places = {
        "mul": [(("input", 0), (0.5, 1, 4, 0, 1, "FLOOR"))],
        "add": [(("input", 0), (0.25, 0, 5, 1, 0, "ROUND"))],
    }
    theirs = wrapped(proto).transform(QuantizeGraph({"name": places}))
    settings = {
        "x": {"bits": 4, "scale": 0.5, "zero_point": 1, "rounding": "FLOOR"},
        "h": {"bits": 5, "scale": 0.25, "signed": False, "narrow": True},
    }
    text = str(settings).replace("'", '"').replace("True", "true").replace("False", "false")
    ours = anybit.apply(proto, [f"insert-quantizers:tensors={text}"]).model
    feeds = {"x": np.random.default_rng(2).normal(size=(2, 3)).astype(np.float32) * 4}
    (expected,) = executed(theirs.model, {theirs.graph.input[0].name: feeds["x"]}).values()
    np.testing.assert_array_equal(anybit.run(ours, feeds)["y"], expected)


@pytest.mark.parametrize("channels", [2, 4])
def test_im2col_has_the_same_form(channels):
    node = helper.make_node(
        "Im2Col", ["x"], ["y"], name="rows", domain=DOMAIN, kernel_size=[4, 4], stride=[4, 4], pad_amount=[0, 0, 0, 0],
        input_shape="(1,8,8,1)", dilations=[1, 1], depthwise=0, pad_value=0,
    )  # fmt: skip
    proto = model([node], {}, inputs={"x": [1, 8, 8, 1]}, outputs=["y"])
    entry = proto.graph.quantization_annotation.add(tensor_name="x")
    entry.quant_parameter_tensor_names.add(key="finn_datatype", value="FLOAT32")  # the package's Im2Col asks for one
    theirs = wrapped(proto).transform(RebalanceIm2Col(channels))
    theirs.set_tensor_datatype(theirs.graph.node[1].input[0], DataType["FLOAT32"])
    ours = anybit.to_proto(anybit.apply(proto, [f"rebalance-im2col:channels={channels}"]).model)
    for name in ("kernel_size", "stride"):
        pair = [next(list(a.ints) for a in g.node[1].attribute if a.name == name) for g in (ours.graph, theirs.graph)]
        assert pair[0] == pair[1]
    feeds = {"x": np.random.default_rng(0).normal(size=(1, 8, 8, 1)).astype(np.float32)}
    np.testing.assert_array_equal(anybit.run(ours, feeds)["y"], executed(theirs.model, feeds)["y"])


@pytest.mark.parametrize("value", [-9, -1, 0, 1, 2, 255, 256, -128, -129])
def test_the_smallest_format_of_a_number(value):
    theirs, ours = DataType.get_smallest_possible(value), smallest_number_format(np.array([value]))
    assert ours.bits <= theirs.bitwidth()
    assert ours.allows([value]).all()


@pytest.mark.parametrize("name", ["INT3", "UINT8", "BIPOLAR", "TERNARY", "FIXED<8,3>", "BINARY"])
def test_random_numbers_and_numpy_types(name):
    number_format, theirs = parse_number_format(name), DataType[name]
    assert all(theirs.allowed(v) for v in random_values(number_format, (20,)))
    assert number_format.allows(gen_finn_dt_tensor(theirs, (20,))).all()
    if theirs.is_integer():
        assert numpy_type(number_format).kind in "iu"
