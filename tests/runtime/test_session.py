"""Sessions: any batch, names, threads, subgraphs, functions, and clear refusals."""

from __future__ import annotations

import threading

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from anybit import Session, run
from anybit.engines.engine import Engine
from anybit.errors import AnybitError, InputError, InvalidModelError, UnsupportedError, UsageError
from anybit.runtime.batching import run_in_batches
from tests.models import DOMAIN, mlp, model, parameters, quant, samples

ENGINES = ("reference", "onnxruntime", "auto")
every = pytest.mark.parametrize("engine", ENGINES)


def _expected_mlp(x):
    rng = np.random.default_rng(0)
    w = rng.normal(size=(6, 8)).astype(np.float32)

    def q(v, scale, lo, hi):
        return np.clip(np.rint(v / np.float32(scale)), lo, hi) * np.float32(scale)

    h = np.maximum(q(x, 0.5, -8, 7) @ q(w, 0.25, -7, 7), 0)
    return q(h, 0.125, 0, 15)


@every
def test_an_mlp_computes_what_the_formula_says(engine):
    x = samples(5, 6)
    np.testing.assert_array_equal(Session(mlp(), engine=engine).run(x)["y"], _expected_mlp(x))


@every
@pytest.mark.parametrize("batch", [1, 4, "N"])
def test_any_batch_gives_the_same_rows(engine, batch):
    session = Session(mlp(batch=batch), engine=engine)
    x = samples(12, 6)
    whole = session.run({"x": x})["y"]
    for size in (4, 12):
        parts = [session.run(x[i : i + size])["y"] for i in range(0, 12, size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


@every
def test_a_batch_that_mixes_samples_runs_in_slices(engine):
    """Softmax over axis 0 of a model for one sample is 1 everywhere: at once it would not be."""
    nodes = [helper.make_node("Softmax", ["x"], ["y"], axis=0)]
    session = Session(model(nodes, {}, inputs={"x": [1, 6]}, outputs=["y"]), engine=engine)
    np.testing.assert_array_equal(session.run(samples(3, 6))["y"], np.ones((3, 6), np.float32))


@every
def test_the_batch_size_itself_is_that_of_the_model(engine):
    """Shape(x)[0] of a model exported for one sample is 1, whatever is fed."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["count"]),
        helper.make_node("Cast", ["count"], ["c"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x", "c"], ["y"]),
    ]
    proto = model(nodes, {"zero": np.asarray(0)}, inputs={"x": [1, 6]}, outputs=["y"])
    x = samples(4, 6)
    np.testing.assert_array_equal(Session(proto, engine=engine).run(x)["y"], x)


@every
def test_reshapes_that_encode_the_batch_are_freed(engine):
    nodes = [
        helper.make_node("Reshape", ["x", "target"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["y"]),
    ]
    values = {"target": np.array([1, -1]), "w": np.eye(6, dtype=np.float32)[:, :3]}
    session = Session(model(nodes, values, inputs={"x": [1, 2, 3]}, outputs=["y"]), engine=engine)
    x = samples(5, 2, 3)
    np.testing.assert_array_equal(session.run(x)["y"], x.reshape(5, 6)[:, :3])


@every
def test_intermediate_tensors_come_by_name(engine):
    session = Session(mlp(), engine=engine, tensors=["h", "xq", "wq"])
    result = session.run(samples(2, 6))
    assert list(result) == ["y", "h", "xq", "wq"]
    assert result["wq"].shape == (6, 8)
    np.testing.assert_array_equal(result["h"], result["xq"] @ result["wq"])
    everything = Session(mlp(), engine=engine, tensors="all").run(samples(2, 6))
    assert set(everything) == {"xq", "wq", "h", "r", "y"}


@every
def test_if_loop_and_scan_run(engine):
    true = helper.make_tensor_value_info("b", TensorProto.BOOL, [])
    plus = helper.make_graph(
        [quant("x", "plus", prefix="q")], "then", [], [helper.make_tensor_value_info("plus", 1, None)]
    )
    minus = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["minus"])], "else", [], [helper.make_tensor_value_info("minus", 1, None)]
    )
    loop = helper.make_graph(
        [
            helper.make_node("Add", ["state", "x"], ["sum"]),
            quant("sum", "next", prefix="q"),
            helper.make_node("Identity", ["going"], ["again"]),
            helper.make_node("Identity", ["next"], ["row"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", 1, [2, 3]),
        ],
        [
            helper.make_tensor_value_info("again", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", 1, [2, 3]),
            helper.make_tensor_value_info("row", 1, [2, 3]),
        ],
    )
    scan = helper.make_graph(
        [helper.make_node("Add", ["acc", "piece"], ["acc2"]), helper.make_node("Identity", ["acc2"], ["out"])],
        "scan",
        [helper.make_tensor_value_info("acc", 1, [3]), helper.make_tensor_value_info("piece", 1, [3])],
        [helper.make_tensor_value_info("acc2", 1, [3]), helper.make_tensor_value_info("out", 1, [3])],
    )
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0),
        helper.make_node("Greater", ["total", "zero"], ["b"]),
        helper.make_node("If", ["b"], ["y"], then_branch=plus, else_branch=minus),
        helper.make_node("Loop", ["three", "", "x"], ["last", "rows"], body=loop),
        helper.make_node("Scan", ["acc0", "rows3"], ["end", "sums"], body=scan, num_scan_inputs=1),
        helper.make_node("Reshape", ["rows", "to3"], ["rows3"]),
    ]
    nodes[4], nodes[5] = nodes[5], nodes[4]
    values = parameters("q", bits=6) | {
        "zero": np.float32(0), "three": np.asarray(3), "acc0": np.zeros(3, np.float32), "to3": np.array([-1, 3]),
    }  # fmt: skip
    proto = model(nodes, values, inputs={"x": [2, 3]}, outputs=["y", "last", "rows", "end", "sums"])
    del true
    for sign in (1, -1):
        x = np.abs(samples(2, 3)) * np.float32(sign)
        out = Session(proto, engine=engine).run(x)
        q = lambda v: np.clip(np.rint(v / np.float32(0.5)), -32, 31) * np.float32(0.5)  # noqa: E731
        np.testing.assert_array_equal(out["y"], q(x) if sign > 0 else -x)
        state, rows = x, []
        for _ in range(3):
            state = q(state + x)
            rows.append(state)
        np.testing.assert_array_equal(out["rows"], np.stack(rows))
        np.testing.assert_array_equal(out["sums"], np.cumsum(np.concatenate(rows), axis=0))
        np.testing.assert_array_equal(out["end"], out["sums"][-1])


@every
def test_model_local_functions_run(engine):
    function = helper.make_function(
        "local",
        "Twice",
        ["a", "s", "z", "b"],
        ["c"],
        [
            helper.make_node("Quant", ["a", "s", "z", "b"], ["q"], domain=DOMAIN),
            helper.make_node("Add", ["q", "q"], ["c"]),
        ],
        [helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, 1)],
    )
    nodes = [helper.make_node("Twice", ["x", "p_scale", "p_zeropt", "p_bits"], ["y"], domain="local")]
    proto = model(
        nodes,
        parameters("p"),
        inputs={"x": ["N", 3]},
        outputs=["y"],
        functions=[function],
        imports={"": 21, DOMAIN: 1, "local": 1},
    )
    x = samples(2, 3)
    expected = 2 * np.clip(np.rint(x / np.float32(0.5)), -8, 7) * np.float32(0.5)
    np.testing.assert_array_equal(run(proto, x, engine=engine)["y"], expected)


@every
@pytest.mark.parametrize("opset", [9, 11, 13, 15, 18, 21])
def test_old_opsets_run(engine, opset):
    nodes = [
        quant("x", "q"),
        helper.make_node("Flatten", ["q"], ["f"]),
        helper.make_node("BatchNormalization", ["f", "one", "bias", "mean", "var"], ["n"]),
        helper.make_node("Softmax", ["n"], ["y"], axis=1),
    ]
    values = parameters("q") | {
        "one": np.ones(6, np.float32), "bias": np.full(6, 0.5, np.float32),
        "mean": np.ones(6, np.float32), "var": np.full(6, 4, np.float32),
    }  # fmt: skip
    proto = model(nodes, values, inputs={"x": [2, 2, 3]}, outputs=["y"], opset=opset, imports={"": opset, DOMAIN: 1})
    x = samples(2, 2, 3)
    q = np.clip(np.rint(x / np.float32(0.5)), -8, 7) * 0.5
    n = (q.reshape(2, 6) - 1) / np.sqrt(4 + 1e-5) + 0.5
    expected = np.exp(n) / np.exp(n).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(run(proto, x, engine=engine)["y"], expected, rtol=1e-5)


@every
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_float_types_keep_their_type(engine, dtype):
    proto = model(
        [quant("x", "y")],
        parameters("y"),
        inputs={"x": ["N", 3]},
        outputs=["y"],
        input_type=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)),
    )
    proto.graph.output[0].type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    x = samples(2, 3).astype(dtype)
    y = run(proto, x, engine=engine)["y"]
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, np.clip(np.rint(x / 0.5), -8, 7) * 0.5)


@every
def test_two_inputs_must_agree_on_the_batch(engine):
    proto = model(
        [helper.make_node("Add", ["a", "b"], ["y"])], {}, inputs={"a": ["N", 3], "b": ["N", 3]}, outputs=["y"]
    )
    session = Session(proto, engine=engine)
    ones = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(session.run({"a": ones, "b": ones})["y"], 2 * ones)
    with pytest.raises(InputError, match="'b': shape"):
        session.run({"a": ones, "b": ones[:1]})
    with pytest.raises(InputError, match="one array given"):
        session.run(ones)


@every
@pytest.mark.parametrize(
    ("feeds", "text"),
    [
        ({"z": samples(1, 6)}, "unknown input: got 'z', expected 'x'"),
        ({}, "missing input"),
        ({"x": samples(1, 5)}, r"shape: got \[1, 5\], expected \[batch, 6\]"),
        ({"x": samples(1, 6)[0]}, r"shape: got \[6\]"),
        ({"x": samples(1, 6).astype(np.float64)}, "element type: got float64, expected float32"),
        ({"x": np.ones((1, 6), np.int64)}, "element type: got int64"),
    ],
)
def test_feeds_that_do_not_fit_are_refused_in_one_line(engine, feeds, text):
    with pytest.raises(InputError, match=text) as error:
        Session(mlp(), engine=engine).run(feeds)
    assert "\n" not in str(error.value)


@every
def test_lists_take_the_type_of_the_input(engine):
    np.testing.assert_array_equal(
        Session(mlp(), engine=engine).run({"x": [[1, 2, 3, 4, 5, 6]]})["y"],
        _expected_mlp(np.array([[1, 2, 3, 4, 5, 6]], np.float32)),
    )
    with pytest.raises(InputError, match="'x'"):
        Session(mlp(), engine=engine).run({"x": [["a"] * 6]})


@every
@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"y_scale": np.float32(np.nan)}, "Quant 'y_node': scale"),
        ({"y_bits": np.float32(2.5)}, "Quant 'y_node': bitwidth: got 2.5"),
        ({"y_bits": np.float32(0)}, "positive integer"),
        ({"y_scale": np.ones((1, 1, 1, 6), np.float32)}, "broadcasts to X"),
    ],
)
def test_quantisers_without_meaning_are_refused_by_name(engine, change, text):
    proto = model([quant("x", "y")], parameters("y") | change, inputs={"x": [1, 6]}, outputs=["y"])
    with pytest.raises(InvalidModelError, match=text):
        Session(proto, engine=engine)


@every
def test_an_undefined_tensor_is_refused_by_name(engine):
    proto = model([helper.make_node("Add", ["x", "ghost"], ["y"], name="adder")], {}, inputs={"x": [1]}, outputs=["y"])
    with pytest.raises(InvalidModelError, match="Add 'adder': input 'ghost'"):
        Session(proto, engine=engine)


@every
def test_an_unknown_operator_is_refused_by_name(engine):
    node = helper.make_node("Mystery", ["x"], ["y"], name="m", domain="some.where")
    proto = model([node], {}, inputs={"x": [1]}, outputs=["y"], imports={"": 21, "some.where": 1})
    with pytest.raises(UnsupportedError, match="Mystery 'm'"):
        Session(proto, engine=engine)


def test_bad_arguments_are_refused():
    for arguments in ({"engine": "warp"}, {"threads": 0}, {"tensors": ["nope"]}):
        with pytest.raises(UsageError):
            Session(mlp(), **arguments)


@every
def test_empty_batches_run(engine):
    assert Session(mlp(batch="N"), engine=engine).run(samples(0, 6))["y"].shape == (0, 8)


@every
def test_one_session_serves_many_threads(engine):
    session = Session(mlp(), engine=engine)
    inputs = [samples(3, 6, seed=k) for k in range(8)]
    results: list[np.ndarray | None] = [None] * len(inputs)

    def work(k: int) -> None:
        for _ in range(20):
            results[k] = session.run(inputs[k])["y"]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for x, y in zip(inputs, results, strict=True):
        np.testing.assert_array_equal(y, _expected_mlp(x))


@every
def test_batches_give_what_one_run_gives(engine):
    session = Session(mlp(), engine=engine)
    x = samples(23, 6)
    seen: list[int] = []
    parts = run_in_batches(session, {"x": x}, batch_size=5, progress=seen.append)
    np.testing.assert_array_equal(parts["y"], session.run(x)["y"])
    assert seen == [5, 5, 5, 5, 3]


def test_auto_takes_the_reference_where_there_is_no_body(monkeypatch):
    from anybit import Operator
    from anybit.operators import Input
    from anybit.ops import registry

    monkeypatch.setattr(registry, "_operators", dict(registry._operators))
    registry.register(Operator(name="Half", domain="my.ops", inputs=(Input("X"),), reference=lambda x: x / 2))
    node = helper.make_node("Half", ["x"], ["y"], domain="my.ops")
    proto = model([node], {}, inputs={"x": ["N", 2]}, outputs=["y"], imports={"": 21, "my.ops": 1})
    session = Session(proto)
    assert session.engine is Engine.REFERENCE
    np.testing.assert_array_equal(session.run(np.ones((1, 2), np.float32))["y"], [[0.5, 0.5]])
    with pytest.raises(UnsupportedError, match="no ONNX body"):
        Session(proto, engine="onnxruntime")


@pytest.mark.filterwarnings("ignore::anybit.engines.engine.FallbackWarning")
def test_damaged_models_are_refused_never_crash():
    rng = np.random.default_rng(1)
    good = mlp().SerializeToString()
    outcomes = set()
    for _ in range(200):
        data = bytearray(good)
        for position in rng.integers(0, len(data), 3):
            data[position] = rng.integers(0, 256)
        for engine in ENGINES:
            try:
                Session(bytes(data), engine=engine).run(samples(1, 6))
                outcomes.add("ran")
            except AnybitError:
                outcomes.add("refused")
    assert outcomes == {"ran", "refused"}


def test_the_session_leaves_the_model_alone():
    proto = mlp()
    before = proto.SerializeToString(deterministic=True)
    Session(proto).run(samples(1, 6))
    assert proto.SerializeToString(deterministic=True) == before
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(mlp()))


@every
@pytest.mark.parametrize(
    ("node", "initializers", "shape"),
    [
        (helper.make_node("CumSum", ["x", "axis"], ["y"]), {"axis": np.int64(0)}, [4]),
        (helper.make_node("Resize", ["x", "", "scales"], ["y"], axes=[1, 0]), {"scales": np.float32([1, 2])}, [4]),
    ],
)
def test_operators_that_mix_samples_by_an_input_or_attribute_run_in_slices(engine, node, initializers, shape):
    session = Session(model([node], initializers, inputs={"x": [2, *shape]}, outputs=["y"]), engine=engine)
    x = samples(6, *shape)
    parts = [session.run(x[i : i + 2])["y"] for i in range(0, 6, 2)]
    try:
        whole = session.run(x)["y"]
    except InputError:  # its first axis is no batch
        return
    np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_batch_normalization_in_training_mode_is_for_the_reference():
    """It takes its statistics from the batch; ONNX Runtime's kernel computes something else (seen with 1.32)."""
    nodes = [helper.make_node("BatchNormalization", ["x", "p", "p", "p", "p"], ["y", "m", "v"], training_mode=1)]
    proto = model(nodes, {"p": np.ones(4, np.float32)}, inputs={"x": [2, 4]}, outputs=["y"])
    session, x = Session(proto, engine="reference"), samples(6, 4)
    parts = [session.run(x[i : i + 2])["y"] for i in range(0, 6, 2)]
    np.testing.assert_array_equal(session.run(x)["y"], np.concatenate(parts))
    with pytest.raises(UnsupportedError, match="training"):
        Session(proto, engine="onnxruntime")


@pytest.mark.filterwarnings("ignore::anybit.engines.engine.FallbackWarning")
@pytest.mark.parametrize("op_type", ["MaxPool", "Conv"])
def test_padding_for_dilated_windows_is_for_the_reference(op_type):
    attributes = {"kernel_shape": [2, 2], "dilations": [2, 2], "auto_pad": "SAME_UPPER"}
    inputs = ["x", "w"] if op_type == "Conv" else ["x"]
    node = helper.make_node(op_type, inputs, ["y"], **attributes)
    weights = {"w": samples(3, 3, 2, 2)} if op_type == "Conv" else {}
    source = model([node], weights, inputs={"x": [1, 3, 5, 6]}, outputs=["y"])
    x = samples(1, 3, 5, 6)
    results = [run(source, x, engine=e)["y"] for e in ("auto", "reference")]
    assert results[0].shape == (1, 3, 5, 6)
    np.testing.assert_array_equal(*results)
    with pytest.raises(UnsupportedError, match="dilated"):
        run(source, x, engine="onnxruntime")


def test_indices_of_a_max_pool_are_those_of_each_sample():
    nodes = [helper.make_node("MaxPool", ["x"], ["p", "y"], kernel_shape=[2, 2])]
    proto = model(nodes, {}, inputs={"x": [1, 1, 3, 3]}, outputs=["y"])
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    session = Session(proto)
    x = samples(3, 1, 3, 3)
    np.testing.assert_array_equal(
        session.run(x)["y"], np.concatenate([session.run(x[i : i + 1])["y"] for i in range(3)])
    )


@every
def test_whether_a_tensor_has_a_batch_does_not_depend_on_its_values(engine):
    """Equal samples give equal results; they are no constant for that."""
    nodes = [helper.make_node("Transpose", ["x"], ["y"], perm=[1, 0])]
    session = Session(model(nodes, {}, inputs={"x": [1, 4]}, outputs=["y"]), engine=engine)
    with pytest.raises(InputError, match="no batch axis"):
        session.run(np.zeros((3, 4), np.float32))


@every
def test_nodes_in_any_order_mean_the_same(engine):
    """The proof that samples stay apart walks the graph too: the Softmax comes after what reads it."""
    nodes = [
        helper.make_node("Add", ["x", "s"], ["y"]),
        helper.make_node("Softmax", ["x"], ["s"], axis=0),
    ]
    x = samples(3, 4)
    result = Session(model(nodes, {}, inputs={"x": [1, 4]}, outputs=["y"]), engine=engine).run(x)["y"]
    np.testing.assert_array_equal(result, x + 1)


@every
def test_a_cycle_is_refused(engine):
    nodes = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])]
    with pytest.raises(InvalidModelError, match="cycle"):
        Session(model(nodes, {}, inputs={"x": [1, 4]}, outputs=["b"]), engine=engine)


