"""quantize: what it writes is near the float model, is read by everything else, and is the same each time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper

import anybit
from anybit.errors import InputError, UnsupportedError, UsageError
from anybit.quantization import FewSamplesWarning, LayerBits, Plan, Recipe, Scales, Target, layers_of, prepare
from tests.models import model
from tests.quantization.nets import attention, depthwise, images, node, normal, recurrent, residual, squeezed

WIDE = np.random.default_rng(7).normal(size=(40, 3, 32)).astype(np.float32)
SEQUENCES = np.random.default_rng(5).normal(size=(40, 5, 8)).astype(np.float32)
STEPS = np.random.default_rng(6).normal(size=(40, 5, 6)).astype(np.float32)


def distance(model, other, x):
    """The squared difference of all outputs, as a share of their squares."""
    a, b = (anybit.Session(m, engine="onnxruntime", threads=1).run(x) for m in (model, other))
    return max(float(np.square(a[n] - b[n]).sum() / np.square(a[n]).sum()) for n in a)


@pytest.fixture(scope="module")
def quantized():
    return anybit.quantize(residual(), images(), Recipe(weights=4, activations=4))


@pytest.mark.parametrize(
    ("net", "x"), [(residual, images()), (depthwise, images()), (attention, SEQUENCES), (recurrent, STEPS)]
)
def test_eight_bits_change_little_and_fewer_change_more(net, x):
    errors = [
        distance(net(), anybit.quantize(net(), x, Recipe(weights=w, activations=a)).model, x)
        for w, a in ((8, 8), (4, 8), (4, 4), (2, 4))
    ]
    assert errors[0] < 1e-3
    assert errors[1] < 2e-2
    assert errors == sorted(errors)


def test_rounding_beats_rounding_to_nearest(quantized):
    prepared = prepare(residual())
    held_out = images(200, seed=9)
    import onnx_ir as ir

    nearest = anybit.load(quantized.model)
    named = {str(layer.weights.name): layer for node in prepared.model.graph for layer in layers_of(node)}
    for value in nearest.graph.initializers.values():
        name = str(value.name).removesuffix("/quantized")
        if value.name != name and name in named:
            value.const_value = ir.tensor(named[name].weights.const_value.numpy(), name=value.name)
    assert distance(residual(), quantized.model, held_out) < 0.8 * distance(residual(), nearest, held_out)


def test_the_report_measures_the_output(quantized):
    measured = distance(residual(), quantized.model, images())
    assert quantized.report.outputs["y"] == pytest.approx(measured, rel=0.05)
    assert sum(t.share for t in quantized.report.tensors) == pytest.approx(1)


@pytest.mark.parametrize(
    ("net", "x"), [(depthwise, images()), (squeezed, images()), (attention, SEQUENCES), (recurrent, STEPS)]
)
def test_what_is_written_is_what_was_calibrated(net, x):
    made = anybit.quantize(net(), x, Recipe(weights=3, activations=4))
    assert made.report.outputs["y"] == pytest.approx(distance(net(), made.model, x), rel=1e-3)


def test_everything_reads_the_result(quantized):
    model = quantized.model
    assert not anybit.check(model)
    assert anybit.verify(model, model).verdict.value.startswith("exact")
    for dialect in ("qonnx", "qcdq", "qdq", "integer-ops"):
        converted = anybit.convert(model, to=dialect)
        assert not converted.refusals, dialect
        assert distance(model, converted.model, images()) < 1e-6, dialect
    refusals = anybit.convert(model, to="quantized-ops").refusals
    assert [r.node for r in refusals] == ["Gemm 'y'"]  # the output is no integer
    assert {t.format.width for t in anybit.stats(model).weights} == {4}
    cost = anybit.cost(model)
    assert {(f.activation.width, f.weight.width) for f in cost.dense.formats} == {(4, 4)}
    assert anybit.ranges(model).accumulators
    assert "INT4" in anybit.report(model)


@pytest.mark.parametrize("bits", [4, 8])
def test_zero_points_are_exact_in_every_format(bits):
    made = anybit.quantize(squeezed(), images(), Recipe(weights=8, activations=bits))
    lopsided = [t for t in made.plan.activations if t.zero_point]
    assert lopsided
    for dialect in ("qdq", "qcdq"):
        converted = anybit.convert(made.model, to=dialect)
        assert not converted.refusals
        a, b = (anybit.Session(m, engine="onnxruntime").run(images())["y"] for m in (made.model, converted.model))
        assert np.array_equal(a, b)
    assert {f.activation.width for f in anybit.cost(made.model).dense.formats} == {bits}
    assert anybit.cost(anybit.convert(made.model, to="qdq").model).dense == anybit.cost(made.model).dense


def test_ties_of_a_zero_point_are_those_of_onnxruntime():
    """x / scale + 2 rounds 0.49999997 to a tie; QuantizeLinear does not add first."""
    x = np.repeat(np.float32([[0.25, -1, 0.25, 13]]), 16, axis=0)
    constants = {"w": np.eye(4, dtype=np.float32)}
    net = model([node("Gemm", ["x", "w"], "y")], constants, inputs={"x": ["N", 4]}, outputs=["y"])
    (planned,) = anybit.quantize(net, x).plan.activations
    plan = Plan(activations=(replace(planned, bits=4, signed=False, scale=1.0, zero_point=2),), weights=())
    made = anybit.quantize(net, x, plan=plan).model
    tie = np.nextafter(np.float32([[1.5, -0.5, 0.5, 2.5]]), np.float32(0))
    got = anybit.Session(anybit.convert(made, to="qdq").model, engine="onnxruntime").run(tie)["y"]
    assert got.tolist() == anybit.run(made, tie, engine="reference")["y"].tolist() == [[1, 0, 0, 2]]


@pytest.mark.parametrize("target", list(Target))
@pytest.mark.parametrize("net", [residual])
def test_a_target_takes_the_result(target, net):
    made = anybit.quantize(net(batch=1), images(), Recipe(weights=4, activations=4, target=target))
    prepare_for = {Target.FINN: anybit.prepare_finn, Target.HLS4ML: anybit.prepare_hls4ml}[target]
    handover = prepare_for(made.model)
    assert handover.ready, [str(f) for f in handover.findings]
    scales = [t.scale for t in made.plan.activations]
    assert all(np.frexp(s)[0] == 0.5 for s in scales)
    assert {t.zero_point for t in made.plan.activations} == {0}


def test_the_same_plan_gives_the_same_bytes(quantized):
    plan = Plan.from_json(quantized.plan.to_json())
    assert plan == quantized.plan
    again = anybit.quantize(residual(), images(), Recipe(weights=4, activations=4))
    followed = anybit.quantize(residual(), images(), plan=plan)
    first, *others = (anybit.to_proto(m.model).SerializeToString() for m in (quantized, again, followed))
    assert all(o == first for o in others)


def test_bits_by_layer():
    recipe = Recipe(weights=4, activations=4, first_last=8, skip=("c1",), layers={"w2": LayerBits(3, 6)})
    made = anybit.quantize(residual(), images(), recipe)
    bits = {t.tensor: t.bits for t in (*made.plan.weights, *made.plan.activations)}
    assert bits == {
        "w0/folded": 8,
        "w1": None,
        "w2": 3,
        "w3": 8,
        "x": 8,
        "r0": None,
        "r1": 6,
        "c2": 4,
        "r2": 4,
        "f": 8,
    }
    assert distance(residual(), made.model, images()) < 0.05


def test_weights_only_leaves_activations_alone():
    made = anybit.quantize(residual(), images(), Recipe(weights=4, activations=None))
    assert all(t.bits is None for t in made.plan.activations)
    assert sum(n.op_type == "Quant" for n in made.model.graph) == 4
    assert distance(residual(), made.model, images()) < 0.02


def test_blocks_of_weights_share_a_scale():
    made = anybit.quantize(attention(features=32), WIDE, Recipe(weights=4, activations=None, block=16))
    coarse = anybit.quantize(attention(features=32), WIDE, Recipe(weights=4, activations=None, per_tensor=True))
    assert distance(attention(features=32), made.model, WIDE) < distance(attention(features=32), coarse.model, WIDE)
    converted = anybit.convert(made.model, to="qdq")
    assert not converted.refusals
    blocked = [n for n in converted.model.graph if n.attributes.get_int("block_size", 0)]
    assert {n.attributes.get_int("block_size", 0) for n in blocked} == {16}
    assert len(blocked) == 6
    assert distance(made.model, converted.model, WIDE) < 1e-9


def test_per_tensor_scales():
    made = anybit.quantize(residual(), images(), Recipe(weights=4, activations=8, per_tensor=True))
    quants = [n for n in made.model.graph if n.op_type == "Quant"]
    assert {n.inputs[1].const_value.size for n in quants} == {1}
    assert distance(residual(), made.model, images()) < 0.05


def test_power_of_two_scales():
    made = anybit.quantize(residual(), images(), Recipe(weights=4, activations=4, scales=Scales.POWER_OF_TWO))
    quants = [n for n in made.model.graph if n.op_type == "Quant"]
    assert quants
    for quant in quants:
        assert (np.frexp(quant.inputs[1].const_value.numpy())[0] == 0.5).all()


@pytest.mark.parametrize("bits", [12, 16])
def test_sums_fit_the_accumulator_that_was_asked_for(bits):
    made = anybit.quantize(residual(channels=16), images(), Recipe(weights=6, activations=6, accumulator=bits))
    found = anybit.ranges(made.model).accumulators
    assert len(found) == 4
    for accumulator in found:
        assert min(b.partial_bits for b in accumulator.bounds) <= bits
    loose = anybit.quantize(residual(channels=16), images(), Recipe(weights=6, activations=6))
    widths = [min(b.partial_bits for b in a.bounds) for a in anybit.ranges(loose.model).accumulators]
    assert max(widths) > 12  # the limit was one


def test_quantised_parts_stay_unless_they_are_taken_out(quantized):
    with pytest.raises(UnsupportedError, match="nothing to quantise"):
        anybit.quantize(quantized.model, images(), Recipe(weights=2))
    qdq = anybit.convert(quantized.model, to="qdq").model
    made = anybit.quantize(qdq, images(), Recipe(weights=3, activations=6, requantize=True))
    assert {t.bits for t in made.report.tensors} == {3, 6}
    assert distance(quantized.model, made.model, images()) < 0.2


def test_bounds_of_a_zero_point_are_taken_out_with_its_quantiser():
    made = anybit.quantize(squeezed(), images())
    with pytest.raises(UnsupportedError, match="quantised already"):
        anybit.quantize(made.model, images())
    again = anybit.quantize(made.model, images(), Recipe(requantize=True))
    clips = [sum(n.op_type == "Clip" for n in m.model.graph) for m in (made, again)]
    assert clips[0] == clips[1] == sum(t.zero_point != 0 for t in made.plan.activations)
    assert [t.zero_point for t in made.plan.activations] == [t.zero_point for t in again.plan.activations]


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 21, 23, 25])
def test_opsets(opset):
    made = anybit.quantize(residual(opset=opset), images(), Recipe(weights=4, activations=8))
    assert not anybit.check(made.model)
    assert distance(residual(opset=opset), made.model, images()) < 0.02


def test_factors_of_products_go_into_their_weights():
    rng = np.random.default_rng(2)
    constants = {"w": normal(rng, 8, 6), "b": normal(rng, 8), "v": normal(rng, 8, 3)}
    nodes = [
        node("Gemm", ["x", "w", "b"], "g", alpha=0.5, beta=2.0, transB=1),
        node("Relu", ["g"], "r"),
        node("Gemm", ["r", "v"], "y", beta=3.0),
    ]
    net, x = model(nodes, constants, inputs={"x": ["N", 6]}, outputs=["y"], opset=17), STEPS[:, 0]
    made = anybit.quantize(net, x, Recipe(weights=8, activations=8))
    assert sum(t.is_weight for t in made.report.tensors) == 2
    assert distance(net, made.model, x) < 1e-3


def test_a_fixed_batch_is_run_as_it_is():
    made = anybit.quantize(residual(batch=4), images(), Recipe(weights=4, activations=4))
    free = anybit.quantize(residual(), images(), Recipe(weights=4, activations=4))
    assert made.model.graph.inputs[0].shape[0] == 4
    assert {t.tensor: t.scale for t in made.plan.activations} == {t.tensor: t.scale for t in free.plan.activations}


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        (images(0), InputError, "no samples"),
        (np.full((20, 2, 6, 6), np.nan, np.float32), InputError, "input 'x': not finite"),
        (images()[:, :1], InputError, "shape"),
        (images().astype(np.float64), InputError, "element type"),
        ({"z": images()[0]}, InputError, "shape"),
        ([], InputError, "no samples"),
    ],
)
def test_bad_data_is_refused(data, error, text):
    with pytest.raises(error, match=text):
        anybit.quantize(residual(), data, Recipe())


def test_a_gate_multiplies_what_only_pooling_reads_quantised():
    made = anybit.quantize(squeezed(), images(), Recipe(weights=4, activations=4))
    makers = {v.name: node for node in made.model.graph for v in node.outputs}
    pool, gate = (next(n for n in made.model.graph if n.op_type == op) for op in ("GlobalAveragePool", "Mul"))
    read = makers[pool.inputs[0].name]
    assert (makers[read.inputs[0].name] if read.op_type == "Clip" else read).op_type == "Quant"
    assert makers[gate.inputs[0].name].op_type == "HardSwish"
    assert "Identity" not in {node.op_type for node in made.model.graph}


@pytest.mark.parametrize("x", [np.zeros((16, 2, 6, 6)), np.full((16, 2, 6, 6), 3.0), images(1), images() * 1e-30])
@pytest.mark.filterwarnings("ignore::anybit.quantization.FewSamplesWarning")
def test_data_without_variance_give_a_model(x):
    x = x.astype(np.float32)
    made = anybit.quantize(residual(), x, Recipe(weights=4, activations=4))
    assert not anybit.check(made.model)
    assert distance(residual(), made.model, x) < 0.05


def test_numbers_whose_squares_are_infinite_are_refused():
    with pytest.raises(InputError, match="too large on the calibration data"):
        anybit.quantize(residual(), images() * np.float32(1e30), Recipe(weights=4, activations=4))


def test_few_samples_are_warned_of():
    with pytest.warns(FewSamplesWarning, match="3 samples"):
        anybit.quantize(residual(), images(3), Recipe(weights=4, activations=4))


@pytest.mark.parametrize(
    "options",
    [{"weights": 1}, {"activations": 17}, {"first_last": 0}, {"block": 32}, {"block": 24, "activations": None}],
)
def test_bad_recipes_are_refused(options):
    with pytest.raises(UsageError):
        Recipe(**options)


def test_names_that_fit_nothing_are_refused():
    with pytest.raises(UsageError, match="no layer of this name: got 'w9'"):
        anybit.quantize(residual(), images(), Recipe(skip=("w9",)))


def test_plans_of_other_models_are_refused(quantized):
    with pytest.raises(InputError, match="not one of this model"):
        anybit.quantize(depthwise(), images(), plan=quantized.plan)
    with pytest.raises(InputError, match="no plan"):
        Plan.from_json('{"weights": 3}')
    with pytest.raises(InputError, match="bit width"):
        Plan.from_json(quantized.plan.to_json().replace('"bits": 4', '"bits": 40', 1))


def test_iterables_of_batches_are_data():
    batches = [({"x": images()[k : k + 12]}, np.zeros(12)) for k in range(0, 48, 12)]
    made = anybit.quantize(residual(), iter(batches), Recipe(weights=4, activations=4))
    assert made.report.samples == 48


@pytest.mark.parametrize(
    ("op_type", "weights", "attributes"),
    [
        ("MatMul", (6, 4), {}),
        ("Gemm", (6, 4), {}),
        ("Conv", (4, 6, 1, 1), {}),
        ("Conv", (4, 3, 1, 1), {"group": 2}),
        ("ConvTranspose", (6, 4, 1, 1), {}),
        ("ConvTranspose", (6, 2, 1, 1), {"group": 2}),
    ],
)
def test_data_of_a_free_size_that_does_not_fit_the_weights_is_refused(op_type, weights, attributes):
    image = ["H", "W"] if len(weights) > 2 else []
    nodes = [node(op_type, ["x", "w"], "y", **attributes)]
    constants = {"w": np.ones(weights, np.float32)}
    source = model(nodes, constants, inputs={"x": ["N", "C", *image]}, outputs=["y"])
    with pytest.raises(InputError, match=f"{op_type} 'y': the input does not fit the weights"):
        anybit.quantize(source, {"x": np.ones((16, 5, *(3 for _ in image)), np.float32)})


def test_a_number_of_one_segment_has_no_axes_in_the_next():
    nodes = [
        node("Conv", ["x", "w0"], "c", kernel_shape=[1, 1]),
        node("ReduceMax", ["c"], "m", keepdims=0),
        node("Relu", ["c"], "r"),
        node("Conv", ["r", "w1"], "d", kernel_shape=[1, 1]),
        node("Unsqueeze", ["m", "first"], "u"),
        node("Concat", ["u", "two"], "k", axis=0),
        node("ReduceMax", ["k"], "l", keepdims=0),
        node("Div", ["d", "l"], "y"),
    ]
    rng = np.random.default_rng(8)
    constants = {"w0": normal(rng, 4, 2, 1, 1), "w1": normal(rng, 3, 4, 1, 1), "first": np.array([0], np.int64)}
    constants["two"] = np.array([2], np.float32)
    net = model(nodes, constants, inputs={"x": ["N", 2, 6, 6]}, outputs=["y"], opset=17, imports={"": 17})
    made = anybit.quantize(net, images(), Recipe(weights=8, activations=8))
    assert distance(net, made.model, images()) < 1e-3


def test_infinite_outputs_are_left_out_of_the_error():
    """A mask makes them, and so does a factor that overflows."""
    mask = np.float32([0, -np.inf, 0, 0, np.inf])
    nodes = [node("MatMul", ["x", "w"], "h"), node("Add", ["h", "mask"], "y")]
    weights = normal(np.random.default_rng(2), 8, 5)
    x = SEQUENCES[:, 0]
    masked = model(nodes, {"w": weights, "mask": mask}, inputs={"x": ["N", 8]}, outputs=["y"])
    plain = model(nodes, {"w": weights, "mask": np.float32([0] * 5)}, inputs={"x": ["N", 8]}, outputs=["y"])
    found = anybit.quantize(masked, x)
    a, b = (anybit.run(m, x)["y"][:, [0, 2, 3]] for m in (plain, found.model))
    assert 0 < found.report.outputs["y"] < 1e-3
    assert found.report.outputs["y"] == pytest.approx(np.square(a - b).sum() / np.square(a).sum(), rel=1e-3)


def test_why_there_is_nothing_to_quantise_is_said(quantized):
    inner = helper.make_graph(
        [node("MatMul", ["x", "w"], "inside")],
        "g",
        [],
        [helper.make_tensor_value_info("inside", TensorProto.FLOAT, None)],
    )
    constants = {"w": np.eye(4, dtype=np.float32)}
    rows = {"x": [4, 4], "c": []}
    branches = model(
        [node("If", ["c"], "y", then_branch=inner, else_branch=inner)], constants, inputs=rows, outputs=["y"]
    )
    branches.graph.input[1].type.tensor_type.elem_type = TensorProto.BOOL
    no_product = model([node("Relu", ["x"], "y")], {}, inputs={"x": [4, 4]}, outputs=["y"])
    for net, why in (
        (branches, "in branches or loops, as MatMul 'inside'"),
        (quantized.model, "quantised already"),
        (no_product, "no product"),
    ):
        with pytest.raises(UnsupportedError, match=why):
            anybit.quantize(net, np.zeros((16, 4, 4), np.float32))
