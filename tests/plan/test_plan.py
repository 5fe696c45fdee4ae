"""Plans: their numpy executor gives what the reference engine gives, element by element."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import cache

import numpy as np
import onnx
import pytest
from onnx import helper

import anybit
from anybit.engines.sampling import random_inputs
from anybit.errors import InputError, ModelFileError, UnsupportedError
from anybit.plan import Compare, Plan, Product, Requantize, describe, execute, from_bytes, plan_of, to_bytes
from anybit.plan.plan import reads
from tests.integration.corpus import CORPUS, needs_corpus
from tests.models import PROJECT, mlp, model, parameters, quant, samples
from tests.plan.nets import random_net

ZOO = sorted(p.parent.name for p in (PROJECT / "src" / "anybit" / "zoo" / "models").glob("*/model.onnx"))
WHOLE = [name for name in ZOO if "transformer" not in name]
REAL = ("cnv_2w2a", "tfc_1w1a", "tfc_2w2a", "jet_mlp_6b", "trunc_avgpool_floor", "trunc_avgpool_round")


def path_of(name: str):
    return PROJECT / "src" / "anybit" / "zoo" / "models" / name / "model.onnx"


@cache
def planned(name: str) -> Plan:
    return plan_of(path_of(name))


@cache
def planned_net(seed: int) -> Plan:
    """The plan of a random net, each of which has layers that are carried by bytes."""
    return plan_of(random_net(seed))


def both(source, plan: Plan, inputs: dict[str, np.ndarray]):
    """What the plan gives, and what the reference has for the same tensors."""
    named = [p.name for p in (*plan.inputs, *plan.outputs)]
    session = anybit.Session(source, engine="reference", tensors=[n for n in named if n not in inputs])
    known = session.run(inputs) | inputs
    return execute(plan, {p.name: known[p.name] for p in plan.inputs}), known


@pytest.mark.parametrize("name", ZOO)
def test_the_shipped_models_are_plans(name):
    source, plan = anybit.clean(path_of(name)), planned(name)
    found, known = both(source, plan, random_inputs(source, 3))
    for output, array in found.items():
        np.testing.assert_array_equal(array, known[output])
    if name in WHOLE:
        assert not plan.refusals
        assert list(found) == [str(v.name) for v in source.graph.outputs]


@needs_corpus
@pytest.mark.parametrize("name", REAL)
def test_real_models_are_plans(name):
    source = anybit.clean(CORPUS / name / "model.onnx")
    plan = plan_of(source)
    found, known = both(source, plan, random_inputs(source, 2))
    for output, array in found.items():
        np.testing.assert_allclose(array, known[output], rtol=0, atol=1e-6 * np.abs(known[output]).max())


@pytest.mark.parametrize("seed", range(60))
def test_random_nets_give_what_the_reference_gives(seed):
    source, plan = random_net(seed), planned_net(seed)
    inputs = random_inputs(source, 4, seed=seed)
    inputs["x"][0].flat[:2] = np.inf, -np.inf
    found, known = both(source, plan, inputs)
    for output, array in found.items():
        np.testing.assert_array_equal(array, known[output])


def test_most_random_nets_are_whole_plans():
    plans = map(planned_net, range(60))
    assert sum(p is not None and not p.refusals for p in plans) >= 50


def layer(*, w: np.ndarray, bits: float = 8, levels: float = 8) -> object:
    nodes = [
        quant("x", "xq", signed=0),
        quant("w", "wq"),
        helper.make_node("MatMul", ["xq", "wq"], ["h"]),
        quant("h", "y"),
    ]
    numbers = parameters("xq", scale=1.0, bits=8.0) | parameters("wq", scale=1.0, bits=bits)
    numbers |= parameters("y", scale=2.0**11, bits=levels)
    return model(nodes, {"w": w.astype(np.float32), **numbers}, inputs={"x": ["N", len(w)]}, outputs=["y"])


def test_the_largest_products_and_ties():
    weights = np.array([[-128, 127, 8], [-128, 127, 8], [-128, 127, 8]])
    source = layer(w=weights)
    x = np.float32([[255, 255, 255], [0, 255, 128], [128, 0, 0], [0.5, 1.5, 2.5], [-0.5, 254.5, 255.5]])
    found, known = both(source, plan_of(source), {"x": x})
    np.testing.assert_array_equal(found["y"], known["y"])


def test_nan_has_no_level():
    source = layer(w=np.ones((3, 2)))
    with pytest.raises(InputError, match="NaN has no level"):
        execute(plan_of(source), {"x": np.float32([[0, np.nan, 1]])})


def test_inputs_that_do_not_fit_are_refused():
    plan = plan_of(layer(w=np.ones((3, 2))))
    for bad in (np.zeros((2, 4), np.float32), np.zeros((2, 3), np.float64)):
        with pytest.raises(InputError, match="type or shape"):
            execute(plan, {"x": bad})
    with pytest.raises(InputError, match="missing input"):
        execute(plan, {})


def test_a_residual_sum_of_levels_and_sums_selects_its_thresholds():
    plan = planned("digits_resnet_mixed")
    assert any(isinstance(s, Requantize) and s.selector is not None for s in plan.steps)


def test_an_input_quantised_behind_arithmetic_that_is_no_plain_one_is_compared():
    nodes = [
        helper.make_node("Relu", ["x"], ["t"]),
        quant("t", "xq"),
        quant("w", "wq"),
        helper.make_node("MatMul", ["xq", "wq"], ["y"]),
    ]
    constants = parameters("xq", scale=0.125) | parameters("wq", scale=0.125)
    source = model(nodes, {"w": np.ones((3, 2), np.float32), **constants}, inputs={"x": ["N", 3]}, outputs=["y"])
    plan = plan_of(source)
    assert isinstance(plan.steps[0], Compare)
    x = np.float32([[-np.inf, np.inf, 0], [0.0626, -0.0626, -0.0]])
    found, known = both(source, plan, {"x": x})
    np.testing.assert_array_equal(found["y"], known["y"])


def test_a_model_without_integer_layers_is_refused_by_name():
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="float")]
    source = model(nodes, {"w": np.ones((3, 2), np.float32)}, inputs={"x": ["N", 3]}, outputs=["y"])
    with pytest.raises(UnsupportedError, match="MatMul 'float'"):
        plan_of(source)


def test_tensors_that_live_at_one_time_do_not_overlap():
    plan = planned("digits_resnet_mixed")
    made = {s.y: i for i, s in enumerate(plan.steps)}
    last = {t: i for i, s in enumerate(plan.steps) for t in (*reads(s), s.y)}
    inside = [t for t in made if plan.tensors[t].offset >= 0]
    for a in inside:
        assert plan.tensors[a].offset + plan.tensors[a].nbytes <= plan.arena
        for b in inside:
            if a < b and made[a] <= last[b] and made[b] <= last[a]:
                first, second = sorted((plan.tensors[a], plan.tensors[b]), key=lambda t: t.offset)
                assert first.offset + first.nbytes <= second.offset


@pytest.mark.parametrize("name", ["digits_resnet_mixed", "digits_mlp_1w1a"])
def test_a_plan_is_the_same_when_it_is_read_again(name):
    source, plan = anybit.clean(path_of(name)), planned(name)
    data = to_bytes(plan)
    again = from_bytes(data)
    assert to_bytes(again) == data
    assert str(describe(again)) == str(describe(plan))
    x = random_inputs(source, 2)
    np.testing.assert_array_equal(execute(again, x)["logits"], execute(plan, x)["logits"])


def test_bytes_that_are_no_plan_are_refused():
    plan = planned("digits_mlp_2w2a")
    data = to_bytes(plan)
    step = next(s for s in plan.steps if isinstance(s, Product))
    steps = [replace(s, x=99) if s is step else s for s in plan.steps]
    for bad in (
        b"",
        b"no plan",
        data[:-3],
        data[:40],
        to_bytes(replace(plan, steps=tuple(steps))),
        to_bytes(replace(plan, arena=1)),
    ):
        with pytest.raises(ModelFileError, match="no plan"):
            from_bytes(bad)


@pytest.mark.parametrize(("opset", "axis"), [(21, None), (21, -1), (21, 1), (11, None), (11, 1)])
def test_a_softmax_over_the_last_axis_belongs_to_the_plan(opset, axis):
    source = ending_with_softmax(opset, {} if axis is None else {"axis": axis})
    plan = plan_of(source)
    assert [p.name for p in plan.outputs] == ["p"]
    assert not plan.refusals
    x = {"x": samples(5, 6)}
    found, wanted = execute(plan, x)["p"], anybit.run(source, x, engine="reference")["p"]
    np.testing.assert_allclose(found, wanted, rtol=2e-7, atol=0)
    assert describe(from_bytes(to_bytes(plan))).steps[-1].kind == "softmax"


def test_numbers_that_a_softmax_reads_and_callers_too_are_both_made():
    source = ending_with_softmax(21, {})
    source.graph.output.append(helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None))
    assert [p.name for p in plan_of(source).outputs] == ["p", "y"]


def test_a_quantiser_behind_a_pool_that_changes_nothing_is_no_step():
    rng = np.random.default_rng(3)  # with 0.05 * 0.01 / 0.0313 no sum is next to a tie, which rounding would decide
    weights = rng.integers(-127, 128, (5, 1, 3, 3)).astype(np.int8)
    numbers = {"ws": np.float32(0.01), "wz": np.int8(0), "w": weights}
    for name, scale, zero in (("x", 1 / 255, 0), ("h", 0.05, 0), ("p", 0.05, 0), ("y", 0.0313, 117)):
        numbers |= {f"{name}s": np.float32(scale), f"{name}z": np.uint8(zero)}
    nodes = [
        *_rounded("x", "xq"),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"]),
        helper.make_node("Conv", ["xq", "wd"], ["h"], pads=[1, 1, 1, 1]),
        *_rounded("h", "hq"),
        helper.make_node("MaxPool", ["hq"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        *_rounded("p", "pq"),
        helper.make_node("Conv", ["pq", "wd2"], ["y"]),
        *_rounded("y", "out"),
    ]
    second = rng.integers(-127, 128, (3, 5, 1, 1)).astype(np.int8)
    nodes.insert(-3, helper.make_node("DequantizeLinear", ["w2", "ws", "wz"], ["wd2"]))
    source = model(nodes, numbers | {"w2": second}, inputs={"x": ["n", 1, 6, 6]}, outputs=["out"])
    plan = plan_of(source)
    assert [type(s).__name__ for s in plan.steps[:4]] == ["Quantize", "Product", "Pool", "Product"]
    found, known = both(source, plan, {"x": rng.random((40, 1, 6, 6)).astype(np.float32)})
    for output, array in found.items():
        np.testing.assert_allclose(array, known[output], rtol=0, atol=2e-6)


def _rounded(name: str, output: str) -> list[onnx.NodeProto]:
    """A tensor brought to the levels of a byte, with its own scale and zero point."""
    numbers = [f"{name}s", f"{name}z"]
    return [
        helper.make_node("QuantizeLinear", [name, *numbers], [f"{name}b"]),
        helper.make_node("DequantizeLinear", [f"{name}b", *numbers], [output]),
    ]


def ending_with_softmax(opset: int, attributes: dict[str, int]) -> onnx.ModelProto:
    """An MLP whose levels are made probabilities."""
    source = mlp(opset=opset, batch="n")
    source.graph.node.append(helper.make_node("Softmax", ["y"], ["p"], name="softmax", **attributes))
    source.graph.output[0].name = "p"
    return source


def test_what_a_plan_says():
    found = describe(planned("digits_cnn_2w2a"))
    assert [s.kind for s in found.steps][:2] == ["quantize", "convolution 3x3, 1 to 16"]
    assert found.steps[1].epilogue == "3 thresholds"
    assert found.macs == sum(s.macs for s in found.steps)
    assert "pixels -> logits" in str(found)


def _weights_of_bytes():
    return np.random.default_rng(0).integers(-127, 128, (2, 4, 4)).astype(np.int8)


def _bytes_net(zero_points, kind=np.uint8, scale=0.03125):
    """Two layers of QuantizeLinear and DequantizeLinear, as ONNX Runtime's quantiser writes them."""
    weights = _weights_of_bytes()
    nodes, values = [], {"s": np.float32(scale), "ws": np.float32(0.0078125)}
    x = "x"
    for i, zero_point in enumerate(zero_points):
        values[f"z{i}"] = kind(zero_point)
        nodes += [
            helper.make_node("QuantizeLinear", [x, "s", f"z{i}"], [f"q{i}"]),
            helper.make_node("DequantizeLinear", [f"q{i}", "s", f"z{i}"], [f"x{i}"]),
        ]
        x = f"x{i}"
        if i < len(weights):
            values[f"w{i}"] = weights[i]
            nodes += [
                helper.make_node("DequantizeLinear", [f"w{i}", "ws"], [f"w{i}r"]),
                helper.make_node("MatMul", [x, f"w{i}r"], [f"h{i}"]),
            ]
            x = f"h{i}"
    return model(nodes, values, inputs={"x": ["N", 4]}, outputs=[x])