@every
def test_a_dimension_called_batch_elsewhere_is_another_one(engine):
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    session = Session(model(nodes, {}, inputs={"x": ["seq", "batch", 4]}, outputs=["y"]), engine=engine)
    assert session.run(np.zeros((5, 3, 4), np.float32))["y"].shape == (5, 3, 4)


@every
def test_nameless_dimensions_of_two_inputs_are_free_of_each_other(engine):
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    session = Session(model(nodes, {}, inputs={"x": [None, 4], "w": [None, 4]}, outputs=["y"]), engine=engine)
    assert session.run({"x": samples(3, 4), "w": samples(1, 4)})["y"].shape == (3, 4)


@every
def test_foreign_byte_orders_are_refused(engine):
    session = Session(mlp(), engine=engine)
    with pytest.raises(InputError, match="element type"):
        session.run({"x": np.ones((1, 6), ">f4")})


@every
def test_the_first_axis_is_cut_only_where_samples_stay_apart(engine):
    """A running sum along a free first axis: in batches it would begin anew in each."""
    nodes = [helper.make_node("CumSum", ["x", "axis"], ["y"])]
    session = Session(model(nodes, {"axis": np.int64(0)}, inputs={"x": ["t", 2]}, outputs=["y"]), engine=engine)
    y = run_in_batches(session, {"x": np.ones((10, 2), np.float32)}, batch_size=4)["y"]
    np.testing.assert_array_equal(y[:, 0], np.arange(1, 11))


