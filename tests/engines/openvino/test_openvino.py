"""OpenVINO: the same numbers as the reference in every form, and a warning where it is not used."""

from __future__ import annotations

import sys
import threading
from importlib.util import find_spec

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from anybit import Session, compare, load
from anybit.analysis.grid_step import grid_step
from anybit.engines.engine import Engine
from anybit.engines.openvino import backend as engine
from anybit.errors import InputError, UnsupportedError
from tests.integration.corpus import WRONG_EXPORTS, departures, executable_files, needs_corpus
from tests.models import mlp, model, parameters, quant, samples

needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="needs OpenVINO: pip install openvino")
falls_back = pytest.mark.filterwarnings("ignore::anybit.engines.openvino.backend.FallbackWarning")

# ONNX Runtime and the reference differ on all inputs: an average, then a quantiser, on rounding ties.
UNSTABLE = "mobilenetv1_4w4a_224/model_qcdq.onnx"


def conv_net(*, bits=2, signed=1, narrow=0, weight_bits=2, scale=0.3, channels=4, tail=(), batch="N"):
    """x -> Quant -> Conv(Quant(w)) + b -> Quant -> tail -> y, all per-channel weight scales different."""
    rng = np.random.default_rng(bits + weight_bits)
    weights = {
        "w": rng.normal(size=(channels, 3, 3, 3)).astype(np.float32),
        "b": rng.normal(size=channels).astype(np.float32),
    }
    scales = rng.uniform(0.1, 0.5, (channels, 1, 1, 1)).astype(np.float32)
    last = "y" if not tail else "a"
    nodes = [
        quant("x", "xq", signed=signed, narrow=narrow * signed),
        quant("w", "wq", narrow=1),
        helper.make_node("Conv", ["xq", "wq", "b"], ["h"], name="conv", pads=[1, 1, 1, 1]),
        quant("h", last, signed=signed, narrow=narrow * signed),
        *tail,
    ]
    initializers = weights | parameters("xq", scale=scale, bits=bits) | parameters(last, scale=scale, bits=bits)
    initializers |= parameters("wq", scale=scales, bits=weight_bits)
    return model(nodes, initializers, inputs={"x": [batch, 3, 6, 6]}, outputs=["y"])


def pooled_net():
    """A quantiser, an average, and one more layer: OpenVINO would round the average of bytes."""
    tail = (
        helper.make_node("AveragePool", ["a"], ["p"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Identity", ["p"], ["y"]),
    )
    return conv_net(bits=4, scale=0.25, tail=tail)


def byte_layers(session):
    """How many layers OpenVINO computes on bytes."""
    infos = [op.get_rt_info() for op in session._backend._compiled.get_runtime_model().get_ops()]
    kinds = [(i["layerType"].astype(str), i["runtimePrecision"].astype(str)) for i in infos]
    return sum(p in ("i8", "u8") for kind, p in kinds if kind in ("Convolution", "FullyConnected", "MatMul"))


def agrees(session, reference, x, step=None):
    for name, wanted in reference.run(x).items():
        actual = session.run(x)[name]
        assert actual.dtype == wanted.dtype
        assert actual.shape == wanted.shape
        assert departures(actual, wanted, step) == 0


def test_without_the_package_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'anybit\[openvino\]'"):
        Session(mlp(), engine="openvino")


def test_no_other_engine_needs_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert Session(mlp()).engine is Engine.ONNXRUNTIME


@needs_openvino
@pytest.mark.parametrize("batch", [1, 4, "N"])
@pytest.mark.parametrize("threads", [None, 1, 2])
def test_an_mlp_gives_the_same_on_any_batch_and_threads(batch, threads):
    session, reference = (
        Session(mlp(batch=batch), engine="openvino", threads=threads),
        Session(mlp(), engine="reference"),
    )
    assert session.engine is Engine.OPENVINO
    for count in (4, 12, 4):
        x = samples(count, 6)
        np.testing.assert_array_equal(session.run(x)["y"], reference.run(x)["y"])


@needs_openvino
@settings(max_examples=30, deadline=None)
@given(
    bits=st.integers(2, 8),
    signed=st.integers(0, 1),
    narrow=st.integers(0, 1),
    weight_bits=st.integers(2, 8),
    scale=st.sampled_from([0.25, 0.3, 1 / 255, 0.017]),
    seed=st.integers(0, 99),
)
@falls_back
def test_grids_of_every_kind_agree_with_the_reference(bits, signed, narrow, weight_bits, scale, seed):
    net = conv_net(bits=bits, signed=signed, narrow=narrow, weight_bits=weight_bits, scale=scale)
    x = samples(64, 3, 6, 6, seed=seed) * np.float32(scale * 2**bits)
    agrees(Session(net, engine="openvino", threads=1), Session(net, engine="reference"), x, step=scale)


@needs_openvino
@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("signed", [0, 1])
def test_convolutions_are_computed_on_bytes(bits, signed):
    session = Session(conv_net(bits=bits, signed=signed, scale=0.25, channels=16), engine="openvino", threads=1)
    assert byte_layers(session) == 1


@needs_openvino
def test_averages_of_bytes_are_not_rounded():
    session = Session(pooled_net(), engine="openvino", threads=1)
    assert byte_layers(session) == 1
    agrees(session, Session(pooled_net(), engine="reference"), samples(8, 3, 6, 6))


@needs_openvino
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, -0.0])
def test_extreme_inputs_give_what_the_reference_gives(value):
    x = samples(3, 6)
    x[1, 2] = value
    expected = Session(mlp(), engine="reference").run(x)["y"]
    np.testing.assert_array_equal(Session(mlp(), engine="openvino").run(x)["y"], expected)


