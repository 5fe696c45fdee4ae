"""Rewrites that make graphs smaller: each is exact on both engines, and leaves what it must not touch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from anybit import Session, clean, load, to_proto
from anybit.cleanup.fold_branches import FoldBranches
from anybit.cleanup.fold_shapes import FoldShapes
from anybit.cleanup.merge_equal_nodes import MergeEqualNodes
from anybit.cleanup.merge_movements import MergeMovements
from anybit.cleanup.merge_slices import MergeSlices
from anybit.cleanup.sizes.formula import Formula, Formulas
from anybit.cleanup.sizes.model import sizes_of
from anybit.cleanup.sizes.shapes import shape_rule
from anybit.formats.certify import certify
from tests.counting import calls
from tests.models import model, parameters, quant

node = helper.make_node


@pytest.mark.parametrize("rank", range(6))
@pytest.mark.parametrize("op_type", ["Conv", "ConvInteger"])
def test_convolutions_whose_weights_do_not_fit_have_no_rule(op_type: str, rank: int):
    """Ranks are not among what `load` asks for: the rule sees weights of any."""
    kind = np.float32 if op_type == "Conv" else np.int8
    weights = np.ones((4, 3, 2, 2, 1)[:rank], kind)
    nodes = [node(op_type, ["x", "w"], ["y"], kernel_shape=[2, 2])]
    loaded = load(model(nodes, {"w": weights}, inputs={"x": ["N", 3, 8, 8]}, outputs=["y"]))
    made = shape_rule(op_type)(loaded.graph.node(0), sizes_of(loaded))
    assert [[f.number for f in shape] for shape in made] == ([[None, 4, 7, 7]] if rank == 4 else [])


def operators(loaded) -> list[str]:
    return [n.op_type for n in loaded.graph]


def assert_same(before, after, **inputs):
    for engine in ("reference", "onnxruntime"):
        left, right = (Session(m, engine=engine).run(inputs) for m in (before, after))
        for name, array in left.items():
            assert right[name].shape == array.shape
            assert right[name].tobytes() == array.tobytes(), name


def numbers(*shape) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


class TestFormulas:
    @given(st.lists(st.integers(-9, 9), min_size=3, max_size=3))
    def test_equal_sums_are_one_formula(self, coefficients):
        table = Formulas()
        x, y = table.unknown("x"), table.unknown("y")
        p, q, r = (Formula(c) for c in coefficients)
        left = table.add(p * x, table.add(q * y, r))
        right = table.add(r, q * y, p * x)
        assert left == right
        assert table.equal(left, right) is True

    @given(st.lists(st.integers(-3, 3), min_size=6, max_size=6), st.integers(0, 1))
    def test_what_is_decided_holds_for_all_sizes(self, coefficients, by):
        table, sizes = Formulas(), range(4)
        x, y = (table.take_as_size(table.unknown(key)) for key in "xy")
        (a, b, c), (d, e, f) = (tuple(Formula(k) for k in part) for part in (coefficients[:3], coefficients[3:]))
        left, right = table.add(a * x, b * x * y, c), table.add(d * x, e * y, f)
        p, q, r, s, t, u = coefficients
        differences = {p * n + q * n * m + r - (s * n + t * m + u) for n in sizes for m in sizes}
        lowest = table.lowest(table.add(left, table.negative(right)))
        assert lowest is None or lowest <= min(differences)
        assert table.equal(left, right) in (None, *({d == 0 for d in differences} if len(differences) == 1 else ()),
                                            *((False,) if 0 not in differences else ()))  # fmt: skip
        reached = {d >= by for d in differences}
        assert table.exceeds(left, right, by=by) in (None, *(reached if len(reached) == 1 else ()))

    def test_sizes_may_be_zero(self):
        table = Formulas()
        n = table.take_as_size(table.unknown("n"))
        assert table.equal(n, Formula(0)) is None
        assert table.equal(n, Formula(-1)) is False
        assert table.exceeds(n, Formula(0)) is None
        assert table.exceeds(n, Formula(0), by=0) is True
        assert table.exceeds(Formula(0), n) is False
        assert table.equal(n, Formula(1)) is None
        assert table.equal(table.add(n, Formula(1)), Formula(0)) is False
        assert table.equal(n * Formula(3), Formula(2)) is None

    def test_a_quotient_is_exact_or_unknown(self):
        table = Formulas()
        n = table.unknown("n")
        assert table.floor(n * Formula(6), Formula(3)) == n * Formula(2)
        assert table.floor(n, Formula(2)) == table.floor(n, Formula(2)) != n
        assert table.floor(Formula(7), Formula(2)) == Formula(3)


def test_sizes_that_no_memory_holds_are_not_listed():
    proto = model([node("Concat", ["x", "x"], ["y"], axis=0)], {}, inputs={"x": [2**40]}, outputs=["y"])
    assert operators(clean(proto)) == ["Concat"]


def test_a_target_that_follows_the_batch_is_constant():
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "zero"], ["n"]),
        node("Gather", ["s", "one"], ["c"]),
        node("Gather", ["s", "two"], ["w"]),
        node("Mul", ["c", "w"], ["cw"]),
        node("Unsqueeze", ["n", "first"], ["n1"]),
        node("Unsqueeze", ["cw", "first"], ["cw1"]),
        node("Concat", ["n1", "cw1"], ["target"], axis=0),
        node("Reshape", ["x", "target"], ["y"]),
    ]
    values = {"zero": np.array(0), "one": np.array(1), "two": np.array(2), "first": np.array([0])}
    proto = model(nodes, values, inputs={"x": ["N", 3, "W"]}, outputs=["y"])
    cleaned = clean(proto)
    assert operators(cleaned) == ["Reshape"]
    assert cleaned.graph[0].inputs[1].const_value.numpy().tolist() == [0, -1]
    for shape in ((1, 3, 5), (4, 3, 1)):
        assert_same(proto, cleaned, x=numbers(*shape))


def test_two_sizes_that_change_stay_computed():
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "order"], ["target"]),
        node("Reshape", ["x", "target"], ["y"]),
    ]
    proto = model(nodes, {"order": np.array([1, 0])}, inputs={"x": ["N", "M"]}, outputs=["y"])
    cleaned = clean(proto)
    assert operators(cleaned) == ["Shape", "Gather", "Reshape"]
    assert_same(proto, cleaned, x=numbers(2, 5))


def test_a_convolution_of_stride_2_is_followed():
    nodes = [
        node("Conv", ["x", "w"], ["c"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["r"]),
        node("Shape", ["r"], ["s"]),
        node("Slice", ["s", "zero", "two"], ["front"]),
        node("Concat", ["front", "rest"], ["target"], axis=0),
        node("Reshape", ["r", "target"], ["y"]),
    ]
    values = {"w": numbers(4, 3, 3, 3), "zero": np.array([0]), "two": np.array([2]), "rest": np.array([-1])}
    proto = model(nodes, values, inputs={"x": ["N", 3, "H", "W"]}, outputs=["y"])
    cleaned = clean(proto)
    assert operators(cleaned) == ["Conv", "Relu", "Reshape"]
    assert cleaned.graph[2].inputs[1].const_value.numpy().tolist() == [0, 4, -1]
    assert_same(proto, cleaned, x=numbers(2, 3, 7, 8))


@pytest.mark.parametrize(
    ("chain", "left"),
    [
        ([("Unsqueeze", "front", {}), ("Squeeze", "front", {})], []),
        ([("Reshape", [-1, 12], {}), ("Reshape", [0, 3, 4], {})], []),
        ([("Reshape", [-1, 1, 12], {}), ("Reshape", [-1, 12], {})], ["Reshape"]),
        ([("Transpose", None, {"perm": [1, 0, 2]}), ("Transpose", None, {"perm": [2, 1, 0]})], ["Transpose"]),
        ([("Transpose", None, {"perm": [1, 2, 0]}), ("Transpose", None, {"perm": [2, 0, 1]})], []),
        ([("Unsqueeze", "front", {}), ("Transpose", None, {"perm": [1, 0, 2, 3]}), ("Flatten", None, {})], ["Flatten"]),
        ([("Transpose", None, {"perm": [0, 2, 1]}), ("Reshape", [0, -1], {})], ["Transpose", "Reshape"]),
    ],
)
def test_chains_of_movements_become_one(chain, left):
    nodes, values, current = [], {"front": np.array([0])}, "a"
    for k, (op_type, argument, attributes) in enumerate(chain):
        name = argument if isinstance(argument, str) else f"t{k}"
        if isinstance(argument, list):
            values[name] = np.array(argument)
        nodes.append(node(op_type, [current] if argument is None else [current, name], [f"v{k}"], **attributes))
        current = f"v{k}"
    nodes = [node("Neg", ["x"], ["a"]), *nodes, node("Abs", [current], ["y"])]
    proto = model(nodes, values, inputs={"x": ["N", 3, 4]}, outputs=["y"])
    cleaned = clean(proto)
    expected = ["Reshape" if op == "Flatten" else op for op in left]
    assert operators(cleaned) == ["Neg", *expected, "Abs"]
    assert_same(proto, cleaned, x=numbers(2, 3, 4))


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_random_chains_compute_the_same(data):
    shape, nodes, values, current = [2, 3, 4], [node("Neg", ["x"], ["v0"])], {}, "v0"
    for k in range(1, data.draw(st.integers(2, 6))):
        kind = data.draw(st.sampled_from(["Transpose", "Reshape", "Slice", "Unsqueeze"]))
        inputs, attributes = [current], {}
        if kind == "Transpose":
            order = data.draw(st.permutations(range(len(shape))))
            attributes, shape = {"perm": list(order)}, [shape[a] for a in order]
        elif kind == "Reshape":
            before = shape
            shape = data.draw(st.sampled_from([[-1], [1, -1], [shape[0], -1], [-1, 1, shape[-1]]]))
            values[f"t{k}"] = np.array(shape)
            inputs.append(f"t{k}")
            total = int(np.prod(before))
            known = -int(np.prod(shape))
            shape = [total // known if d == -1 else d for d in shape]
        elif kind == "Slice":
            axis = data.draw(st.integers(-len(shape), len(shape) - 1))
            start, step = data.draw(st.integers(0, 1)), data.draw(st.sampled_from([1, 2]))
            if shape[axis] <= start:
                start = 0
            values |= {f"s{k}": np.array([start]), f"e{k}": np.array([2**31]), f"a{k}": np.array([axis]),
                       f"p{k}": np.array([step])}  # fmt: skip
            inputs += [f"s{k}", f"e{k}", f"a{k}", f"p{k}"]
            shape[axis] = len(range(start, shape[axis], step))
        else:
            values[f"u{k}"] = np.array([0])
            inputs.append(f"u{k}")
            shape = [1, *shape]
        nodes.append(node(kind, inputs, [f"v{k}"], **attributes))
        current = f"v{k}"
    proto = model([*nodes, node("Abs", [current], ["y"])], values, inputs={"x": [2, 3, 4]}, outputs=["y"])
    cleaned = clean(proto)
    assert len(operators(cleaned)) <= len(proto.graph.node)
    assert_same(proto, cleaned, x=numbers(2, 3, 4))


def test_slices_of_different_axes_become_one():
    nodes = [
        node("Slice", ["x", "zero", "end", "two", "step"], ["a"]),
        node("Slice", ["a", "one", "end", "three", "step"], ["b"]),
        node("Slice", ["a", "one", "end", "two", "step"], ["c"]),
        node("Concat", ["b", "b"], ["y"], axis=0),
        node("Neg", ["c"], ["z"]),
    ]
    values = {n: np.array([v]) for n, v in (("zero", 0), ("one", 1), ("two", 2), ("three", 3), ("step", 2))}
    values["end"] = np.array([2**63 - 1])
    proto = model(nodes, values, inputs={"x": ["N", 2, 8, 8]}, outputs=["y", "z"])
    cleaned = load(proto)
    MergeSlices()(cleaned)
    merged = next(n for n in cleaned.graph if n.outputs[0].name == "b")
    assert merged.inputs[0].name == "x"
    assert [v.const_value.numpy().tolist() for v in merged.inputs[1:]][2] == [2, 3]
    assert next(n for n in cleaned.graph if n.outputs[0].name == "c").inputs[0].name == "a"  # the same axis twice
    assert_same(proto, cleaned, x=numbers(1, 2, 8, 8))


def test_equal_nodes_are_computed_once_but_random_ones_and_outputs_stay():
    nodes = [
        node("Abs", ["x"], ["a"]),
        node("Abs", ["x"], ["b"]),
        node("Mul", ["a", "k1"], ["c"]),
        node("Mul", ["b", "k2"], ["d"]),
        node("RandomNormalLike", ["x"], ["r1"]),
        node("RandomNormalLike", ["x"], ["r2"]),
        node("Sum", ["c", "d", "r1", "r2"], ["y"]),
        node("Neg", ["x"], ["z1"]),
        node("Neg", ["x"], ["z2"]),
    ]
    values = {"k1": np.float32(2), "k2": np.float32(2)}
    loaded = load(model(nodes, values, inputs={"x": ["N", 2]}, outputs=["y", "z1", "z2"]))
    MergeEqualNodes()(loaded)
    assert operators(loaded) == ["Abs", "Mul", "RandomNormalLike", "RandomNormalLike", "Sum", "Neg", "Neg"]


def _texts(first: str, second: str):
    """Whether x is both of two texts."""
    nodes = [node("Equal", ["x", "a"], ["p"]), node("Equal", ["x", "b"], ["q"]), node("And", ["p", "q"], ["y"])]
    values = {"a": np.array([first], object), "b": np.array([second], object)}
    return model(nodes, values, inputs={"x": [2]}, outputs=["y"], input_type=TensorProto.STRING)


def test_texts_are_compared_by_what_they_say():
    long = "text " * 9
    assert operators(clean(_texts(long, f"{long}!"))).count("Equal") == 2
    assert not certify(_texts(long, "b"), _texts(long, "c")).verdict.is_proof


@pytest.mark.parametrize(("other", "same"), [("b", True), ("c", False)])
def test_defaults_that_are_texts_are_compared_by_what_they_say(other, same):
    one, two = (_texts("a", text) for text in ("b", other))
    for proto in (one, two):
        proto.graph.input.append(helper.make_tensor_value_info("b", TensorProto.STRING, [1]))
    found = certify(load(one, overridable=True), load(two, overridable=True))
    assert (not any("default" in proof.detail for proof in found.outputs)) is same


def test_equal_zeros_of_different_sign_are_not_merged():
    nodes = [node("Div", ["x", "p"], ["a"]), node("Div", ["x", "n"], ["b"]), node("Max", ["a", "b"], ["y"])]
    proto = model(nodes, {"p": np.float32(0.0), "n": np.float32(-0.0)}, inputs={"x": [2]}, outputs=["y"])
    assert operators(clean(proto)) == ["Div", "Div", "Max"]


def test_quantisers_stay_beside_each_other():
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q1"]),
        node("QuantizeLinear", ["x", "s", "z"], ["q2"]),
        node("DequantizeLinear", ["q1", "s", "z"], ["a"]),
        node("DequantizeLinear", ["q2", "s", "z"], ["b"]),
        node("Add", ["a", "b"], ["y"]),
    ]
    proto = model(nodes, {"s": np.float32(0.5), "z": np.int8(0)}, inputs={"x": [2]}, outputs=["y"])
    assert operators(clean(proto)) == [n.op_type for n in nodes]


def branch(name, *nodes, output="b"):
    return helper.make_graph(list(nodes), name, [], [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)])


@pytest.mark.parametrize(("axis_size", "left"), [(1, ["Squeeze", "Abs"]), (2, ["Abs"])])
def test_the_branch_that_is_taken_stands_for_an_if(axis_size, left):
    """What torch exports for x.squeeze(1)."""
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "one"], ["n"]),
        node("Equal", ["n", "one"], ["c"]),
        node(
            "If",
            ["c"],
            ["i"],
            then_branch=branch("then", node("Squeeze", ["x", "one"], ["b"])),
            else_branch=branch("else", node("Identity", ["x"], ["b"])),
        ),
        node("Abs", ["i"], ["y"]),
    ]
    proto = model(nodes, {"one": np.array([1])}, inputs={"x": ["N", axis_size, 3]}, outputs=["y"])
    cleaned = clean(proto)
    assert operators(cleaned) == left
    x = numbers(2, axis_size, 3)
    before, after = (Session(m, engine="reference").run(x)["y"] for m in (proto, cleaned))
    np.testing.assert_array_equal(before, after)  # ONNX Runtime refuses the Squeeze of an axis of 2 that is not run


def test_a_branch_that_depends_on_a_free_size_stays():
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "zero"], ["n"]),
        node("Equal", ["n", "one"], ["c"]),
        node(
            "If",
            ["c"],
            ["y"],
            then_branch=branch("then", node("Neg", ["x"], ["b"])),
            else_branch=branch("else", node("Abs", ["x"], ["b"])),
        ),
    ]
    values = {"zero": np.array([0]), "one": np.array([1])}
    proto = model(nodes, values, inputs={"x": ["N", 3]}, outputs=["y"])
    cleaned = clean(proto)
    assert "If" in operators(cleaned)
    for n in (1, 2):
        assert_same(proto, cleaned, x=numbers(n, 3))


@pytest.mark.parametrize("compared", ["Greater", "Equal", "Less", "Cast"])
def test_comparisons_hold_for_empty_dimensions(compared):
    test = [node("Cast", ["n"], ["c"], to=TensorProto.BOOL)] if compared == "Cast" else [
        node(compared, ["n", "limit"], ["c"])]  # fmt: skip
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "zero"], ["n"]),
        *test,
        node(
            "If",
            ["c"],
            ["y"],
            then_branch=branch("then", node("ReduceProd", ["x"], ["b"], keepdims=0)),
            else_branch=branch("else", node("ReduceSum", ["x"], ["b"], keepdims=0)),
        ),
    ]
    values = {"zero": np.array([0]), "limit": np.array([0 if compared != "Less" else 1])}
    proto = model(nodes, values, inputs={"x": ["N", 3]}, outputs=["y"])
    cleaned = clean(proto)
    for n in (0, 1, 2):
        x = {"x": numbers(n, 3)}  # anybit's own engines clean what they run
        before, after = (ReferenceEvaluator(m).run(None, x)[0] for m in (proto, to_proto(cleaned)))
        np.testing.assert_array_equal(before, after)


def test_names_of_two_branches_do_not_meet():
    one = branch("then", node("Neg", ["x"], ["t"]), node("Abs", ["t"], ["b"]))
    two = branch("else", node("Identity", ["x"], ["b"]))
    nodes = [
        node("If", ["yes"], ["i"], then_branch=one, else_branch=two),
        node("If", ["yes"], ["j"], then_branch=one, else_branch=two),
        node("Neg", ["x"], ["t2"]),
        node("Sum", ["i", "j", "t2"], ["y"]),
    ]
    proto = model(nodes, {"yes": np.array(True)}, inputs={"x": ["N", 3]}, outputs=["y"])
    loaded = load(proto)
    assert FoldBranches()(loaded).modified
    names = [o.name for n in loaded.graph for o in n.outputs]
    assert len(set(names)) == len(names)
    assert "If" not in operators(loaded)
    assert_same(proto, loaded, x=numbers(2, 3))


def test_a_reshape_of_what_reads_nothing_stays():
    nodes = [node("RandomNormal", [], ["r"], shape=[2, 3], seed=1.0), node("Reshape", ["r", "t"], ["y"])]
    proto = model([*nodes, node("Abs", ["x"], ["z"])], {"t": np.array([3, 2])}, inputs={"x": [1]}, outputs=["y", "z"])
    assert "Reshape" in operators(clean(proto))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9, 20])
def test_a_taken_branch_brings_its_initializers(count):
    sums = [node("Add", [f"t{k}" if k else "x", f"c{k}"], [f"t{k + 1}"]) for k in range(count)]
    taken, other = branch("then", *sums, output=f"t{count}"), branch("else", node("Identity", ["x"], ["b"]))
    constants = [numpy_helper.from_array(np.float32([k + 1]), f"c{k}") for k in range(count)]
    taken.initializer.extend(constants)
    nodes = [node("If", ["yes"], ["y"], then_branch=taken, else_branch=other), node("Neg", ["c0"], ["z"])]
    values = {"yes": np.array(True), "c0": np.float32([100])}
    proto = model(nodes, values, inputs={"x": ["N", 3]}, outputs=["y", "z"])
    loaded = load(proto)
    assert FoldBranches()(loaded).modified
    assert "If" not in operators(loaded)
    before, after = (Session(m, engine="reference").run(numbers(2, 3)) for m in (proto, loaded))
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array)


def test_a_chain_of_many_nodes_costs_in_proportion():
    def cost(length: int) -> int:
        nodes = [node("Reshape", [f"v{k}", "t"], [f"v{k + 1}"]) if k % 2 else node("Neg", [f"v{k}"], [f"v{k + 1}"])
                 for k in range(length)]  # fmt: skip
        loaded = load(model(nodes, {"t": np.array([-1, 4])}, inputs={"v0": ["N", 4]}, outputs=[f"v{length}"]))
        steps = (FoldShapes(), MergeMovements(), MergeSlices(), MergeEqualNodes())
        return calls(lambda: [step(loaded) for step in steps])

    cost(10)
    assert cost(2000) < 12 * cost(200)


def test_a_quantised_weight_keeps_its_quantiser_and_annotations():
    nodes = [quant("w", "wq"), node("Reshape", ["wq", "t1"], ["a"]), node("Reshape", ["a", "t2"], ["b"]),
             node("MatMul", ["x", "b"], ["y"])]  # fmt: skip
    values = {"w": numbers(2, 6), "t1": np.array([12]), "t2": np.array([4, 3])} | parameters("wq")
    proto = model(nodes, values, inputs={"x": ["N", 4]}, outputs=["y"])
    cleaned = clean(proto)
    assert operators(cleaned) == ["Quant", "Reshape", "MatMul"]
    assert_same(proto, cleaned, x=numbers(3, 4))


def norm(x, y, channels):
    rng = np.random.default_rng(1)
    values = {f"{y}_{k}": v.astype(np.float32) for k, v in (
        ("scale", rng.normal(size=channels)), ("bias", rng.normal(size=channels)),
        ("mean", rng.normal(size=channels)), ("var", rng.uniform(0.5, 2, channels)))}  # fmt: skip
    return node("BatchNormalization", [x, *values], [y]), values


def test_float_layers_take_in_what_scales_and_shifts_channels_when_they_are_told_to():
    batch_norm, values = norm("c", "n", 4)
    nodes = [
        node("Conv", ["x", "w"], ["c"], kernel_shape=[1, 1]),
        batch_norm,
        node("Mul", ["factor", "n"], ["m"]),
        node("Add", ["m", "offset"], ["a"]),
        node("ReduceMean", ["a", "axes"], ["r"], keepdims=0),
        node("MatMul", ["r", "v"], ["p"]),
        node("Add", ["p", "bias"], ["y"]),
    ]
    values |= {"w": numbers(4, 3, 1, 1), "factor": np.float32([0.7]), "offset": numbers(1, 4, 1, 1),
               "axes": np.array([2, 3]), "v": numbers(4, 5), "bias": numbers(5)}  # fmt: skip
    proto = model(nodes, values, inputs={"x": ["N", 3, 2, 2]}, outputs=["y"])
    assert operators(clean(proto)) == [n.op_type for n in nodes]  # not exact, so not by default
    fused = clean(proto, fuse_float=True)
    assert operators(fused) == ["Conv", "ReduceMean", "Gemm"]
    x = numbers(3, 3, 2, 2)
    for engine in ("reference", "onnxruntime"):
        before, after = (Session(m, engine=engine).run(x)["y"] for m in (proto, fused))
        np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1, 2, 2), (2,), (1, 4, 1, 2), (1, 1, 4, 1, 1)])
def test_constants_that_vary_within_a_channel_stay(shape):
    nodes = [node("Conv", ["x", "w"], ["c"], kernel_shape=[1, 1]), node("Mul", ["c", "k"], ["y"])]
    proto = model(nodes, {"w": numbers(4, 3, 1, 1), "k": numbers(*shape)}, inputs={"x": ["N", 3, 2, 2]}, outputs=["y"])
    assert operators(clean(proto, fuse_float=True)) == ["Conv", "Mul"]


def test_a_quantised_model_is_not_fused():
    nodes = [node("Conv", ["x", "w"], ["c"], kernel_shape=[1, 1]), node("Mul", ["c", "k"], ["m"]), quant("m", "y")]
    values = {"w": numbers(4, 3, 1, 1), "k": np.float32(0.7)} | parameters("y")
    proto = model(nodes, values, inputs={"x": ["N", 3, 2, 2]}, outputs=["y"])
    assert operators(clean(proto, fuse_float=True)) == ["Conv", "Mul", "Quant"]


@pytest.mark.parametrize(("dtype", "factor"), [(np.int32, 2**30), (np.int64, 2**62)])
@pytest.mark.parametrize("compared", ["Greater", "Equal", "Less"])
def test_sizes_that_wrap_around_are_not_decided(dtype, factor, compared):
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["size"]),
        helper.make_node("Cast", ["size"], ["cast"], to=int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))),
        helper.make_node("Mul", ["cast", "factor"], ["product"]),
        helper.make_node(compared, ["product", "zero"], ["y"]),
    ]
    constants = {"one": np.int64([1]), "factor": np.array([factor], dtype), "zero": np.zeros(1, dtype)}
    proto = model(nodes, constants, inputs={"x": ["N", 4]}, outputs=["y", "product"])
    x = {"x": np.zeros((2, 4), np.float32)}
    before, after = (ReferenceEvaluator(m).run(None, x) for m in (proto, to_proto(clean(proto))))
    for expected, result in zip(before, after, strict=True):
        np.testing.assert_array_equal(result, expected)


def test_a_target_beyond_64_bits_stays_computed():
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"], axis=0),
        helper.make_node("Shape", ["flat"], ["target"]),
        helper.make_node("Reshape", ["z", "target"], ["y"]),
    ]
    proto = model(nodes, {}, inputs={"x": [2**40, 2**40], "z": ["M", "N"]}, outputs=["y"])
    assert operators(clean(proto)) == ["Flatten", "Shape", "Reshape"]
