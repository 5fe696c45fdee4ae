"""Inputs with a default stay so in every engine, pass, format and file; weights that are listed by habit do not."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from anybit import Session, analyse, clean, compare, convert, load, repairs, run, save, to_proto, verify
from anybit.benchmarking.bench import bench
from anybit.errors import AnybitError, InputError, InvalidModelError, UsageError
from anybit.evaluation.evaluate import evaluate
from anybit.evaluation.statistics import stats
from anybit.formats.certify import certify
from anybit.formats.convert import Dialect
from anybit.io.repair.defaults import OVERRIDABLE
from anybit.passes.catalog import catalog, parse_pass
from anybit.passes.surgery.extract_submodel import extract_submodel
from anybit.passes.surgery.merge_models import merge_models
from anybit.results import Verdict
from anybit.targets.finn.prepare import prepare_finn
from tests.models import model, parameters, quant, samples

W = np.ones((4, 3), np.float32)
OTHER = np.arange(12, dtype=np.float32).reshape(4, 3) - 5
X = np.array([[1, -2, 3.2, 0.25]], np.float32)


def with_defaults(proto: onnx.ModelProto, *names: str, shapes=None) -> onnx.ModelProto:
    """The model with these initializers as inputs as well."""
    for tensor in proto.graph.initializer:
        if tensor.name in names:
            shape = (shapes or {}).get(tensor.name, list(tensor.dims))
            proto.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, shape))
    return proto


def product(*, batch: int | str = 1, listed=("w",), **options) -> onnx.ModelProto:
    """QuantizeLinear, DequantizeLinear and a product by w, which is 1 unless it is fed."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="quantize"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["a"], name="dequantize"),
        helper.make_node("MatMul", ["a", "w"], ["y"], name="product"),
    ]
    values = {"w": W, "s": np.float32(0.5), "z": np.int8(0)}
    options = {"imports": {"": 17}, "ir_version": 8, **options}
    return with_defaults(model(nodes, values, inputs={"x": [batch, 4]}, outputs=["y"], **options), *listed)


def quantized_weights(*, listed=("w",)) -> onnx.ModelProto:
    """The same with quantisers of the hub, on the weights too."""
    nodes = [quant("x", "xq"), quant("w", "wq"), helper.make_node("MatMul", ["xq", "wq"], ["y"], name="product")]
    values = {"w": W} | parameters("xq") | parameters("wq", scale=0.25, bits=5.0)
    return with_defaults(model(nodes, values, inputs={"x": [1, 4]}, outputs=["y"]), *listed)