@every
def test_batches_leave_constants_and_sizes_alone(engine):
    nodes = [
        quant("w", "wq"),
        helper.make_node("MatMul", ["x", "wq"], ["y"]),
        helper.make_node("Shape", ["y"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["size"]),
    ]
    initializers = {"w": np.ones((4, 2), np.float32), "zero": np.int64(0)} | parameters("wq")
    for tensors in (["wq"], "all"):
        session = Session(
            model(nodes, initializers, inputs={"x": ["N", 4]}, outputs=["y"]), engine=engine, tensors=tensors
        )
        x = samples(10, 4)
        whole, parts = session.run(x), run_in_batches(session, {"x": x}, batch_size=4)
        for name, array in whole.items():
            np.testing.assert_array_equal(parts[name], array)


@every
@pytest.mark.parametrize("sign", [1, -1])
def test_branches_of_constants_run(engine, sign):
    def branch(name, nodes):
        return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info("a", TensorProto.FLOAT, None)])

    nodes = [
        helper.make_node("ReduceSum", ["x"], ["t"], keepdims=0),
        helper.make_node("Greater", ["t", "zero"], ["c"]),
        helper.make_node(
            "If",
            ["c"],
            ["y"],
            then_branch=branch("then", [quant("w", "a", prefix="q")]),
            else_branch=branch("else", [quant("w", "b", prefix="q", signed=0), helper.make_node("Neg", ["b"], ["a"])]),
        ),
    ]
    w = np.float32([[-1.1, 2.2]])
    initializers = {"w": w, "zero": np.float32(0)} | parameters("q")
    session = Session(model(nodes, initializers, inputs={"x": [1, 2]}, outputs=["y"]), engine=engine)
    expected = [[-1.0, 2.0]] if sign > 0 else [[0.0, -2.0]]
    np.testing.assert_array_equal(session.run(sign * np.ones((1, 2), np.float32))["y"], np.float32(expected))


