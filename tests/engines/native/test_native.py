"""The native engine: on every path that the processor has, what the plan means, bit for bit."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import anybit
from anybit.engines.engine import FallbackWarning
from anybit.engines.native import compile as compiling
from anybit.engines.native.compile import ISA, compiled
from anybit.engines.sampling import random_inputs
from anybit.errors import AnybitError, InputError, UnsupportedError, UsageError
from anybit.plan import (
    Arithmetic,
    Compare,
    Dequantize,
    Element,
    FloatStep,
    PairTable,
    Plan,
    Port,
    Product,
    Quantize,
    Tensor,
    Window,
    execute,
    plan_of,
)
from anybit.plan import build as building
from tests.engines.native.layers import (
    binary_layers,
    filtered_layer,
    lined_layer,
    narrowing,
    nearly_lined_layer,
    random_layer,
    samples_of,
)
from tests.integration.corpus import CORPUS, needs_corpus
from tests.models import PROJECT, mlp, model, parameters, quant
from tests.plan.nets import random_net
from tests.plan.test_plan import WHOLE, ZOO, ending_with_softmax, path_of, planned, planned_net

kernels = pytest.importorskip("anybit_kernels", reason="the kernels are not built: make native")
ISAS = ("amx", "avx512vpopcntdq", "avx512vnni", "avxvnni", "avx2", "neon", "scalar")


@pytest.fixture(params=ISAS)
def isa(request, monkeypatch):
    """A path of the kernels; a processor without it skips by name."""
    if request.param not in kernels.isas():
        pytest.skip(f"the processor has no path {request.param}")
    monkeypatch.setenv(ISA, request.param)
    return request.param


Runs = tuple[Plan, tuple[tuple[dict[str, np.ndarray], dict[str, np.ndarray]], ...]]
"""A plan, and inputs with what it means for them: the same for each path of the kernels."""


def assert_runs(runs: Runs, *, threads: int = 1) -> None:
    plan, examples = runs
    net = compiled(plan, threads=threads)
    for x, wanted in examples:
        found = net.run(x)
        assert found.keys() == wanted.keys()
        for name, array in wanted.items():
            np.testing.assert_array_equal(found[name], array)


@cache
def runs_of_net(seed: int) -> Runs:
    plan = planned_net(seed)
    rng = np.random.default_rng(seed)
    examples = []
    for samples in (1, 5, 67):
        x = {p.name: (rng.normal(size=(samples, *p.shape)) * 3).astype(np.float32) for p in plan.inputs}
        for array in x.values():
            array.flat[:1] = np.inf
        examples.append((x, execute(plan, x)))
    return plan, tuple(examples)


def runs(plan: Plan, *samples: int) -> Runs:
    inputs = [samples_of(plan, n) for n in samples]
    return plan, tuple((x, execute(plan, x)) for x in inputs)


@cache
def runs_of_layer(seed: int) -> Runs:
    return runs(random_layer(seed), 1, 3, 18)


@cache
def runs_of_lined_layer(seed: int) -> Runs:
    return runs(lined_layer(seed), 1, 2, 18, 33)


@cache
def runs_of_nearly_lined_layer(seed: int) -> Runs:
    return runs(nearly_lined_layer(seed), 1, 2, 18, 33)


@cache
def runs_of_filtered_layer(seed: int) -> Runs:
    return runs(filtered_layer(seed), 1, 3, 18)


@cache
def runs_of_binary_layers(seed: int) -> Runs:
    return runs(binary_layers(seed), 1, 3, 18)


@cache
def runs_of_narrowing(size: int) -> Runs:
    return runs(narrowing(size, size), 1, 15, 16, 64, 65, 150)


@cache
def runs_of_shipped(name: str) -> Runs:
    plan = planned(name)
    rng = np.random.default_rng(0)
    x = {p.name: rng.normal(size=(3, *p.shape)).astype(np.float32) for p in plan.inputs}
    return plan, ((x, execute(plan, x)),)


@pytest.mark.parametrize("seed", range(60))
def test_random_plans_are_run_to_the_bit(seed, isa):
    assert_runs(runs_of_net(seed))


@pytest.mark.parametrize("seed", range(60))
def test_random_layers_are_run_to_the_bit(seed, isa):
    assert_runs(runs_of_layer(seed))


@pytest.mark.parametrize("seed", range(60))
def test_layers_with_thresholds_next_to_a_line_are_run_to_the_bit(seed, isa):
    assert_runs(runs_of_lined_layer(seed))


@pytest.mark.parametrize("seed", range(30))
def test_layers_with_thresholds_beside_a_line_are_run_to_the_bit(seed, isa):
    assert_runs(runs_of_nearly_lined_layer(seed))


@pytest.mark.parametrize("seed", range(40))
def test_convolutions_by_transformed_tiles_are_run_to_the_bit(seed, isa):
    assert_runs(runs_of_filtered_layer(seed))


@pytest.mark.parametrize("seed", range(60))
def test_products_of_two_levels_by_signs_are_run_to_the_bit(seed, isa):
    assert_runs(runs_of_binary_layers(seed))


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 17])
@pytest.mark.parametrize("positions", [1, 15, 16, 37, 64, 255, 256, 257, 530])
@pytest.mark.parametrize("scale", [[0.25], [2.0**-126], [2.0**118], [0.3], [0.5, 0.125], [0.5, 0.7]])
def test_reals_by_planes_are_quantised_to_the_bit(channels, positions, scale, isa):
    """Scales whose inverse is a number are multiplied by; others, of which one is no power of two, divide."""
    rng = np.random.default_rng(channels)
    elements = channels * positions
    tensors = (
        Tensor("x", elements, Element.REAL),
        Tensor("levels", elements, Element.BYTE, 100, 0, 255, 0),
        Tensor("y", elements, Element.REAL),
    )
    scales = np.resize(np.array(scale, np.float32), 1 if len(scale) == 1 else channels)
    zero = np.full(1, 100, np.float32)
    steps = (
        Quantize(
            0, 1, channels, True, (FloatStep(Arithmetic.MULTIPLY, np.full(1, 3, np.float32)),), scales, zero, 0, 255
        ),
        Dequantize(1, 2, channels, True, np.ones(1), 1.0, np.zeros(1), ()),
    )
    ports = (Port("x", 0, (channels, positions)),), (Port("y", 2, (channels, positions)),)
    plan = Plan(tensors, steps, *ports, -(-elements // 64) * 64, ())
    x = (rng.integers(-900, 900, (4, channels, positions)) * np.float32(scale[0]) / 6).astype(np.float32)
    x[1, 0, 0], x[1, -1, -1], x[2, 0, -1] = np.inf, -np.inf, -0.0
    np.testing.assert_array_equal(compiled(plan).run({"x": x})["y"], execute(plan, {"x": x})["y"])
    x[2, channels - 1, positions - 1] = np.nan
    assert compiled(plan).run({"x": x}) is None


@pytest.mark.parametrize(("lo", "hi"), [(-1, 1), (-2, 1), (-8, 7), (-9, 7), (0, 0)])
@pytest.mark.parametrize("inputs", [700, 4099])
def test_a_vector_by_a_matrix_of_few_bits_is_run_to_the_bit(lo, hi, inputs, isa):
    rng = np.random.default_rng(inputs)
    outputs = 411
    weights = rng.integers(lo, hi + 1, (outputs, 1, 1, inputs)).astype(np.int8)
    if lo == -1:
        weights[weights == 0] = 1
    weights[0] = lo
    offset = rng.integers(-99, 99, outputs).astype(np.int32)
    bounds = np.full(outputs, 1 << 30, np.int32)
    tensors = (
        Tensor("x", inputs, Element.REAL),
        Tensor("levels", inputs, Element.BYTE, 7, 0, 255, 0),
        Tensor("sums", outputs, Element.SUM, 0, -(1 << 30), 1 << 30, 4160),
        Tensor("y", outputs, Element.REAL),
    )
    one = np.ones(1, np.float32)
    steps = (
        Quantize(0, 1, 1, False, (), one, 7 * one, 0, 255),
        Product(1, 2, Window((1, 1)), 1, weights, offset, -bounds, bounds),
        Dequantize(2, 3, 1, False, np.ones(1), 1.0, np.zeros(1), ()),
    )
    plan = Plan(tensors, steps, (Port("x", 0, (inputs,)),), (Port("y", 3, (outputs,)),), 6080, ())
    for samples in (1, 2, 17):
        x = {"x": rng.integers(-7, 300, (samples, inputs)).astype(np.float32)}
        np.testing.assert_array_equal(compiled(plan).run(x)["y"], execute(plan, x)["y"])


@pytest.mark.parametrize("size", [30, 80, 100])
@pytest.mark.parametrize("threads", [1, 2])
def test_samples_that_go_through_later_layers_together_are_run_to_the_bit(size, threads, isa):
    assert_runs(runs_of_narrowing(size), threads=threads)


@pytest.mark.parametrize("channels", [1, 3, 16, 21, 33])
@pytest.mark.parametrize("count", [1, 7, 15, 16, 40])
def test_reals_by_planes_are_compared_to_the_bit(channels, count, isa):
    rng = np.random.default_rng(count)
    positions = 37
    thresholds = np.sort(rng.normal(size=(channels, count)), axis=1).astype(np.float32)
    thresholds[:, -1] = np.where(np.arange(channels) % 3 == 1, np.nan, thresholds[:, -1])
    step = rng.choice([-1, 1], channels).astype(np.int32)
    base = np.where(step < 0, 200, 3).astype(np.int32)
    elements = channels * positions
    tensors = (
        Tensor("x", elements, Element.REAL),
        Tensor("levels", elements, Element.BYTE, 0, 0, 255, 0),
        Tensor("y", elements, Element.REAL),
    )
    steps = (
        Compare(0, 1, channels, True, base, step, thresholds),
        Dequantize(1, 2, channels, True, np.ones(1), 1.0, np.zeros(1), ()),
    )
    arena = -(-elements // 64) * 64
    ports = (Port("x", 0, (channels, positions)),), (Port("y", 2, (channels, positions)),)
    plan = Plan(tensors, steps, *ports, arena, ())
    x = rng.normal(size=(4, channels, positions)).astype(np.float32)
    x[:, :, 0], x[:, :, 1], x[:, 0, : min(count, positions)] = np.inf, -np.inf, thresholds[0, :positions]
    x = np.nan_to_num(x, nan=0.5, posinf=np.inf, neginf=-np.inf)
    np.testing.assert_array_equal(compiled(plan).run({"x": x})["y"], execute(plan, {"x": x})["y"])
    x[2, channels - 1, positions - 1] = np.nan
    assert compiled(plan).run({"x": x}) is None


@pytest.mark.parametrize("rows", [1, 5, 16, 40])
@pytest.mark.parametrize("by_channel", [False, True])
def test_pairs_of_levels_are_run_to_the_bit(rows, by_channel, isa):
    rng = np.random.default_rng(rows)
    elements, channels = 7 * 23, 23
    table = rng.integers(0, 256, (channels if by_channel else 1, rows, 16)).astype(np.uint8)
    tensors = (
        Tensor("x", elements, Element.REAL),
        Tensor("z", elements, Element.REAL),
        Tensor("a", elements, Element.BYTE, 0, 0, rows - 1, 0),
        Tensor("b", elements, Element.BYTE, 0, 0, 15, 192),
        Tensor("c", elements, Element.BYTE, 0, 0, 255, 384),
        Tensor("y", elements, Element.REAL),
    )
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    steps = (
        Quantize(0, 2, 1, False, (), one, zero, 0, rows - 1),
        Quantize(1, 3, 1, False, (), one, zero, 0, 15),
        PairTable(2, 3, 4, channels, table),
        Dequantize(4, 5, 1, False, np.ones(1), 1.0, np.zeros(1), ()),
    )
    inputs = (Port("x", 0, (elements,)), Port("z", 1, (elements,)))
    plan = Plan(tensors, steps, inputs, (Port("y", 5, (elements,)),), 576, ())
    x = {name: rng.integers(0, 40, (9, elements)).astype(np.float32) for name in ("x", "z")}
    np.testing.assert_array_equal(compiled(plan).run(x)["y"], execute(plan, x)["y"])


def test_the_time_of_each_step_is_told(isa):
    plan = random_layer(1)
    net = compiled(plan, threads=2)
    spent = net.times(samples_of(plan, 40))
    assert len(spent) == len(plan.steps)
    assert all(n > 0 for n in spent)
    assert net.times({}) is None
    assert net.times({"x": np.full((1, plan.tensors[0].elements), np.nan, np.float32)}) is None


def test_a_softmax_is_run_to_the_bit(isa):
    plan = plan_of(ending_with_softmax(21, {}))
    x = {"x": np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)}
    np.testing.assert_array_equal(compiled(plan).run(x)["p"], execute(plan, x)["p"])


@pytest.mark.parametrize("name", ZOO)
def test_the_shipped_models_are_run_to_the_bit(name, isa):
    assert_runs(runs_of_shipped(name))


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("batch", [1, 9])
def test_sessions_give_what_the_reference_gives(name, batch):
    native, reference = (anybit.Session(path_of(name), engine=e) for e in ("native", "reference"))
    x = random_inputs(path_of(name), batch)
    for output, array in reference.run(x).items():
        np.testing.assert_array_equal(native.run(x)[output], array)


@needs_corpus
@pytest.mark.parametrize("name", ["cnv_2w2a", "jet_mlp_6b", "trunc_avgpool_floor", "zoo_asym_ternary"])
def test_float_heads_and_tails_run_around_a_plan(name):
    path = CORPUS / name / "model.onnx"
    native, reference = (anybit.Session(path, engine=e) for e in ("native", "reference"))
    x = random_inputs(path, 3)
    for output, array in reference.run(x).items():
        np.testing.assert_allclose(native.run(x)[output], array, rtol=0, atol=1e-5 * np.abs(array).max())


def test_auto_takes_it_for_a_whole_plan(isa):
    assert anybit.Session(path_of("digits_cnn_2w2a")).engine is anybit.engines.Engine.NATIVE
    assert anybit.Session(path_of("assignments_transformer_4w8a")).engine is anybit.engines.Engine.ONNXRUNTIME


def between_floats(size: int, tail: int) -> onnx.ModelProto:
    """A float convolution, one of levels of 64 channels, and a float one of so many channels behind a sine."""
    rng = np.random.default_rng(size)
    nodes = [
        helper.make_node("Conv", ["x", "head"], ["h"]),
        quant("h", "q"),
        quant("w", "wq"),
        helper.make_node("Conv", ["q", "wq"], ["s"], pads=[1, 1, 1, 1]),
        quant("s", "r"),
        helper.make_node("Sin", ["r"], ["t"]),
        helper.make_node("Conv", ["t", "tail"], ["y"]),
    ]
    weights = {
        "head": rng.normal(size=(8, 3, 1, 1)),
        "w": rng.integers(-7, 8, (64, 8, 3, 3)),
        "tail": rng.normal(size=(tail, 64, 1, 1)),
    }
    constants = {name: array.astype(np.float32) for name, array in weights.items()}
    constants |= parameters("q", scale=0.25) | parameters("wq", scale=1.0) | parameters("r", scale=4.0)
    return model(nodes, constants, inputs={"x": ["N", 3, size, size]}, outputs=["y"])


@pytest.mark.parametrize(
    ("size", "tail", "engine"),
    [
        (24, 1, "native"),
        (24, 20, "native"),  # 1,280 of 5,912 multiplications a pixel
        (24, 30, "onnxruntime"),  # 1,920 of 6,552: more than a quarter
        (14, 1, "onnxruntime"),  # less than 2^20 in all
    ],
)
def test_auto_takes_it_where_most_of_a_model_is_a_plan(size, tail, engine, isa):
    proto = between_floats(size, tail)
    session = anybit.Session(proto)
    assert session.engine.value == engine
    assert anybit.Session(proto, engine="native").engine is anybit.engines.Engine.NATIVE
    x = np.random.default_rng(1).normal(size=(3, 3, size, size)).astype(np.float32)
    wanted = anybit.run(proto, x, engine="reference")["y"]
    np.testing.assert_allclose(session.run(x)["y"], wanted, atol=1e-4)
    x[1, 0, 0, 0] = np.nan
    np.testing.assert_array_equal(
        np.isnan(session.run(x)["y"]), np.isnan(anybit.run(proto, x, engine="reference")["y"])
    )


@pytest.mark.parametrize("gate", [False, True])
def test_a_model_that_cannot_be_a_plan_is_refused_before_its_values_are_known(gate, monkeypatch):
    """Squeeze and excitation in front of most products: its product broadcasts, and what is behind is no plan."""
    analysed: list[int] = []
    original = building.values_of
    monkeypatch.setattr(building, "values_of", lambda *a, **k: analysed.append(1) or original(*a, **k))
    nodes = [quant("x", "q", prefix="p")]
    if gate:
        nodes += [helper.make_node("GlobalAveragePool", ["q"], ["m"]), helper.make_node("Sigmoid", ["m"], ["g"])]
        nodes += [helper.make_node("Mul", ["q", "g"], ["h"]), quant("h", "r", prefix="p")]
    nodes += [quant("w", "wq", prefix="p"), helper.make_node("Conv", ["r" if gate else "q", "wq"], ["s"])]
    nodes += [quant("s", "y", prefix="p")]
    constants = parameters("p", scale=0.25) | {"w": np.float32(np.random.default_rng(0).normal(size=(8, 4, 3, 3)))}
    session = anybit.Session(model(nodes, constants, inputs={"x": ["N", 4, 9, 9]}, outputs=["y"]))
    assert session.engine.value == ("onnxruntime" if gate else "native")
    assert bool(analysed) is not gate


def test_a_session_that_returns_intermediate_tensors_is_not_native():
    with pytest.raises(UsageError, match="no intermediate tensors"):
        anybit.Session(mlp(), engine="native", tensors=["h"])
    assert set(anybit.Session(mlp(), tensors=["h"]).run(np.zeros((1, 6), np.float32))) == {"y", "h"}


def test_nan_and_infinities_are_as_the_reference_has_them():
    path = path_of("digits_cnn_2w2a")
    native, reference = (anybit.Session(path, engine=e) for e in ("native", "reference"))
    for bad in (np.nan, np.inf, -np.inf):
        x = random_inputs(path, 2)
        x["pixels"][1, 0, 3, 3] = bad
        np.testing.assert_array_equal(native.run(x)["logits"], reference.run(x)["logits"])


def test_arrays_of_any_kind_give_right_results_or_one_line():
    session = anybit.Session(path_of("digits_cnn_2w2a"), engine="native")
    x = random_inputs(path_of("digits_cnn_2w2a"), 4)["pixels"]
    wanted = session.run({"pixels": x})["logits"]
    frozen = x.copy()
    frozen.flags.writeable = False
    unaligned = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape)
    for array in (x[::-1][::-1], np.asfortranarray(x), frozen, unaligned):
        np.testing.assert_array_equal(session.run({"pixels": array})["logits"], wanted)
    np.testing.assert_array_equal(session.run(x)["logits"], wanted)
    assert session.run({"pixels": x[:0]})["logits"].shape == (0, 10)
    for bad in (x.astype(">f4"), x.astype(np.float64), x[:, :, :4], x[0], np.zeros(0, np.float32)):
        with pytest.raises(InputError):
            session.run({"pixels": bad})
    for feeds in ({}, {"other": x}, {"pixels": x, "other": x}):
        with pytest.raises(InputError):
            session.run(feeds)


def test_other_code_of_the_thread_finds_the_processor_as_it_left_it(isa, monkeypatch):
    """ONNX Runtime's products of bytes take the shape of tiles for granted that they set themselves."""
    path = path_of("digits_cnn_4w4a")
    native = anybit.Session(path, engine="native", threads=1)
    monkeypatch.setenv(ISA, "none")
    other = anybit.Session(path, threads=1)
    assert other.engine is anybit.engines.Engine.ONNXRUNTIME
    inputs = [random_inputs(path, batch, seed=batch) for batch in (1, 3, 16, 64, 100)]
    wanted = [other.run(x)["logits"] for x in inputs]
    found = [native.run(x)["logits"] for x in inputs]
    for place in [*range(5), *reversed(range(5))]:
        np.testing.assert_array_equal(native.run(inputs[place])["logits"], found[place])
        np.testing.assert_array_equal(other.run(inputs[-1 - place])["logits"], wanted[-1 - place])