def stock(proto: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


def expected(w: np.ndarray, x: np.ndarray = X) -> np.ndarray:
    return np.clip(np.rint(x / np.float32(0.5)), -128, 127) * np.float32(0.5) @ w


@pytest.mark.parametrize("engine", ["auto", "onnxruntime", "reference"])
def test_a_default_is_taken_where_nothing_is_fed_and_overridden_where_something_is(engine):
    session = Session(product(), engine=engine)
    assert [i.optional for i in session.inputs] == [False, True]
    for feeds in (X, {"x": X}):
        np.testing.assert_array_equal(session.run(feeds)["y"], expected(W))
    np.testing.assert_array_equal(session.run({"x": X, "w": OTHER})["y"], expected(OTHER))
    np.testing.assert_array_equal(session.run({"x": X, "w": OTHER})["y"], stock(product(), {"x": X, "w": OTHER}))
    with pytest.raises(InputError, match="missing input"):
        session.run({"w": OTHER})
    with pytest.raises(InputError, match="shape"):
        session.run({"x": X, "w": OTHER[:, :2]})
    with pytest.raises(InputError, match="element type"):
        session.run({"x": X, "w": OTHER.astype(np.float64)})


@pytest.mark.parametrize("engine", ["auto", "onnxruntime", "reference"])
@pytest.mark.parametrize("batch", [1, 2, "N"])
def test_all_samples_of_a_run_share_an_input_with_a_default(engine, batch):
    x = samples(6, 4)
    session = Session(product(batch=batch), engine=engine)
    np.testing.assert_allclose(session.run({"x": x, "w": OTHER})["y"], expected(OTHER, x), rtol=1e-6)
    from anybit.runtime.batching import run_in_batches

    result = run_in_batches(session, {"x": x, "w": OTHER}, batch_size=2)["y"]
    np.testing.assert_allclose(result, expected(OTHER, x), rtol=1e-6)


def test_a_batch_that_cannot_be_freed_is_run_in_slices_that_share_the_default():
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Softmax", ["m"], ["y"], axis=0)]
    proto = with_defaults(model(nodes, {"w": W, "u": W}, inputs={"x": [2, 4]}, outputs=["y"]), "w")
    x = samples(4, 4)
    right = np.concatenate([stock(proto, {"x": x[i : i + 2], "w": OTHER}) for i in (0, 2)])
    for engine in ("auto", "reference"):
        np.testing.assert_allclose(run(proto, {"x": x, "w": OTHER}, engine=engine)["y"], right, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [product, quantized_weights])
def test_a_default_stays_one_through_load_clean_save_and_every_conversion(tmp_path, make):
    source = make()
    right = {key: run(source, feeds)["y"] for key, feeds in (("fed", {"x": X, "w": OTHER}), ("not", {"x": X}))}
    assert not np.array_equal(right["fed"], right["not"])
    save(load(source), tmp_path / "m.onnx")
    save(load(tmp_path / "m.onnx"), tmp_path / "n.onnx", external_data=True)
    cleaned = clean(source)
    models = {"saved": tmp_path / "n.onnx", "clean": cleaned, "clean twice": clean(to_proto(cleaned))}
    for target in Dialect:
        models[target.value] = getattr(convert(source, target), "model", None) or convert(source, target)[0]
    for name, made in models.items():
        for read in (made, to_proto(load(made))):
            np.testing.assert_array_equal(run(read, {"x": X, "w": OTHER})["y"], right["fed"], err_msg=name)
            np.testing.assert_array_equal(run(read, {"x": X})["y"], right["not"], err_msg=name)
        assert compare(source, made).equal, name
        assert verify(source, made).verdict is not Verdict.DIFFERENT, name


def test_a_model_of_which_only_defaults_are_left_as_initializers_keeps_them(tmp_path):
    """After clean nothing but defaults may be left; the file says that they are."""
    nodes = [
        helper.make_node("Add", ["c", "c"], ["d"]),
        helper.make_node("Mul", ["x", "a"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["k"]),
        helper.make_node("Shape", ["d"], ["shape"]),
        helper.make_node("Reshape", ["k", "shape"], ["y"]),
    ]
    values = {"a": np.float32(2), "b": np.float32(1), "c": np.zeros(4, np.float32)}
    proto = with_defaults(model(nodes, values, inputs={"x": [4]}, outputs=["y"]), "a", "b")
    x = np.arange(4, dtype=np.float32)
    path = tmp_path / "m.onnx"
    made = clean(proto)
    for name in [n for n, v in made.graph.initializers.items() if not v.is_graph_input()]:
        shape = made.graph.initializers[name]
        assert shape.name not in ("a", "b")
    save(made, path)
    np.testing.assert_array_equal(run(path, {"x": x, "a": np.float32(3), "b": np.float32(5)})["y"], 3 * x + 5)
    assert OVERRIDABLE in onnx.load(path).metadata_props[0].key


def test_nothing_is_proven_from_the_value_of_a_default():
    proto = with_defaults(
        model(
            [helper.make_node("Mul", ["x", "g"], ["y"])], {"g": np.float32(0), "u": W}, inputs={"x": [2]}, outputs=["y"]
        ),
        "g",
    )
    values = analyse(proto)
    (y,) = values.model.graph.outputs
    assert values[y].lo.min() == -np.inf
    assert values[y].hi.max() == np.inf


def test_the_shape_that_a_default_would_give_is_not_believed():
    nodes = [helper.make_node("Reshape", ["x", "target"], ["r"]), helper.make_node("Shape", ["r"], ["y"])]
    proto = with_defaults(
        model(nodes, {"target": np.array([2, 3]), "u": W}, inputs={"x": [6]}, outputs=["y"]), "target"
    )
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    x, target = np.zeros(6, np.float32), np.array([3, 2])
    for read in (proto, clean(proto)):
        for engine in ("auto", "onnxruntime", "reference"):
            np.testing.assert_array_equal(run(read, {"x": x, "target": target}, engine=engine)["y"], [3, 2])
            np.testing.assert_array_equal(run(read, {"x": x}, engine=engine)["y"], [2, 3])


def test_a_model_that_lost_a_default_or_has_another_is_not_certified():
    assert certify(product(), product()).verdict is Verdict.EXACT_BY_CONSTRUCTION
    other = product()
    other.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(OTHER, "w"))
    assert verify(product(), other).verdict is Verdict.DIFFERENT
    constant = load(product(), overridable=False)
    assert certify(product(), constant).verdict is Verdict.UNDECIDED
    with pytest.raises(InputError, match="different numbers of inputs"):
        compare(product(), constant)


def test_a_difference_behind_a_default_is_found():
    """Both give the same where w is not fed: 1 * 1 = 1."""
    squared = product()
    squared.graph.node[2].output[0] = "m"
    squared.graph.node.append(helper.make_node("Mul", ["m", "one"], ["y"], name="once"))
    squared.graph.node.insert(2, helper.make_node("ReduceMax", ["w"], ["one"], name="largest", keepdims=0))
    assert compare(product(), squared).equal
    assert verify(product(), squared).verdict is Verdict.DIFFERENT


def test_non_finite_defaults_and_feeds_give_what_the_reference_gives():
    proto = product()
    proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.full((4, 3), np.nan, np.float32), "w"))
    for feeds in ({"x": X}, {"x": X, "w": W}, {"x": X, "w": np.full((4, 3), np.inf, np.float32)}):
        with np.errstate(invalid="ignore"):
            right = run(proto, feeds, engine="reference")["y"]
        np.testing.assert_array_equal(run(proto, feeds)["y"], right)