@every
def test_a_rounding_mode_that_the_call_of_a_function_gives_may_have_any_case(engine):
    node = helper.make_node("Quant", ["a", "s", "z", "b"], ["o"], domain=DOMAIN)
    attribute = node.attribute.add(name="rounding_mode", ref_attr_name="mode")
    attribute.type = onnx.AttributeProto.STRING
    imports = [helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, 1)]
    function = helper.make_function("my", "Q", ["a", "s", "z", "b"], ["o"], [node], imports, attributes=["mode"])
    call = helper.make_node("Q", ["x", "q_scale", "q_zeropt", "q_bits"], ["y"], domain="my", mode="floor")
    proto = model(
        [call],
        parameters("q"),
        inputs={"x": [1, 3]},
        outputs=["y"],
        imports={"": 21, DOMAIN: 1, "my": 1},
        functions=[function],
    )
    x = np.float32([[0.4, 0.9, -0.1]])
    np.testing.assert_array_equal(Session(proto, engine=engine).run(x)["y"], np.float32([[0, 0.5, -0.5]]))


@every
def test_a_function_that_calls_itself_is_refused(engine):
    node = helper.make_node("F", ["a"], ["o"], domain="my")
    function = helper.make_function("my", "F", ["a"], ["o"], [node], [helper.make_opsetid("my", 1)])
    call = helper.make_node("F", ["x"], ["y"], domain="my")
    proto = model([call], {}, inputs={"x": [1, 3]}, outputs=["y"], imports={"": 21, "my": 1}, functions=[function])
    with pytest.raises(InvalidModelError, match="my::F -> my::F"):
        Session(proto, engine=engine)


