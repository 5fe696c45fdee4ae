"""prepare: what is handed over, and what is said to stand in the way."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import pytest
from onnx import helper

import anybit
from anybit.errors import Severity, UsageError
from anybit.graph.annotations import annotated_number_format
from anybit.number_formats import IntFormat, parse_number_format
from anybit.targets.finn.prepare import FinnForm, prepare_finn
from tests.hardware.features import FEATURES
from tests.models import DOMAIN, model, parameters, quant
from tests.targets.finn.nets import BY_CHANNEL, by_channel, joined, squeezed, unet
from tests.targets.hls4ml.nets import Net, flipped, then


def net(
    nodes=(), constants: Mapping[str, np.ndarray] | None = None, *, inputs=None, outputs=("y",), head: bool = True
) -> onnx.ModelProto:
    """Quant x, MatMul to "sums", and the nodes given."""
    known = {"w": np.random.default_rng(0).integers(-3, 4, (6, 3)).astype(np.float32)}
    known |= parameters("xq") | parameters("wq", scale=1.0, bits=3.0) | dict(constants or {})
    first = [quant("x", "xq")] if head else []
    product = helper.make_node("MatMul", ["xq" if head else "x", "wq"], ["sums"], name="product")
    return model(
        [*first, quant("w", "wq"), product, *nodes], known, inputs=inputs or {"x": (1, 6)}, outputs=outputs, opset=20
    )


def rules(handover, severity: Severity = Severity.ERROR) -> set[str]:
    return {f.rule for f in handover.findings if f.severity is severity}


def test_a_file_as_finn_reads_it(tmp_path):
    handover = prepare_finn(net([quant("sums", "y")], parameters("y", scale=0.5)))
    assert handover.ready
    assert handover.comparison is not None
    assert handover.comparison.equal
    assert [r.node for r in handover.rewrites] == ["Quant 'xq_node'", "Quant 'y_node'"]
    anybit.save(handover.model, tmp_path / "m.onnx")
    file = onnx.load(tmp_path / "m.onnx")
    assert {o.domain: o.version for o in file.opset_import}[DOMAIN] == 1
    assert [n.op_type for n in file.graph.node] == ["MultiThreshold", "MatMul", "MultiThreshold", "Mul"]
    assert len({n.name for n in file.graph.node}) == 4
    stated = {a.tensor_name: a.quant_parameter_tensor_names[0].value for a in file.graph.quantization_annotation}
    product = file.graph.node[1]
    assert [stated[name] for name in product.input] == ["INT4", "INT3"]
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in file.graph.initializer}[product.input[1]]
    assert weights.dtype == np.float32
    np.testing.assert_array_equal(weights, np.rint(weights))
    assert [d.dim_value for d in file.graph.input[0].type.tensor_type.shape.dim] == [1, 6]


def test_the_batch_becomes_one():
    handover = prepare_finn(net([quant("sums", "y")], parameters("y"), inputs={"x": ("N", 6)}))
    assert handover.ready
    assert handover.model.graph.inputs[0].shape[0] == 1


def test_a_dynamic_size_stands_in_the_way():
    nodes = [helper.make_node("Conv", ["x", "k"], ["c"]), quant("c", "y")]
    constants = {"k": np.ones((1, 1, 1, 1), np.float32)} | parameters("y")
    source = model(nodes, constants, inputs={"x": (1, 1, "H", "W")}, outputs=["y"])
    assert "dynamic-shape" in rules(prepare_finn(source))
    assert "dynamic-shape" in rules(prepare_finn(source, form=FinnForm.QONNX))


def test_nodes_of_one_name_are_told_apart():
    nodes = [quant("sums", "a"), quant("sums", "b"), helper.make_node("Concat", ["a", "b"], ["y"], axis=1)]
    nodes[0].name = nodes[1].name = "twice"
    handover = prepare_finn(net(nodes, parameters("a") | parameters("b")))
    names = [n.name for n in handover.model.graph]
    assert len(set(names)) == len(names)
    assert all(names)


def test_a_stated_input_needs_no_thresholds():
    source = net([quant("sums", "y")], parameters("y", scale=2.0), head=False)
    plain = prepare_finn(source)
    assert "no-hardware" in rules(plain)
    handover = prepare_finn(source, input_types={"x": parse_number_format("UINT8")})
    assert handover.ready
    assert not rules(handover, Severity.WARNING)
    assert annotated_number_format(handover.model.graph.inputs[0]) == IntFormat(8, signed=False)
    assert [n.op_type for n in handover.model.graph] == ["MatMul", "MultiThreshold", "Mul"]


@pytest.mark.parametrize(("name", "datatype"), [("z", "UINT8"), ("x", "FLOAT32")])
def test_a_wrong_statement_is_misuse(name: str, datatype: str):
    with pytest.raises(UsageError):
        prepare_finn(net([quant("sums", "y")], parameters("y")), input_types={name: parse_number_format(datatype)})


def test_a_softmax_is_cut_off_only_if_asked():
    nodes = [helper.make_node("Softmax", ["sums"], ["p"], name="softmax"), helper.make_node("Identity", ["p"], ["y"])]
    assert rules(prepare_finn(net(nodes))) == {"no-form"}
    handover = prepare_finn(net(nodes), logits=True)
    assert handover.ready
    assert any(r.node == "Softmax 'softmax'" for r in handover.rewrites)
    assert [v.name for v in handover.model.graph.outputs] == ["y"]


def test_a_function_that_rises_and_falls_is_named():
    nodes = [helper.make_node("Abs", ["sums"], ["a"], name="abs"), quant("a", "q"), *second("q")]
    handover = prepare_finn(net(nodes, parameters("q", scale=0.05) | SECOND))
    (finding,) = [f for f in handover.findings if f.rule == "quantiser"]
    assert finding.node == "Quant 'q_node'"
    assert "Abs 'abs'" in finding.got


SECOND = {"v": np.ones((3, 3), np.float32)} | parameters("vq", scale=1.0)


def second(x: str) -> list[onnx.NodeProto]:
    return [quant("v", "vq"), helper.make_node("MatMul", [x, "vq"], ["y"], name="second")]


def test_real_numbers_between_integer_layers_are_named():
    nodes = [helper.make_node("LayerNormalization", ["sums", "g"], ["n"], name="norm"), quant("n", "q"), *second("q")]
    handover = prepare_finn(net(nodes, parameters("q") | SECOND | {"g": np.ones(3, np.float32)}))
    (finding,) = [f for f in handover.findings if f.rule == "real-between"]
    assert finding.got


def test_wide_levels_are_named():
    nodes = [quant("sums", "q"), *second("q")]
    assert rules(prepare_finn(net(nodes, parameters("q", scale=0.01, bits=10.0) | SECOND))) == {"width"}


def image(*, bipolar: bool = False, group: int = 1, pads=(0, 0, 0, 0), channels: int = 4, pool=None):
    constants = parameters("xq") | parameters("wq", scale=0.25, bits=3.0) | parameters("y", scale=0.5)
    constants["w"] = np.random.default_rng(0).normal(size=(4, channels // group, 3, 3)).astype(np.float32)
    first = quant("x", "xq")
    if bipolar:
        first = helper.make_node("BipolarQuant", ["x", "xq_scale"], ["xq"], domain=DOMAIN)
    conv = helper.make_node("Conv", ["xq", "wq"], ["c"], name="conv", group=group, pads=list(pads))
    nodes = [first, quant("w", "wq"), conv, quant("c", "y" if pool is None else "q", prefix="y")]
    if pool is not None:
        nodes.append(helper.make_node("MaxPool", ["q"], ["y"], kernel_shape=[2, 2], strides=list(pool)))
    return model(nodes, constants, inputs={"x": (1, channels, 6, 6)}, outputs=["y"])


@pytest.mark.parametrize(
    ("features", "rule"),
    [
        ({"bipolar": True, "pads": (1, 1, 1, 1)}, "bipolar-padding"),
        ({"pool": (3, 3)}, "pool-stride"),
    ],
)
def test_what_finn_has_no_layer_for_is_named(features, rule: str):
    assert rules(prepare_finn(image(**features))) == {rule}


@pytest.mark.parametrize(
    "features",
    [{}, {"group": 2}, {"group": 4, "pads": (1, 1, 1, 1)}, {"pool": (2, 2)}, {"pool": (1, 1)}, {"bipolar": True}],
)
def test_images_are_taken(features):
    handover = prepare_finn(image(**features))
    assert handover.ready
    layouts = {n.attributes["data_layout"].value for n in handover.model.graph if n.op_type == "MultiThreshold"}
    assert layouts == {"NCHW"}


def refusals(name: str, form: str = "dialect") -> set[str]:
    """The rules that stand in the way of a one-feature model."""
    return rules(prepare_finn(FEATURES[name](), form=form))


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("MaxPool, padded, overlapping", "pool"),
        ("MaxPool, pads of one side", "pool"),
        ("MaxPool, ceil mode", "pool"),
        ("MaxPool, dilated", "pool"),
        ("product of matrices", "rank"),
        ("weights of zeros", "zero-weights"),
        ("conv, image of one row, padded to two", "kernel"),
        ("concat along rows", "concat-axis"),
        ("concat along columns", "concat-axis"),
        ("transposed in the middle", "layout"),
        ("Reshape in the middle", "real-between"),
        ("Flatten, Add by element, quantiser", "flatten"),
    ],
)
def test_what_finns_builder_stops_at_is_named(name: str, rule: str):
    assert rule in refusals(name)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "conv, two groups",
            "conv, depthwise of two",
            "GlobalMaxPool",
            "ReduceMax",
            "Pad of zeros",
            "conv, four pads",
        ),
        *("Add of a tensor to itself", "concat along a negative axis", "Reshape to an image", "residual of the input"),
        *("Flatten, quantiser, dense", "Flatten, Relu, quantiser, dense", "Transpose, Flatten, dense", "NHWC output"),
        *("conv, image of one row, padded kernel", "conv, image of one pixel, padded kernel"),
        *("MaxPool, image left over", "MaxPool, oblong strides", "two quantisers, unequal ratios"),
    ],
)
def test_what_has_an_exact_equivalent_is_taken(name: str):
    handover = prepare_finn(FEATURES[name]())
    assert handover.ready, handover.findings
    assert handover.comparison is not None
    assert handover.comparison.equal


def test_a_padded_pool_of_numbers_without_sign_is_taken():
    source = Net(3, 6, 6).quant().conv(3, 4).op("Relu").quant(signed=0)
    source.op("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]).conv(4, 3, kernel=(1, 1)).quant()
    assert rules(prepare_finn(source.proto())) == set()


@pytest.mark.parametrize("name", ["conv 1x1, padded", "conv 1x1, padded, depthwise", "pooled branch beside a layer"])
def test_a_padded_kernel_of_one_pixel_gets_a_row_of_zeros(name: str):
    handover = prepare_finn(FEATURES[name]())
    assert handover.ready, handover.findings
    assert handover.comparison is not None
    assert handover.comparison.equal
    kernels = {tuple(n.attributes["kernel_shape"].value) for n in handover.model.graph if n.op_type == "Conv"}
    assert (2, 1) in kernels


@pytest.mark.parametrize("form", FinnForm)
def test_an_older_opset_becomes_one_that_finn_writes_pools_for(form: FinnForm):
    handover = prepare_finn(FEATURES["image of opset 9"](), form=form)
    assert handover.ready, handover.findings
    assert handover.model.opset_imports[""] == 11


def test_a_ceil_mode_that_makes_no_difference_goes():
    source = Net(3, 6, 6).quant().conv(3, 4).quant()
    source.op("MaxPool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1).conv(4, 3, kernel=(1, 1)).quant()
    handover = prepare_finn(source.proto())
    assert handover.ready, handover.findings
    (pool,) = (n for n in handover.model.graph if n.op_type == "MaxPool")
    assert "ceil_mode" not in pool.attributes


def test_weights_of_minus_one_and_one_get_zeros_where_groups_become_one():
    handover = prepare_finn(Net(4, 5, 5).bipolar().conv(4, 6, 1.0, 0, group=2).quant(bits=2).proto())
    assert handover.ready, handover.findings
    assert handover.comparison is not None
    assert handover.comparison.equal
    (product,) = (n for n in handover.model.graph if n.op_type == "Conv")
    assert annotated_number_format(product.inputs[1]) == IntFormat(2, signed=True)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("two quantisers, coarser second", "levels"),
        ("two quantisers, unequal ratios", "levels"),
        ("two quantisers of the input", "levels"),
        ("MaxPool, oblong", "windows"),
        ("MaxPool, whole image", "windows"),
        ("Flatten, dense", "windows"),
        ("Flatten, Add by element, quantiser", "flatten"),
        ("Flatten, norm, quantiser", "flatten"),
        ("weights of zeros", "zero-weights"),
        ("conv 1x1, padded", "pads"),
    ],
)
def test_what_finns_own_steps_stop_at_is_named(name: str, rule: str):
    assert rule in refusals(name, "qonnx")


@pytest.mark.parametrize(
    "name",
    [
        *("Add of a constant first", "Add of a tensor to itself", "MaxPool of the input", "MaxPool at the end"),
        *("Flatten, Relu, quantiser, dense", "Relu of levels, quantised again", "Flatten at the end"),
    ],
)
def test_what_finns_own_steps_get_right_is_taken(name: str):
    assert refusals(name, "qonnx") == set()


def test_sums_of_different_formats_are_named():
    nodes = [
        quant("sums", "a"),
        quant("sums", "b"),
        helper.make_node("Add", ["a", "b"], ["t"]),
        helper.make_node("Relu", ["t"], ["r"]),
        quant("r", "y", signed=0),
    ]
    constants = parameters("a", scale=0.5) | parameters("b", scale=0.5, bits=3.0) | parameters("y", scale=0.4)
    assert rules(prepare_finn(net(nodes, constants))) == {"add-formats"}
    same = constants | parameters("b", scale=0.5)
    assert prepare_finn(net(nodes, same)).ready


@pytest.mark.parametrize(
    ("nodes", "constants", "rule"),
    [
        ([quant("sums", "y")], parameters("y", zeropt=1.0), "zero-point"),
        ([quant("sums", "y", rounding_mode="FLOOR")], parameters("y"), "rounding"),
        ([quant("sums", "y", signed=0)], parameters("y"), "signed"),
        ([quant("sums", "y")], parameters("y", bits=9.0), "width"),
        ([quant("sums", "y")], parameters("y", scale=np.float32([0.5, 0.25, 0.5])), "scale"),
        ([helper.make_node("Relu", ["sums"], ["r"]), quant("r", "y")], parameters("y"), "relu"),
        ([helper.make_node("Flatten", ["sums"], ["f"]), quant("f", "y")], parameters("y"), ""),
        (
            [quant("c", "cq"), helper.make_node("Add", ["sums", "cq"], ["t"]), quant("t", "y")],
            parameters("y") | parameters("cq") | {"c": np.ones(3, np.float32)},
            "bias",
        ),
        ([helper.make_node("Softmax", ["sums"], ["y"])], {}, "no-form"),
    ],
)
def test_rules_of_finns_own_reading(nodes, constants, rule: str):
    found = rules(prepare_finn(net(nodes, constants), form=FinnForm.QONNX))
    assert found == ({rule} if rule else set())


def test_what_finn_reads_by_itself_is_taken_with_a_word_on_ties():
    handover = prepare_finn(net([quant("sums", "y")], parameters("y")), form=FinnForm.QONNX)
    assert handover.ready
    assert rules(handover, Severity.WARNING) == {"ties"}
    assert "Quant" in [n.op_type for n in handover.model.graph]


def test_bipolar_alone_is_skipped_by_its_builder():
    constants = {"xq_scale": np.float32(1), "wq_scale": np.float32(1), "w": np.ones((4, 2), np.float32)}
    nodes = [
        helper.make_node("BipolarQuant", ["x", "xq_scale"], ["xq"], domain=DOMAIN),
        helper.make_node("BipolarQuant", ["w", "wq_scale"], ["wq"], domain=DOMAIN),
        helper.make_node("MatMul", ["xq", "wq"], ["y"]),
    ]
    source = model(nodes, constants, inputs={"x": (1, 4)}, outputs=["y"])
    assert rules(prepare_finn(source, form=FinnForm.QONNX)) == {"bipolar-only"}
    assert prepare_finn(source).ready


def test_windows_are_written_out():
    """FINN reads strides, pads, dilations and groups, and has no defaults for them."""
    constants = parameters("xq") | parameters("wq", scale=0.25, bits=3.0) | parameters("y", scale=0.5)
    constants["w"] = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    nodes = [
        quant("x", "xq"),
        quant("w", "wq"),
        helper.make_node("Conv", ["xq", "wq"], ["c"], auto_pad="SAME_UPPER", strides=[2, 2]),
        quant("c", "q", prefix="y"),
        helper.make_node("MaxPool", ["q"], ["y"], kernel_shape=[3, 3], strides=[3, 3]),
    ]
    handover = prepare_finn(model(nodes, constants, inputs={"x": (1, 3, 6, 6)}, outputs=["y"]))
    assert handover.ready
    by_type = {n.op_type: {k: a.value for k, a in n.attributes.items()} for n in handover.model.graph}
    windows = {"kernel_shape": (3, 3), "strides": (2, 2), "pads": (0, 0, 1, 1), "dilations": (1, 1), "group": 1}
    assert by_type["Conv"] == windows
    assert by_type["MaxPool"] == {"kernel_shape": (3, 3), "strides": (3, 3), "pads": (0, 0, 0, 0)}
    assert any(r.problem == "padding written out" for r in handover.rewrites)


def test_an_input_of_bytes_is_one_of_integers():
    constants = {"w": np.eye(6, 3, dtype=np.float32)} | parameters("wq", scale=0.5) | parameters("y", scale=2.0)
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=1),
        quant("w", "wq"),
        helper.make_node("MatMul", ["f", "wq"], ["sums"]),
        quant("sums", "y"),
    ]
    source = model(nodes, constants, inputs={"x": (1, 6)}, outputs=["y"], input_type=onnx.TensorProto.UINT8)
    handover = prepare_finn(source)
    assert handover.ready, handover.findings
    product = next(n for n in handover.model.graph if n.op_type == "MatMul")
    assert annotated_number_format(product.inputs[0]) == IntFormat(8, signed=False)


def ready(net: Net) -> set[str]:
    return rules(prepare_finn(net.proto(*net.outputs), form=FinnForm.QONNX))


def _requantised(second: Net) -> Net:
    return second.quant().dense(4, 3)


@pytest.mark.parametrize("op_type", "Abs Elu Erf Exp Selu Sigmoid Softplus Softsign Sqrt Tanh LeakyRelu".split())
def test_float_functions_are_none_that_finn_reads(op_type: str):
    assert ready(_requantised(Net(6).quant().dense(6, 4).op(op_type))) == {"no-form"}


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: Net(6).quant().dense(6, 4, np.linspace(0.1, 0.2, 6).reshape(6, 1)), "weight-scale"),
        (lambda: Net(6).quant(bits=1).dense(6, 4), "one-bit"),
        (lambda: Net(6).quant().dense(6, 4).bipolar(0.5), "scale"),
        (lambda: Net(4, 6, 6).quant().conv(4, 4, group=2), "group"),
        (lambda: Net(4, 6, 6).quant().conv(4, 4, group=4), "group"),
        (lambda: Net(4, 6).quant().conv(4, 4, kernel=(3,)), "rank"),
        (lambda: Net(4, 6).quant().dense(6, 4), "rank"),
        (lambda: Net(4, 6, 6).quant().conv(4, 4).quant().op("GlobalAveragePool"), "no-form"),
        (lambda: _fork(Net(6).quant(), "Add", 0.25, 0.5), "join"),
        (lambda: _fork(Net(6).quant(), "Add", 0.25, 0.25), "join"),
        (lambda: _fork(Net(6).quant(), "Mul", 0.25, 0.25), "join"),
        (lambda: flipped(Net(6).quant().dense(6, 4), "Div", 2.0), "no-form"),
        (lambda: Net(6).quant().dense(6, 4).op("Relu"), "relu"),
        (lambda: Net(4, 6, 6).quant().op("MaxPool", kernel_shape=[2, 2], strides=[1, 1]).conv(4, 4), "pool"),
        (
            lambda: Net(4, 5, 5).quant().op("MaxPool", kernel_shape=[2, 2], strides=[2, 2]).conv(4, 4, kernel=(1, 1)),
            "pool",
        ),
        (lambda: then(Net(4).quant(), "Mul", [1, 2, 1, 0.5]).bipolar().dense(4, 3), "levels"),
        (lambda: _between(Net(4, 6, 6).quant().conv(4, 4), "Add", np.ones((1, 4, 4, 4))).conv(4, 3), "constant"),
        (lambda: _between(Net(4, 6, 6).quant().conv(4, 4), "Mul", np.full((1, 1, 4, 4), 0.5)).conv(4, 3), "constant"),
        (lambda: _between(Net(4, 6, 6).quant().conv(4, 4), "Mul", [1, 2, 3, 0.5]).conv(4, 3), "constant"),
        (lambda: _between(Net(4, 6, 6).quant().conv(4, 4), "Mul", -1.5).conv(4, 3), "negative"),
        (lambda: _between(Net(6).quant().dense(6, 4), "Mul", -1.5).dense(4, 3), "negative"),
        (lambda: flipped(Net(6).quant().dense(6, 4), "Sub", 2.0).quant().dense(4, 3), "negative"),
        (lambda: Net(6).quant().dense(6, 4).norm(4, negative=True).quant().dense(4, 3), "negative"),
        (lambda: Net(4, 6, 6).quant().conv(4, 4).norm(4, negative=True).quant().conv(4, 3), "negative"),
        (lambda: Net(6).quant(), "no-hardware"),
        (lambda: Net(6).dense(6, 4), "no-hardware"),
    ],
)
def test_what_finn_gets_wrong_is_not_on_the_list(make, rule: str):
    assert rule in ready(make())


def _between(net: Net, op_type: str, operand: object) -> Net:
    """The net, a constant operand, and a quantiser behind it."""
    return then(net, op_type, operand).quant()


@pytest.mark.parametrize(
    "make",
    [
        lambda: _between(Net(6).quant().dense(6, 4), "Mul", [1, -2, 3, -0.5]).dense(4, 3),
        lambda: _between(Net(6).quant().dense(6, 4), "Add", [[1, 2, 3, 4.0]]).dense(4, 3),
        lambda: _between(Net(4, 6, 6).quant().conv(4, 4), "Div", np.float32([1, 2, 3, 4]).reshape(4, 1, 1)),
        lambda: then(Net(4, 6, 6).quant().conv(4, 4).quant().conv(4, 3), "Add", np.ones((1, 3, 2, 2))),
        lambda: Net(6).quant().dense(6, 4).quant().dense(4, 3).norm(3, negative=True),
        lambda: Net(6).quant().dense(6, 4).norm(4).op("Relu").quant(signed=0).dense(4, 3),
        lambda: Net(4, 8, 6).quant().conv(4, 4, kernel=(1, 3), pads=[1, 0, 0, 1]).quant().conv(4, 3, dilations=[2, 2]),
    ],
)
def test_what_finn_reads_right_is_on_the_list(make):
    assert ready(make()) == set()


@pytest.mark.parametrize(("transposed", "narrow"), [(True, 1), (True, 0), (False, 1), (False, 0)])
def test_factors_below_0_are_taken_where_the_weights_can_be_negated(transposed: bool, narrow: int):
    source = Net(6).quant()
    shape = (4, 6) if transposed else (6, 4)
    before, source.at = source.at, source.const(np.where(np.indices(shape).sum(axis=0) % 2, -1, 0.5))
    source.quant(0.125, bits=4, narrow=narrow)
    if transposed:
        source.op("Transpose", perm=[1, 0])
    made, source.at = source.at, before
    source.op("MatMul", made).norm(4, negative=True).op("Relu").quant(signed=0).dense(4, 3)
    assert ready(source) == (set() if narrow else {"negative"})


def test_scales_within_a_channel_are_seen_behind_a_transposition():
    source = Net(6).quant()
    before, scale = source.at, np.linspace(0.1, 0.2, 6)
    made = source.weights((4, 6), scale=scale)
    source.at = made
    made, source.at = source.op("Transpose", perm=[1, 0]).at, before
    assert "weight-scale" in ready(source.op("MatMul", made).quant().dense(4, 3))


def test_ties_are_named_at_every_scale():
    handover = prepare_finn(net([quant("sums", "y")], parameters("y", scale=0.3)), form=FinnForm.QONNX)
    assert handover.ready
    assert rules(handover, Severity.WARNING) == {"ties"}


def _fork(net: Net, op_type: str, *scales: float) -> Net:
    at, made = net.at, []
    for scale in scales:
        net.at = at
        made.append(net.dense(6, 4).quant(scale).at)
    return net.op(op_type, made[0])


def test_trunc_is_not_on_the_list():
    nodes = [helper.make_node("Trunc", ["sums", "y_scale", "y_zeropt", "y_bits", "y_bits"], ["y"], domain=DOMAIN)]
    assert "no-form" in rules(prepare_finn(net(nodes, parameters("y")), form=FinnForm.QONNX))


def test_a_stated_input_needs_no_quantiser_in_finns_own_reading():
    source = net([quant("sums", "y")], parameters("y", scale=2.0), head=False)
    handover = prepare_finn(source, form=FinnForm.QONNX, input_types={"x": parse_number_format("INT8")})
    assert handover.ready, handover.findings
    assert "real-input" not in rules(handover, Severity.WARNING)


def test_a_first_product_of_real_numbers_runs_on_the_host():
    handover = prepare_finn(Net(6).dense(6, 4).quant().dense(4, 3).proto(), form=FinnForm.QONNX)
    assert handover.ready, handover.findings
    assert "real-input" in rules(handover, Severity.WARNING)


def test_scalar_arithmetic_on_a_stated_input_moves_behind_the_product():
    source = then(then(Net(6), "Add", 1.0), "Div", 2.0).dense(6, 4, bits=2).quant().dense(4, 3).proto()
    handover = prepare_finn(source, form=FinnForm.QONNX, input_types={"x": parse_number_format("BIPOLAR")})
    assert handover.ready, handover.findings
    assert "real-input" not in rules(handover, Severity.WARNING)


def test_a_convolution_of_one_dimension_becomes_one_of_images():
    source = Net(3, 8).quant().conv(3, 4, kernel=(3,)).quant().conv(4, 4, kernel=(6,)).quant()
    source.op("Flatten").dense(4, 3)
    handover = prepare_finn(source.proto())
    assert handover.ready, handover.findings
    assert handover.comparison is not None
    assert handover.comparison.equal
    assert {len(n.outputs[0].shape) for n in handover.model.graph if n.op_type == "Conv"} == {4}
    assert "Squeeze" not in [n.op_type for n in handover.model.graph]


def test_joined_tensors_have_one_format():
    assert rules(prepare_finn(joined(bits=3).proto())) == {"concat-formats"}
    assert prepare_finn(joined().proto()).ready


def _resized(*shape: int, scales=(1, 1, 2, 2), **attributes):
    net = Net(*shape).quant().conv(shape[0], 4, kernel=(1, 1)).quant()
    net.op("Resize", "", net.const(list(scales)), **{"mode": "nearest"} | attributes)
    return net.conv(4, 2, kernel=(1, 1)).quant().proto()


@pytest.mark.parametrize("where", ["asymmetric", "half_pixel", "align_corners"])
@pytest.mark.parametrize("rounding", ["floor", "round_prefer_floor"])
def test_a_resize_that_repeats_pixels_is_written_as_finn_reads_it(where: str, rounding: str):
    source = _resized(3, 4, 4, coordinate_transformation_mode=where, nearest_mode=rounding)
    handover = prepare_finn(source)
    repeats = not (rounding == "floor" and where != "asymmetric")
    assert handover.ready == repeats
    assert rules(handover) == (set() if repeats else {"resize"})
    if repeats:
        assert handover.comparison is not None
        assert handover.comparison.equal
        (resize,) = [n for n in handover.model.graph if n.op_type == "Resize"]
        assert {k: a.value for k, a in resize.attributes.items()} == {
            "coordinate_transformation_mode": "asymmetric", "mode": "nearest", "nearest_mode": "floor",
        }  # fmt: skip
        np.testing.assert_array_equal(resize.inputs[2].const_value.numpy(), [1, 1, 2, 2])


@pytest.mark.parametrize(
    ("shape", "scales"), [((3, 4, 6), (1, 1, 2, 2)), ((3, 4, 4), (1, 1, 2, 3)), ((3, 4, 4), (1, 1, 1.5, 1.5))]
)
def test_an_image_that_finn_does_not_enlarge_is_named(shape: tuple[int, ...], scales: tuple[float, ...]):
    assert rules(prepare_finn(_resized(*shape, scales=scales))) == {"resize"}


def test_one_column_is_enlarged_along_its_rows():
    assert prepare_finn(_resized(3, 4, 1, scales=(1, 1, 2, 1))).ready


def test_a_resize_that_interpolates_stays_real():
    assert rules(prepare_finn(_resized(3, 4, 4, mode="linear"))) == {"real-between"}


def test_scales_of_channels_are_in_the_weights_of_the_next_product():
    scale = np.float32([0.25, 0.5, 0.125])
    handover = prepare_finn(net([quant("sums", "q"), *second("q")], parameters("q", scale=scale) | SECOND))
    assert handover.ready, handover.findings
    assert handover.comparison is not None
    assert handover.comparison.equal
    assert not [f for f in handover.findings if f.rule != "real-input"]
    products = [n for n in handover.model.graph if n.op_type == "MatMul"]
    weights = products[1].inputs[1]
    np.testing.assert_array_equal(weights.const_value.numpy(), np.float32([[2], [4], [1]]) * np.ones((3, 3)))
    assert annotated_number_format(weights) == IntFormat(4, signed=True)


@pytest.mark.parametrize("make", [by_channel, lambda: unet(4, 4), squeezed])
def test_a_net_with_scales_of_channels_and_reshapes_is_the_same(make):
    handover = prepare_finn(make().proto())
    assert handover.ready, handover.findings
    assert handover.comparison is not None
    assert handover.comparison.equal


def test_scales_that_are_no_multiples_of_one_stay_in_the_way():
    other = Net(3, 6, 6).quant().conv(3, 4).quant(BY_CHANNEL * np.float32([1, 0.9, 0.8, 0.7]).reshape(1, 4, 1, 1))
    assert rules(prepare_finn(other.conv(4, 3).quant().proto())) == {"real-between"}


def test_a_pixel_that_an_unsqueeze_makes_between_products_is_one_from_the_input_on():
    source = Net(6).quant().dense(6, 4, np.linspace(0.1, 0.2, 4, dtype=np.float32)).op("Relu").quant(signed=0)
    source.dense(4, 5).quant()
    source.op("Unsqueeze", source.const([2, 3], np.int64)).conv(5, 3, kernel=(1, 1)).quant()
    handover = prepare_finn(source.proto())
    assert handover.ready, handover.findings
    assert handover.comparison is not None
    assert handover.comparison.equal
    assert next(iter(handover.model.graph)).op_type == "Unsqueeze"
    assert [n.op_type for n in handover.model.graph if n.op_type in ("MatMul", "Conv")] == ["Conv"] * 3


def test_squeeze_and_unsqueeze_are_gone_or_in_front():
    handover = prepare_finn(squeezed().proto())
    kinds = [n.op_type for n in handover.model.graph]
    assert kinds[:2] == ["Unsqueeze", "MultiThreshold"]
    assert kinds.count("Unsqueeze") == 1
    assert "Squeeze" not in kinds
    assert "Flatten" in kinds


def test_a_convolution_of_unknown_shape_is_no_crash():
    """Pads without numbers end the inference of shapes."""
    proto = Net(3, 6, 6).quant().conv(3, 4, pads=[1, 1, 1, 1]).quant().conv(4, 4).quant().proto()
    (pads,) = (a for n in proto.graph.node for a in n.attribute if a.name == "pads")
    del pads.ints[:]
    assert not prepare_finn(proto).ready