def test_data_sets_statistics_and_timing_leave_defaults_alone():
    x, labels = samples(20, 4), np.zeros(20, np.int64)
    for batch in (1, 2):
        source = product(batch=batch)
        right = int((expected(W, x).argmax(1) == 0).sum())
        assert evaluate(Session(source), {"x": x, "labels": labels}, batch_size=3).correct == right
        made = stats(source, {"x": x, "w": OTHER})
        assert made.samples == 20
        assert [t.name for t in made.activations] == ["a"]
        assert all(a.agrees for a in bench(source, batch_sizes=(4,), rounds=1, with_peers=False).agreements)


# Which reading a file gets


def test_before_version_4_every_initializer_is_a_constant():
    proto = product(ir_version=3, listed=("w", "s", "z"))
    assert [v.name for v in load(proto).graph.inputs] == ["x"]
    with pytest.raises(InputError, match="unknown input"):
        run(proto, {"x": X, "w": OTHER})


@pytest.mark.parametrize(
    ("listed", "producer", "others", "kept"),
    [
        (("w",), "", (), True),
        (("w", "s"), "", (), True),
        (("w", "s", "z"), "", (), False),  # every one, as exporters that know no version 4 do
        (("w", "s", "z"), "pytorch", (), False),
        (("w",), "pytorch", ("/q/Constant_output_0", "/q/Constant_1_output_0"), False),
        (("w",), "pytorch", ("onnx::QuantizeLinear_7", "/q/Constant_output_0"), False),
        (("w",), "pytorch", ("12", "13"), False),
        (("w",), "pytorch", ("q.scale", "q.zero_point"), True),  # parameters that are not listed: w was, on purpose
        (("w",), "tool", ("/q/Constant_output_0", "/q/Constant_1_output_0"), True),
    ],
)
def test_lists_of_weights_are_told_from_defaults(listed, producer, others, kept):
    proto = product(listed=listed)
    proto.producer_name = producer
    for old, new in zip(("s", "z"), others, strict=False):
        for node in proto.graph.node:
            node.input[:] = [new if name == old else name for name in node.input]
        next(t for t in proto.graph.initializer if t.name == old).name = new
    names = [v.name for v in load(proto).graph.inputs]
    assert names == (["x", *listed] if kept else ["x"])
    assert bool(repairs(load(proto))) is not kept
    assert [v.name for v in load(proto, overridable=True).graph.inputs] == ["x", *listed]
    assert [v.name for v in load(proto, overridable=False).graph.inputs] == ["x"]
    for read in (load(proto, overridable=True), to_proto(load(proto, overridable=True))):  # the choice stays made
        assert [v.name for v in load(read).graph.inputs] == ["x", *listed]
    assert [v.name for v in load(load(proto, overridable=True), overridable=False).graph.inputs] == ["x"]


def test_a_lone_default_is_one():
    proto = with_defaults(
        model([helper.make_node("Mul", ["x", "g"], ["y"])], {"g": np.float32(2)}, inputs={"x": [2]}, outputs=["y"]), "g"
    )
    x = np.ones(2, np.float32)
    np.testing.assert_array_equal(run(proto, {"x": x, "g": np.float32(5)})["y"], 5 * x)


def test_all_inputs_may_have_defaults():
    proto = product(listed=("w",))
    proto.graph.initializer.append(onnx.numpy_helper.from_array(X, "x"))
    for engine in ("auto", "reference"):
        np.testing.assert_array_equal(run(proto, {}, engine=engine)["y"], expected(W))
        np.testing.assert_array_equal(run(proto, {"x": 2 * X}, engine=engine)["y"], expected(W, 2 * X))
    assert verify(proto, proto).verdict is Verdict.EXACT_BY_CONSTRUCTION