@every
def test_two_nodes_may_have_one_name(engine):
    nodes = [helper.make_node("Relu", ["x"], ["a"], name="n"), helper.make_node("Neg", ["a"], ["y"], name="n")]
    session = Session(model(nodes, {}, inputs={"x": [1, 2]}, outputs=["y"]), engine=engine)
    np.testing.assert_array_equal(session.run(np.float32([[1, -1]]))["y"], np.float32([[-1, 0]]))


@every
def test_shapes_that_a_file_states_falsely_have_no_effect(engine):
    nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Shape", ["a"], ["y"])]
    proto = model(nodes, {}, inputs={"x": [3, 4]}, outputs=["y"])
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    proto.graph.value_info.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, [5, 6]))
    assert Session(proto, engine=engine).run(samples(3, 4))["y"].tolist() == [3, 4]


@every
def test_strings_come_in_either_form(engine):
    proto = model(
        [helper.make_node("Identity", ["x"], ["y"])],
        {},
        inputs={"x": ["N"]},
        outputs=["y"],
        input_type=TensorProto.STRING,
    )
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.STRING
    session = Session(proto, engine=engine)
    for given in (np.array(["a", "b"]), np.array(["a", "b"], object)):
        assert session.run(given)["y"].tolist() == ["a", "b"]