def test_threads_share_a_session():
    path = path_of("digits_cnn_4w4a")
    session = anybit.Session(path, engine="native", threads=2)
    inputs = [random_inputs(path, 100, seed=seed) for seed in range(6)]
    wanted = [anybit.Session(path, engine="native", threads=1).run(x)["logits"] for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        for found, expected in zip(pool.map(session.run, inputs * 5), wanted * 5, strict=True):
            np.testing.assert_array_equal(found["logits"], expected)


def test_runs_do_not_grow():
    session = anybit.Session(path_of("digits_mlp_2w2a"), engine="native")
    x = random_inputs(path_of("digits_mlp_2w2a"), 1)
    for _ in range(1000):
        session.run(x)
    before = _resident()
    for _ in range(100_000):
        session.run(x)
    assert _resident() - before < 2 << 20


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_path_that_the_processor_lacks_is_one_line(monkeypatch):
    monkeypatch.setenv(ISA, "abacus")
    with pytest.raises(UsageError, match="ANYBIT_ISA"):
        anybit.Session(path_of("digits_mlp_2w2a"), engine="native")


def test_a_path_whose_results_depart_is_said_in_one_line_and_not_used(monkeypatch):
    monkeypatch.setattr(kernels, "departing", lambda: ("abacus",))
    with pytest.warns(FallbackWarning, match="abacus"):
        assert compiling.path() in ISAS
    monkeypatch.setenv(ISA, "abacus")
    with pytest.raises(UsageError, match="wrong results"):
        anybit.Session(path_of("digits_mlp_2w2a"), engine="native")


def test_they_can_be_switched_off(monkeypatch):
    monkeypatch.setenv(ISA, "none")
    with pytest.raises(UnsupportedError, match="switched off"):
        anybit.Session(path_of("digits_mlp_2w2a"), engine="native")
    assert anybit.Session(path_of("digits_mlp_2w2a")).engine is anybit.engines.Engine.ONNXRUNTIME


def test_kernels_of_another_version_are_refused_and_auto_does_without(monkeypatch):
    monkeypatch.setattr(compiling, "VERSION", "0.0.1")
    with pytest.raises(UnsupportedError, match="another version"):
        anybit.Session(path_of("digits_mlp_2w2a"), engine="native")
    assert anybit.Session(path_of("digits_mlp_2w2a")).engine is anybit.engines.Engine.ONNXRUNTIME


def test_without_kernels_everything_works_as_before(monkeypatch):
    monkeypatch.setitem(sys.modules, "anybit_kernels", None)
    with pytest.raises(UnsupportedError, match="pip install anybit-kernels"):
        anybit.Session(path_of("digits_mlp_2w2a"), engine="native")
    assert anybit.Session(path_of("digits_mlp_2w2a")).engine is anybit.engines.Engine.ONNXRUNTIME


def test_a_model_without_integer_layers_is_one_line():
    source = mlp()
    del source.graph.node[3:]
    source.graph.output[0].name = "h"
    source.graph.node[2].input[:] = ["x", "w"]
    del source.graph.node[:2]
    with pytest.raises(UnsupportedError, match="MatMul 'matmul'"):
        anybit.Session(source, engine="native")


HOSTILE = """
import random, sys
import numpy as np
import anybit_kernels
from anybit.engines.engine import FallbackWarning
from anybit.engines.native import compile as compiling
from anybit.plan import plan_of
from tests.plan.nets import random_net

seen = []
class Net:
    def __init__(self, *arguments):
        seen.append(arguments)
real = anybit_kernels.Net
anybit_kernels.Net = Net
for seed in (0, 3, 11, 24):
    compiling.compiled(plan_of(random_net(seed)))
rng = random.Random(int(sys.argv[1]))
NUMBERS = [0, 1, -1, 2, 255, 256, 7, 1 << 20, 1 << 31, -(1 << 31), (1 << 63) - 1, 1 << 70]

def damaged(value, depth=0):
    if isinstance(value, np.ndarray):
        kind = rng.randrange(6)
        if kind == 0:
            return value[:-1] if value.size else value
        if kind == 1:
            return value.astype(np.float64)
        if kind == 2:
            return np.asfortranarray(value)[::-1]
        if kind == 3:
            return value.astype(value.dtype.newbyteorder())
        if kind == 4 and value.size:
            copy = value.copy()
            copy.flat[rng.randrange(copy.size)] = rng.choice([0, 1, 100, -100]) if value.dtype.kind != "u" else 255
            return copy
        return rng.choice([None, 3, "text", b"bytes", np.zeros((0, 3), value.dtype)])
    if isinstance(value, (list, tuple)) and value and rng.random() < 0.95:
        items = list(value)
        place = rng.randrange(len(items))
        if rng.random() < 0.1:
            del items[place]
        else:
            items[place] = damaged(items[place], depth + 1)
        return type(value)(items)
    if isinstance(value, int):
        return rng.choice(NUMBERS)
    return rng.choice([None, 1.5, "scalar", (), []])

refused = ran = 0
for _ in range(int(sys.argv[2])):
    arguments = rng.choice(seen)
    try:
        net = real(*damaged(arguments))
    except (ValueError, TypeError, OverflowError, BufferError, SystemError, RuntimeError, MemoryError):
        refused += 1
        continue
    shape = arguments[2][0][2]
    for feeds in ({"x": np.ones((2, *shape), np.float32)}, {"x": np.ones((2, 1), np.float32)}, None, [], {"x": 3}):
        try:
            net.run(feeds)
        except (ValueError, TypeError, MemoryError):
            pass
    ran += 1
print(refused, ran)
"""


def test_wrong_sizes_strides_and_types_are_refused_and_end_nothing():
    folders = [str(PROJECT / "src"), str(PROJECT), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(folders)}
    command = [sys.executable, "-W", "ignore", "-c", HOSTILE, "0", "500"]
    ended = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    refused, ran = map(int, ended.stdout.split())
    assert refused > 150
    assert ran > 5


def test_kernels_refuse_random_nets_that_no_plan_is_made_of():
    for seed in range(60, 70):
        try:
            plan = plan_of(random_net(seed))
        except AnybitError:
            continue
        compiled(plan)