def test_the_initializer_of_an_input_that_a_loop_feeds_is_no_constant():
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["v", "v"], ["u"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, ()),
            helper.make_tensor_value_info("go", TensorProto.BOOL, ()),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, ()),
            helper.make_tensor_value_info("u", TensorProto.FLOAT, None),
        ],
        [helper.make_tensor("v", TensorProto.FLOAT, [1], [100.0])],
    )
    nodes = [helper.make_node("Loop", ["n", "", "x"], ["y"], body=body)]
    proto = model(nodes, {"n": np.int64(3)}, inputs={"x": [1]}, outputs=["y"])
    for read in (proto, clean(proto)):
        for engine in ("auto", "reference"):
            np.testing.assert_array_equal(run(read, np.ones(1, np.float32), engine=engine)["y"], [8])


@pytest.mark.parametrize(
    ("dtype", "shape"), [(TensorProto.DOUBLE, [4, 3]), (TensorProto.FLOAT, [4, 4]), (TensorProto.FLOAT, [12])]
)
def test_a_default_that_does_not_fit_its_input_is_refused(dtype, shape):
    proto = product()
    proto.graph.input[1].CopyFrom(helper.make_tensor_value_info("w", dtype, shape))
    with pytest.raises(InvalidModelError, match="default does not fit"):
        load(proto)


# Passes


def test_defaults_are_made_constants_on_request():
    fixed = parse_pass("fix-defaults")(load(product())).model
    assert [v.name for v in fixed.graph.inputs] == ["x"]
    np.testing.assert_array_equal(run(fixed, X)["y"], expected(W))
    chosen = parse_pass('fix-defaults:inputs=["s"]')(load(product(listed=("w", "s")))).model
    assert [v.name for v in chosen.graph.inputs] == ["x", "w"]
    with pytest.raises(UsageError, match="no input with a default"):
        parse_pass('fix-defaults:inputs=["x"]')(load(product()))


def test_parts_and_wholes_keep_their_defaults():
    part = extract_submodel(load(product()), inputs=["a", "w"], outputs=["y"])
    np.testing.assert_array_equal(run(part, {"a": X})["y"], X @ W)
    np.testing.assert_allclose(run(part, {"a": X, "w": OTHER})["y"], X.astype(np.float64) @ OTHER, rtol=1e-6)
    first = load(model([helper.make_node("Neg", ["u"], ["v"])], {}, inputs={"u": [1, 4]}, outputs=["v"]))
    second = load(product(imports={"": 21}))
    merged = merge_models(first, second)
    np.testing.assert_array_equal(run(merged, {"u": -X})["y"], expected(W))
    np.testing.assert_array_equal(run(merged, {"u": -X, "w": OTHER})["y"], expected(OTHER))


@pytest.mark.parametrize("name", sorted(set(catalog()) - {"fix-defaults", "insert-top-k"}))
def test_no_pass_folds_or_drops_a_default(name):
    try:
        made = parse_pass(name)(load(product())).model
    except AnybitError:  # it needs options
        made = load(product())
    session = Session(made)
    (x,), (w,) = (i.name for i in session.required), (i.name for i in session.inputs if i.optional)
    (y,) = session.run({x: X, w: OTHER}).values()
    np.testing.assert_array_equal(y, expected(OTHER))


def test_hardware_needs_constants():
    handover = prepare_finn(product())
    assert any(f.rule == "default" for f in handover.findings)
    assert prepare_finn(load(product(), overridable=False)).comparison is not None


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_random_graphs_with_defaults_are_those_of_onnx_runtime(data):
    """Chains of Add, Mul, MatMul and Quant, of whose parameters some are overridable."""
    nodes, values, current = [], {"unlisted": np.zeros(1, np.float32)}, "x"
    count = data.draw(st.integers(1, 5))
    for k in range(count):
        op = data.draw(st.sampled_from(["Add", "Mul", "MatMul", "Max"]))
        shape = (4, 4) if op == "MatMul" else data.draw(st.sampled_from([(), (4,), (1, 4), (3, 4)]))
        values[f"p{k}"] = np.random.default_rng(k).integers(-3, 4, shape).astype(np.float32)
        nodes.append(helper.make_node(op, [current, f"p{k}"], [f"t{k}"], name=f"n{k}"))
        current = f"t{k}"
    nodes.append(helper.make_node("Identity", [current], ["y"]))
    listed = data.draw(st.sets(st.sampled_from([f"p{k}" for k in range(count)]), min_size=1))
    proto = with_defaults(model(nodes, values, inputs={"x": [3, 4]}, outputs=["y"]), *listed)
    fed = data.draw(st.sets(st.sampled_from(sorted(listed))))
    feeds = {"x": np.random.default_rng(9).integers(-4, 5, (3, 4)).astype(np.float32)}
    feeds |= {n: np.random.default_rng(7).integers(-3, 4, values[n].shape).astype(np.float32) for n in sorted(fed)}
    right = stock(proto, feeds)
    for read in (proto, clean(proto)):
        for engine in ("auto", "reference"):
            np.testing.assert_array_equal(run(read, feeds, engine=engine)["y"], right)