@every
def test_pairs_of_quantize_and_dequantize_in_a_row_are_kept(engine):
    """ONNX Runtime would make one of two, with another range."""
    nodes: list[onnx.NodeProto] = []
    for source, made, zero in (("x", "a", "low"), ("a", "y", "high")):
        nodes.append(helper.make_node("QuantizeLinear", [source, "scale", zero], [f"{made}_q"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{made}_q", "scale", zero], [made]))
    initializers = {"scale": np.float32(0.125), "low": np.uint8(10), "high": np.uint8(200)}
    x = np.float32([[-40.0, -1.0, 0.3, 5.0, 20.0]])
    result = run(model(nodes, initializers, inputs={"x": [1, 5]}, outputs=["y"]), x, engine=engine)["y"]
    expected = x
    for zero in (10, 200):
        expected = (np.clip(np.rint(expected / np.float32(0.125)) + zero, 0, 255) - zero) * np.float32(0.125)
    np.testing.assert_array_equal(result, expected)


def test_einsum_of_no_samples_is_an_error_and_no_abort():
    node = helper.make_node("Einsum", ["x", "z"], ["y"], equation="bij,bkj->bik")
    source = model([node], {}, inputs={"x": ["N", 3, 4], "z": ["N", 3, 4]}, outputs=["y"])
    none = {"x": samples(0, 3, 4), "z": samples(0, 3, 4)}
    assert run(source, none, engine="reference")["y"].shape == (0, 3, 3)
    with pytest.raises(InputError, match="Einsum"):
        run(source, none, engine="onnxruntime")


@every
def test_no_samples_have_no_results_but_constants(engine):
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Identity", ["w"], ["z"])]
    source = model(nodes, {"w": np.float32([1, 2])}, inputs={"x": ["N", 3]}, outputs=["y", "z"])
    results = run(source, samples(0, 3), engine=engine)
    assert results["y"].shape == (0, 3)
    np.testing.assert_array_equal(results["z"], [1, 2])


def test_scan_of_no_samples_is_an_error_and_no_abort():
    body = helper.make_graph(
        [helper.make_node("Add", ["s", "e"], ["t"]), helper.make_node("Identity", ["t"], ["o"])],
        "body",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("s", "e")],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("t", "o")],
    )
    nodes = [
        helper.make_node("Gather", ["x", "zero"], ["first"], axis=1),
        helper.make_node("Scan", ["first", "x"], ["last", "y"], body=body, num_scan_inputs=1, scan_input_axes=[1]),
    ]
    source = model(nodes, {"zero": np.int64(0)}, inputs={"x": ["N", 3, 2]}, outputs=["last", "y"], opset=17)
    x = np.zeros((0, 3, 2), np.float32)
    assert run(source, x, engine="reference")["last"].shape == (0, 2)
    with pytest.raises(InputError, match="Scan"):
        run(source, x, engine="onnxruntime")


@every
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.int32])
def test_relu_before_clip_of_any_type(engine, dtype):
    """An optimisation of ONNX Runtime fails for most of them."""
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Clip", ["r", "lo", "hi"], ["y"])]
    limits = {"lo": np.array(-1, dtype), "hi": np.array(5, dtype)}
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    source = model(nodes, limits, inputs={"x": ["N", 3]}, outputs=["y"], input_type=kind)
    np.testing.assert_array_equal(run(source, np.array([[-2, 3, 9]], dtype), engine=engine)["y"], [[0, 3, 5]])