@needs_openvino
def test_no_samples_give_no_rows():
    assert Session(mlp(batch="N"), engine="openvino").run(samples(0, 6))["y"].shape == (0, 8)


@needs_openvino
def test_inputs_that_do_not_fit_are_refused_by_name():
    session = Session(mlp(), engine="openvino")
    with pytest.raises(InputError, match="float64"):
        session.run(np.zeros((2, 6)))
    with pytest.raises(InputError, match="shape"):
        session.run(np.zeros((2, 7), np.float32))


@needs_openvino
def test_read_only_and_strided_inputs_stay_as_they_are():
    wide = samples(4, 12)
    wide.flags.writeable = False
    x, kept = wide[:, ::2], wide.copy()
    expected = Session(mlp(), engine="reference").run(x.copy())["y"]
    session = Session(mlp(), engine="openvino")
    np.testing.assert_array_equal(session.run(x)["y"], expected)
    whole = np.ascontiguousarray(x)
    whole.flags.writeable = False
    np.testing.assert_array_equal(session.run(whole)["y"], expected)
    np.testing.assert_array_equal(wide, kept)


@needs_openvino
def test_a_session_serves_several_threads_and_keeps_no_result():
    session, reference = Session(mlp(batch="N"), engine="openvino", threads=1), Session(mlp(), engine="reference")
    batches = [samples(5, 6, seed=seed) for seed in range(8)]
    results: list[list[np.ndarray]] = [[] for _ in batches]

    def work(place):
        results[place] = [session.run(batches[place])["y"] for _ in range(20)]

    workers = [threading.Thread(target=work, args=(i,)) for i in range(len(batches))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for x, found in zip(batches, results, strict=True):
        expected = reference.run(x)["y"]
        assert len(found) == 20
        for y in found:
            np.testing.assert_array_equal(y, expected)


@needs_openvino
@falls_back
def test_intermediate_tensors_are_returned():
    x, net = samples(4, 3, 6, 6), conv_net(bits=4)
    session = Session(net, engine="openvino", tensors="all")
    reference = Session(net, engine="reference", tensors="all").run(x)
    found = session.run(x)
    assert list(found) == list(reference)
    for name, wanted in reference.items():
        assert departures(found[name], wanted, 0.3) == 0, name


@needs_openvino
def test_compare_takes_the_engine():
    assert compare(mlp(), mlp(), engine_a="reference", engine_b="openvino").equal


@needs_openvino
def test_other_inputs_than_float32_are_left_to_onnx_runtime():
    nodes = [helper.make_node("Gather", ["table", "x"], ["y"])]
    net = model(nodes, {"table": samples(5, 3)}, inputs={"x": ["N"]}, outputs=["y"], input_type=TensorProto.INT64)
    with pytest.warns(engine.FallbackWarning, match="ONNX Runtime computes the model: input 'x' is not float32"):
        session = Session(net, engine="openvino")
    with pytest.raises(InputError, match="ONNX Runtime"):
        session.run(np.array([5]))
    np.testing.assert_array_equal(session.run(np.array([1, 4]))["y"], samples(5, 3)[[1, 4]])


@needs_openvino
def test_operators_that_make_nan_are_left_to_onnx_runtime():
    net = model([helper.make_node("Log", ["x"], ["y"])], {}, inputs={"x": ["N", 6]}, outputs=["y"])
    with pytest.warns(engine.FallbackWarning, match="NaN of finite numbers"):
        session = Session(net, engine="openvino")
    assert np.isnan(session.run(-np.ones((1, 6), np.float32))["y"]).all()


@needs_openvino
@pytest.mark.parametrize(("wrong", "by"), [((True,), "OpenVINO in float"), ((True, False), "ONNX Runtime")])
def test_a_form_that_disagrees_is_not_believed(monkeypatch, wrong, by):
    form = engine.openvino_form

    def broken(source, *, integers):
        made = form(source, integers=integers)
        if integers in wrong:
            weight = next(v for v in made.graph.initializers.values() if v.shape is not None and v.shape.rank() == 2)
            weight.const_value = ir.tensor(-weight.const_value.numpy(), name=weight.name)
        return made

    monkeypatch.setattr(engine, "openvino_form", broken)
    with pytest.warns(engine.FallbackWarning, match=f"{by} computes the model: integer products: tensor 'y'"):
        session = Session(mlp(), engine="openvino")
    x = samples(9, 6)
    np.testing.assert_array_equal(session.run(x)["y"], Session(mlp(), engine="reference").run(x)["y"])


@needs_openvino
@needs_corpus
@falls_back
@pytest.mark.parametrize("case", executable_files(), ids=lambda c: c.name)
def test_real_models_run_like_the_framework_on_any_batch(case):
    step = grid_step(load(case.path).graph.outputs[0])
    step = None if step is None or step.size != 1 else float(step)
    session = Session(case.path, engine="openvino", threads=1)
    at_once = next(iter(session.run(case.inputs).values())).reshape(case.outputs.shape)
    singly = [next(iter(session.run(x[None]).values())) for x in case.inputs]
    assert departures(np.concatenate(singly).reshape(case.outputs.shape), at_once, step) == 0
    wrong = departures(at_once, case.outputs, step)
    if case.name in WRONG_EXPORTS:
        assert wrong > 0
    elif case.name != UNSTABLE:
        assert wrong == 0


@needs_openvino
@needs_corpus
@pytest.mark.parametrize("name", ["cnv_2w2a", "mobilenetv1_w05_4w4a_96", "resnet18_4w4a", "tfc_2w2a"])
def test_real_models_are_computed_on_bytes_without_a_warning(name):
    (case,) = (c for c in executable_files() if c.name == f"{name}/model.onnx")
    assert byte_layers(Session(case.path, engine="openvino", threads=1)) > 0
