"""Equalisation of channels before depthwise convolutions, and ranges by what layers make of a tensor."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

import anybit
from anybit.errors import InputError
from anybit.grid import Grid
from anybit.quantization import ActivationHistogram, Recipe, Scales, find_range, prepare
from anybit.quantization.equalization import equalized, factors_of, tensors_between
from anybit.quantization.output_ranges import Reading, refined_range
from tests.models import model
from tests.quantization.nets import images, node, normal, residual

SPREAD = np.array([1.0, 0.03, 0.3, 1.0, 0.1, 0.02], np.float32)


def uneven(op_type="Relu", *, seed=0):
    """A convolution whose channels differ fiftyfold in range, and a depthwise one that makes up for it."""
    rng = np.random.default_rng(seed)
    nodes = [
        node("Conv", ["x", "w0", "b0"], "c0", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node(op_type, ["c0"], "r0"),
        node("Conv", ["r0", "w1"], "c1", kernel_shape=[3, 3], group=6),
        node("Relu", ["c1"], "r1"),
        node("Conv", ["r1", "w2"], "y", kernel_shape=[1, 1]),
    ]
    constants = {
        "w0": normal(rng, 6, 2, 3, 3) * SPREAD[:, None, None, None],
        "b0": normal(rng, 6, scale=0.1) * SPREAD,
        "w1": normal(rng, 6, 1, 3, 3) / SPREAD[:, None, None, None],
        "w2": normal(rng, 4, 6, 1, 1),
    }
    return model(nodes, constants, inputs={"x": ["N", 2, 6, 6]}, outputs=["y"], opset=17, imports={"": 17})


def outputs(net, x):
    return anybit.Session(net, engine="onnxruntime", threads=1).run(x)["y"]


def test_equalised_channels_have_one_range_and_the_model_computes_the_same():
    x = images()
    prepared = prepare(uneven())
    (place,) = tensors_between(prepared)
    assert place.tensor.name == "r0"
    again = equalized(prepared, None, [{"x": x}])
    np.testing.assert_allclose(outputs(again.model, x), outputs(uneven(), x), rtol=1e-4, atol=1e-5)
    for form in (again.model, again.work):
        seen = form.clone()
        seen.graph.outputs[0] = next(v for n in seen.graph for v in n.outputs if v.name == "r0")
        highest = anybit.Session(seen, engine="onnxruntime", threads=1).run(x)["r0"].max(axis=(0, 2, 3))
        assert highest.max() < 2.5 * highest.min()


@pytest.mark.parametrize("scales", list(Scales))
def test_channels_that_differ_lose_little_before_a_depthwise_convolution(scales):
    x, test = images(256), images(256, seed=9)
    exact = outputs(uneven(), test)
    lost = {}
    for op_type in ("Relu", "HardSwish"):  # of which the second cannot be equalised
        exact = outputs(uneven(op_type), test)
        made = anybit.quantize(uneven(op_type), x, Recipe(weights=8, activations=4, scales=scales)).model
        lost[op_type] = np.square(outputs(made, test) - exact).sum() / np.square(exact).sum()
    assert lost["Relu"] < 0.5 * lost["HardSwish"]


def test_factors_are_ranges_as_shares_of_the_largest():
    ranges = np.array([4.0, 1.0, 0.0, 1e-9, 2.8])
    np.testing.assert_allclose(factors_of(ranges), [1, 0.25, 1, 1 / 64, 0.7])
    np.testing.assert_array_equal(factors_of(ranges, scales=Scales.POWER_OF_TWO), [1, 0.25, 1, 1 / 64, 0.5])
    for ranges in (np.zeros(2), np.array([1.0, np.inf]), np.array([np.nan, 1.0])):
        np.testing.assert_array_equal(factors_of(ranges), np.ones(2))


@pytest.mark.parametrize("x", [np.zeros((16, 2, 6, 6)), images(1), images() * 1e-30])
@pytest.mark.filterwarnings("ignore::anybit.quantization.FewSamplesWarning")
def test_data_without_variance_give_a_model(x):
    x = x.astype(np.float32)
    made = anybit.quantize(uneven(), x, Recipe(weights=4, activations=4)).model
    assert np.isfinite(outputs(made, x)).all()


def test_data_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="not finite"):
        anybit.quantize(uneven(), np.where(images() > 0.5, np.nan, images()).astype(np.float32), Recipe())


def test_tensors_that_something_else_reads_stay():
    assert not tensors_between(prepare(residual()))
    net = uneven()
    net.graph.output.append(net.graph.value_info.add(name="r0"))
    net.graph.output[-1].CopyFrom(net.graph.output[0])
    net.graph.output[-1].name = "r0"
    assert not tensors_between(prepare(net))


def test_one_scale_for_all_channels_or_float_layers_leave_the_model_as_it_is():
    x = images()
    for recipe in (Recipe(weights=8, per_tensor=True), Recipe(activations=None), Recipe(skip=("c1",))):
        made = anybit.quantize(uneven(), x, recipe).model
        bias = next(v for n in made.graph if n.outputs[0].name == "c0" for v in n.inputs[2:] if v is not None)
        original = next(i for i in uneven().graph.initializer if i.name == "b0")
        wanted = ir.serde.deserialize_tensor(original).numpy()
        np.testing.assert_allclose(bias.const_value.numpy(), wanted, atol=0.02)


def test_sensitivity_of_a_pair_is_that_of_equalised_channels():
    x = images(128)
    made = anybit.quantize(uneven(), x, Recipe(weights=6, activations=6)).model
    alone = {(r.tensor, r.bits): r for r in anybit.sensitivity(uneven(), x, bits=(6,)).tensors}
    for row in anybit.sensitivity(uneven(), x, quantized=made).tensors:
        assert row.divergence.error < 20 * alone[row.tensor, 6].divergence.error + 1e-4


def reading(x, weights, *, centred=True):
    return Reading(x[None], x[None], weights[None], centred)


def test_a_layer_that_sums_neighbours_wants_less_clipping_than_the_tensor():
    """Elements that clip together add up in a sum, errors of rounding cancel: brute force over scales agrees."""
    rng = np.random.default_rng(5)
    strength = rng.exponential(size=(1, 4000)) ** 1.5
    x = (strength * rng.uniform(0.5, 1.5, size=(16, 4000))).astype(np.float32)
    weights = np.ones((16, 1), np.float32)
    histogram = ActivationHistogram()
    histogram.add(x, "x")
    found = find_range(histogram, 3)
    refined = refined_range(found, [reading(x, weights)], histogram=histogram, others=False, scales=Scales.FLOAT)
    assert refined.scale > 1.2 * found.scale

    def unexplained(scale):
        made = np.clip(np.rint(x / scale), 0, 7).astype(np.float32) * np.float32(scale)
        return 1 - np.corrcoef(x.sum(axis=0), made.sum(axis=0))[0, 1] ** 2

    best = min(unexplained(s) for s in np.geomspace(0.5, 4, 60) * found.scale)
    assert unexplained(refined.scale) < 1.08 * best < unexplained(found.scale)
    powers = refined_range(
        find_range(histogram, 3, scales=Scales.POWER_OF_TWO),
        [reading(x, weights)],
        histogram=histogram,
        others=False,
        scales=Scales.POWER_OF_TWO,
    )
    assert np.log2(powers.scale) % 1 == 0


def test_constant_rows_leave_the_range():
    x = np.full((4, 100), 2.0, np.float32)
    histogram = ActivationHistogram()
    histogram.add(x, "x")
    found = find_range(histogram, 4)
    rows = [reading(x, np.ones((4, 2), np.float32)), reading(0 * x, np.ones((4, 2), np.float32), centred=False)]
    assert refined_range(found, rows, histogram=histogram, others=True, scales=Scales.FLOAT).grid == Grid(
        4, signed=False
    )