def _bytes_net_in_fractions(zero_points, kind, scale, x):
    """Its results in exact arithmetic, and whether a sum of a row is on a tie of the next quantiser."""
    weights, step = _weights_of_bytes(), Fraction(float(np.float32(scale)))
    info, results, on_tie = np.iinfo(kind), [], []
    with np.errstate(over="ignore"):
        first = np.clip(np.rint(x / np.float32(scale)) + zero_points[0], info.min, info.max) - zero_points[0]
    for levels in first.astype(int).tolist():
        row, ties = levels, False
        for w, zero_point in zip(weights, zero_points[1:], strict=True):
            sums = [Fraction(sum(a * int(b) for a, b in zip(row, column, strict=True)), 128) for column in w.T]
            ties |= any(t.denominator == 2 for t in sums)  # of the same scale before and behind
            row = [min(max(round(t) + zero_point, info.min), info.max) - zero_point for t in sums]
        results.append([float(np.float32(step * level)) for level in row])
        on_tie.append(ties)
    return np.float32(results), np.array(on_tie)


@pytest.mark.parametrize("scale", [0.03125, 0.037])
@pytest.mark.parametrize(
    ("kind", "zero_points"),
    [(np.uint8, (77, 113, 128)), (np.uint8, (0, 255, 1)), (np.uint8, (254, 0, 0)), (np.int8, (-128, 5, -1))],
)
def test_bytes_of_any_zero_point_are_levels(kind, zero_points, scale):
    """As in exact arithmetic, but for ties of a scale that is no power of two, which float rounding decides."""
    source = _bytes_net(zero_points, kind, scale)
    plan = plan_of(source)
    assert not plan.refusals
    assert [p.name for p in plan.inputs] == ["x"]
    rng = np.random.default_rng(1)
    halves = (rng.integers(-600, 600, (200, 4)) / 2 * scale).astype(np.float32)
    ends = np.float32([[np.inf, -np.inf, 3e38, -0.0], [1e-45, -1e-45, 255.5 * scale, -255.5 * scale]])
    x = np.concatenate([rng.normal(scale=3, size=(200, 4)).astype(np.float32), halves, ends])
    found, known = both(source, plan, {"x": x})
    (output,) = found
    exact, on_tie = _bytes_net_in_fractions(zero_points, kind, scale, x)
    decided = ~on_tie | (scale == 0.03125)
    assert decided.mean() > 0.8
    np.testing.assert_array_equal(found[output][decided], exact[decided])
    np.testing.assert_array_equal(known[output][decided], exact[decided])
    np.testing.assert_allclose(found[output], exact, rtol=0, atol=4 * scale)


def test_a_clip_to_no_number_of_the_quantiser_is_compared():
    nodes = [
        quant("x", "q"),
        helper.make_node("Clip", ["q", "least", "most"], ["c"]),
        quant("w", "wq"),
        helper.make_node("MatMul", ["c", "wq"], ["y"]),
    ]
    constants = parameters("q", scale=0.25, bits=9) | parameters("wq", scale=0.125)
    constants |= {"w": np.ones((3, 2), np.float32), "least": np.float32(-20), "most": np.float32(20)}
    for least in (-20.0, -20.1):
        constants["least"] = np.float32(least)
        source = model(nodes, constants, inputs={"x": ["N", 3]}, outputs=["y"])
        x = np.float32([[-30, 30, 0], [-20.06, 20.1, 1]])
        plan = plan_of(source) if least == -20.0 else None
        if plan is None:
            with pytest.raises(UnsupportedError, match="no layer"):
                plan_of(source)
            continue
        found, known = both(source, plan, {"x": x})
        np.testing.assert_array_equal(found["y"], known["y"])
