from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from anybit import Session, compare, load
from anybit.cleanup.fold_shapes import FoldShapes
from anybit.cleanup.infer_shapes import InferShapes
from anybit.errors import InvalidModelError, UsageError
from anybit.io.save import to_proto
from anybit.passes.pruning.prune_channels import PruneChannels
from anybit.passes.pruning.removal import dead_channels, plan_removal, weighted_nodes
from tests.integration.corpus import CORPUS, needs_corpus
from tests.models import mlp, model, parameters, quant
from tests.strategies import examples, seeds

RNG = np.random.default_rng(0)


def node(op_type, inputs, output, **attributes):
    return helper.make_node(op_type, inputs, [output], name=f"{output}_node", **attributes)


def integers(*shape):
    return RNG.integers(-3, 4, shape).astype(np.float32)


def pruned(proto, masks, **options):
    read = load(proto)
    assert PruneChannels(masks, **options)(read).modified
    fresh = load(to_proto(read))  # shapes that the pass stated must agree with those that follow
    InferShapes()(fresh)
    known = {v.name: v.shape for n in fresh.graph.all_nodes() for v in n.outputs}
    stated = {v.name: v.shape for n in read.graph.all_nodes() for v in n.outputs}
    assert stated == known
    onnx.checker.check_model(to_proto(read), full_check=True)
    return read


def inferred(proto):
    read = load(proto)
    InferShapes()(read)
    return read


def shapes(read: ir.Model) -> dict[str, list[int]]:
    return {name: list(v.const_value.shape) for name, v in read.graph.initializers.items()}


def with_zeros(proto: onnx.ModelProto, zeroed: Mapping[str, tuple[int, tuple[int, ...]]]) -> onnx.ModelProto:
    """The model with zeros in the weights that read the channels: by name, axis and indices."""
    copy = onnx.ModelProto.FromString(proto.SerializeToString())
    found = 0
    for tensor in copy.graph.initializer:
        if tensor.name in zeroed:
            axis, indices = zeroed[tensor.name]
            array = onnx.numpy_helper.to_array(tensor).copy()
            array[(slice(None),) * axis + (list(indices),)] = 0
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
            found += 1
    assert found == len(zeroed)
    return copy


def assert_same(a, b, *shape):
    """Small integers, and halves of them, are added up: every order gives the same float32."""
    x = {"x": integers(*shape)}
    for engine in ("reference", "onnxruntime"):
        ours, theirs = (Session(m, engine=engine).run(x) for m in (a, b))
        assert ours.keys() == theirs.keys()
        for name, array in ours.items():
            np.testing.assert_array_equal(array, theirs[name])


def test_before_and_after():
    proto = model(
        [
            node("Conv", ["x", "w", "b"], "c", kernel_shape=[3, 3]),
            node("Relu", ["c"], "r"),
            node("Flatten", ["r"], "f"),
            node("Gemm", ["f", "v", "d"], "y"),
        ],
        {"w": integers(4, 2, 3, 3), "b": integers(4), "v": integers(36, 5), "d": integers(5)},
        inputs={"x": [1, 2, 5, 5]},
        outputs=["y"],
    )
    read = pruned(proto, {"c_node": (0, 3)})
    assert [n.op_type for n in read.graph] == ["Conv", "Relu", "Flatten", "Gemm"]
    assert shapes(read) == {"w": [2, 2, 3, 3], "b": [2], "v": [18, 5], "d": [5]}
    rows = tuple(range(9)) + tuple(range(27, 36))
    assert_same(with_zeros(proto, {"v": (0, rows)}), read, 1, 2, 5, 5)


def test_quantisers_per_channel_and_their_annotations():
    scale = np.exp2(np.arange(4.0) - 3).astype(np.float32)
    proto = model(
        [
            quant("w", "wq", narrow=1),
            quant("b", "bq"),
            node("Conv", ["x", "wq", "bq"], "c"),
            quant("c", "cq", signed=0),
            quant("v", "vq"),
            node("Conv", ["cq", "vq"], "y"),
        ],
        {"w": integers(4, 2, 3, 3), "b": integers(4), "v": integers(3, 4, 1, 1)}
        | parameters("wq", scale=scale.reshape(4, 1, 1, 1))
        | parameters("bq", scale=scale, bits=8.0)
        | parameters("cq", scale=scale.reshape(1, 4, 1, 1), bits=np.float32([2, 3, 4, 5]).reshape(4, 1, 1))
        | parameters("vq"),
        inputs={"x": [1, 2, 5, 5]},
        outputs=["y"],
    )
    read = load(proto)
    for name in ("w", "wq"):
        value = next(v for v in (*read.graph.initializers.values(), *(o for n in read.graph for o in n.outputs))
                     if v.name == name)  # fmt: skip
        value.meta["quant_parameter_tensor_names"] = {"finn_datatype": name}
    read = pruned(to_proto(read), {"c": (1,)})
    assert shapes(read) == {
        "w": [3, 2, 3, 3], "b": [3], "v": [3, 3, 1, 1], "wq_scale": [3, 1, 1, 1], "bq_scale": [3],
        "cq_scale": [1, 3, 1, 1], "cq_bits": [3, 1, 1], "vq_scale": [], "wq_zeropt": [], "bq_zeropt": [],
        "cq_zeropt": [], "vq_zeropt": [], "wq_bits": [], "bq_bits": [], "vq_bits": [],
    }  # fmt: skip
    assert read.graph.initializers["w"].meta["quant_parameter_tensor_names"] == {"finn_datatype": "w"}
    assert_same(with_zeros(proto, {"v": (1, (1,))}), read, 1, 2, 5, 5)


def residual(*, second=True):
    """x -> a; a -> b; a + b -> y by a last convolution."""
    return model(
        [
            node("Conv", ["x", "w0"], "a"),
            node("BatchNormalization", ["a", "g", "h", "m", "v"], "n", epsilon=0.0),
            node("Relu", ["n"], "r"),
            node("Conv", ["r", "w1"], "b", pads=[1, 1, 1, 1]),
            node("Add", ["b", "r"] if second else ["b", "a"], "s"),
            node("Mul", ["s", "k"], "t"),
            node("MaxPool", ["t"], "p", kernel_shape=[2, 2]),
            node("Conv", ["p", "w2"], "y"),
        ],
        {
            "w0": integers(4, 2, 1, 1), "w1": integers(4, 4, 3, 3), "w2": integers(3, 4, 1, 1),
            "g": integers(4), "h": integers(4), "m": integers(4), "v": np.ones(4, np.float32),
            "k": integers(1, 4, 1, 1),
        },
        inputs={"x": [1, 2, 6, 6]},
        outputs=["y"],
    )  # fmt: skip


def test_branches_that_meet_lose_the_same_channels():
    proto = residual()
    read = pruned(proto, {"a_node": (1, 2), "b_node": (1, 2)})
    assert shapes(read) == {
        "w0": [2, 2, 1, 1], "w1": [2, 2, 3, 3], "w2": [3, 2, 1, 1], "g": [2], "h": [2], "m": [2], "v": [2],
        "k": [1, 2, 1, 1],
    }  # fmt: skip
    assert_same(with_zeros(proto, {"w1": (1, (1, 2)), "w2": (1, (1, 2))}), read, 1, 2, 6, 6)


def test_a_branch_alone_is_refused_by_name_or_extended():
    proto = residual()
    read = load(proto)
    with pytest.raises(InvalidModelError, match=r"Conv 'b_node' \[1, 2\].*extend=True"):
        PruneChannels({"a_node": (1, 2)})(read)
    assert shapes(read) == shapes(load(proto))
    with pytest.raises(InvalidModelError, match=r"Conv 'a_node' \[0, 1\], Conv 'b_node' \[0, 1\]"):
        PruneChannels({"a_node": (1,), "b_node": (0,)})(read)
    extended = pruned(proto, {"a_node": (1, 2)}, extend=True)
    stated = pruned(proto, {"a_node": (1, 2), "b_node": (1, 2)})
    assert to_proto(extended) == to_proto(stated)
    union = pruned(proto, {"a_node": (1,), "b_node": (0,)}, extend=True)
    assert to_proto(union) == to_proto(pruned(proto, {"a_node": (0, 1), "b_node": (0, 1)}))


@pytest.mark.parametrize(("masks", "error"), [
    ({"nobody": (0,)}, "mask"), ({"r": (0,)}, "mask"),
    ({"a_node": (4,)}, "channels 0 .. 3"), ({"a": (-1,)}, "channels 0 .. 3"),
])  # fmt: skip
def test_bad_masks(masks, error):
    with pytest.raises(UsageError, match=error):
        PruneChannels(masks)(load(residual()))


@pytest.mark.parametrize(("masks", "error"), [
    ({"y_node": (0,)}, r"output 'y' of the graph would lose channels \[0\]"),
    ({"a_node": (0, 1, 2, 3)}, "no channel of"),
])  # fmt: skip
def test_impossible_masks(masks, error):
    read = load(residual())
    with pytest.raises(InvalidModelError, match=error):
        PruneChannels(masks, extend=True)(read)
    assert shapes(read) == shapes(load(residual()))


def test_a_refusal_leaves_the_model_as_it_was():
    nodes = [
        node("Shape", ["x"], "s"),
        node("Reshape", ["x", "s"], "r"),
        node("MatMul", ["r", "w"], "h"),
        node("Softmax", ["h"], "y"),
    ]
    read = load(model(nodes, {"w": integers(4, 3)}, inputs={"x": [2, 4]}, outputs=["y"]))
    before = to_proto(read).SerializeToString(deterministic=True)
    with pytest.raises(InvalidModelError, match="Softmax"):
        PruneChannels({"h_node": (0,)})(read)
    assert to_proto(read).SerializeToString(deterministic=True) == before


def test_no_masks_change_nothing():
    assert not PruneChannels()(load(residual())).modified
    assert not PruneChannels({"a_node": ()})(load(residual())).modified


def test_masks_are_values():
    assert PruneChannels({"a": [2, 1, 1]}) == PruneChannels((("a", (1, 2)),))
    assert hash(PruneChannels({"a": [1]})) == hash(PruneChannels((("a", (1,)),)))


@pytest.mark.parametrize("transposed", [False, True])
def test_depthwise_convolutions_lose_groups(transposed):
    op_type = "ConvTranspose" if transposed else "Conv"
    proto = model(
        [
            node("Conv", ["x", "w0"], "a"),
            node(op_type, ["a", "w1", "b1"], "d", group=4),
            node("GlobalAveragePool", ["d"], "g"),
            node("Conv", ["g", "w2"], "y"),
        ],
        {"w0": integers(4, 2, 1, 1), "w1": integers(*((4, 2, 3, 3) if transposed else (8, 1, 3, 3))),
         "b1": integers(8), "w2": integers(3, 8, 1, 1)},
        inputs={"x": [1, 2, 6, 6]},
        outputs=["y"],
    )  # fmt: skip
    read = pruned(proto, {"a_node": (1, 3)})
    assert next(n for n in read.graph if n.name == "d_node").attributes["group"].value == 2
    assert shapes(read)["w1"] == ([2, 2, 3, 3] if transposed else [4, 1, 3, 3])
    expected = with_zeros(proto, {"w2": (1, (2, 3, 6, 7))})
    x = {"x": integers(1, 2, 6, 6)}
    ours, theirs = (Session(m, engine="reference").run(x)["y"] for m in (read, expected))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-5)  # means are no integers
    with pytest.raises(InvalidModelError, match="Conv 'a_node'"):
        PruneChannels({"d_node": (2, 3, 6, 7)})(load(proto))
    same = pruned(proto, {"d_node": (2, 3, 6, 7)}, extend=True)
    assert to_proto(same) == to_proto(read)


def grouped():
    return model(
        [node("Conv", ["x", "w0"], "a"), node("Conv", ["a", "w1"], "d", group=2), node("Conv", ["d", "w2"], "y")],
        {"w0": integers(4, 2, 1, 1), "w1": integers(6, 2, 3, 3), "w2": integers(3, 6, 1, 1)},
        inputs={"x": [1, 2, 6, 6]},
        outputs=["y"],
    )


def test_grouped_convolutions_lose_whole_groups_or_the_same_of_each():
    proto = grouped()
    whole = pruned(proto, {"a_node": (0, 1)})
    assert shapes(whole) == {"w0": [2, 2, 1, 1], "w1": [3, 2, 3, 3], "w2": [3, 3, 1, 1]}
    assert_same(with_zeros(proto, {"w2": (1, (0, 1, 2))}), whole, 1, 2, 6, 6)
    some = pruned(proto, {"d_node": (1, 3)})
    assert shapes(some) == {"w0": [4, 2, 1, 1], "w1": [4, 2, 3, 3], "w2": [3, 4, 1, 1]}
    assert_same(with_zeros(proto, {"w2": (1, (1, 3))}), some, 1, 2, 6, 6)


@pytest.mark.parametrize("masks", [{"a_node": (0,)}, {"a_node": (0, 2)}, {"d_node": (0,)}])
def test_groups_of_unequal_size_are_refused(masks):
    read = load(grouped())
    with pytest.raises(InvalidModelError, match=r"Conv 'd_node': .*groups would differ in size"):
        PruneChannels(masks)(read)
    assert shapes(read) == shapes(load(grouped()))


def test_concat_transpose_reshape_and_constants():
    proto = model(
        [
            node("Conv", ["x", "w0"], "a"),
            node("Conv", ["x", "w1"], "b"),
            node("Add", ["b", "k"], "bk"),
            node("Concat", ["a", "bk"], "c", axis=1),
            node("Transpose", ["c"], "t", perm=[0, 2, 3, 1]),
            node("Reshape", ["t", "target"], "f"),
            node("MatMul", ["f", "v"], "m"),
            node("Add", ["m", "d"], "y"),
        ],
        {"w0": integers(2, 2, 1, 1), "w1": integers(3, 2, 1, 1), "k": integers(3, 1, 1), "v": integers(45, 4),
         "d": integers(4), "target": np.array([1, 45])},
        inputs={"x": [1, 2, 3, 3]},
        outputs=["y"],
    )  # fmt: skip
    read = pruned(proto, {"b": (0, 2)})
    assert shapes(read) == {
        "w0": [2, 2, 1, 1], "w1": [1, 2, 1, 1], "k": [1, 1, 1], "v": [27, 4], "d": [4], "f_shape": [2]
    }  # fmt: skip
    rows = tuple(5 * p + c for p in range(9) for c in (2, 4))
    assert_same(with_zeros(proto, {"v": (0, rows)}), read, 1, 2, 3, 3)


def test_attention_shares_its_inner_channels():
    """q k^T adds over the channels of both; the scores keep their shape."""
    proto = model(
        [
            node("MatMul", ["x", "wq"], "q"),
            node("MatMul", ["x", "wk"], "k"),
            node("Transpose", ["k"], "kt", perm=[0, 2, 1]),
            node("MatMul", ["q", "kt"], "y"),
        ],
        {"wq": integers(4, 6), "wk": integers(4, 6)},
        inputs={"x": [1, 5, 4]},
        outputs=["y"],
    )
    with pytest.raises(InvalidModelError, match="MatMul 'k_node'"):
        PruneChannels({"q": (5,)})(load(proto))
    read = pruned(proto, {"q": (5,), "k": (5,)})
    assert_same(with_zeros(proto, {"wq": (1, (5,))}), read, 1, 5, 4)


def test_linear_quantisers_and_thresholds():
    scale = np.exp2(np.arange(4.0) - 2).astype(np.float32)
    thresholds = node("MultiThreshold", ["h", "t"], "r", domain="qonnx.custom_op.general")
    nodes = [
        node("QuantizeLinear", ["w", "ws", "wz"], "wi", axis=0),
        node("DequantizeLinear", ["wi", "ws", "wz"], "wd", axis=0),
        node("Conv", ["x", "wd"], "h"),
        thresholds,
        node("Conv", ["r", "w2"], "y"),
    ]
    values = {"w": integers(4, 2, 1, 1), "ws": scale, "wz": np.zeros(4, np.int8), "t": np.sort(integers(4, 3)),
              "w2": integers(3, 4, 1, 1)}  # fmt: skip
    proto = model(nodes, values, inputs={"x": [1, 2, 3, 3]}, outputs=["y"])
    read = pruned(proto, {"h": (0, 2)})
    expected = with_zeros(proto, {"w2": (1, (0, 2))})
    x = {"x": integers(1, 2, 3, 3)}
    ours, theirs = (Session(m, engine="reference").run(x)["y"] for m in (read, expected))
    np.testing.assert_array_equal(ours, theirs)
    assert shapes(read)["t"] == [2, 3]
    assert shapes(read)["ws"] == [2]


def test_shared_constants_and_forks_keep_what_others_read():
    proto = model(
        [
            node("Conv", ["x", "w"], "a"),
            node("Conv", ["x", "w"], "b"),  # the same weight, all of it
            node("Add", ["a", "k"], "ak"),
            node("Add", ["b", "k"], "z"),
            node("Conv", ["ak", "v"], "y"),
            node("Conv", ["ak", "v"], "u"),
            node("Relu", ["x"], "r"),
        ],
        {"w": integers(4, 2, 1, 1), "k": integers(4, 1, 1), "v": integers(3, 4, 1, 1)},
        inputs={"x": [1, 2, 3, 3]},
        outputs=["y", "z", "u", "r"],
    )
    read = pruned(proto, {"a": (0,)})
    assert shapes(read) == {
        "w": [4, 2, 1, 1], "w_pruned": [3, 2, 1, 1], "k": [4, 1, 1], "k_pruned": [3, 1, 1], "v": [3, 3, 1, 1]
    }  # fmt: skip
    assert_same(with_zeros(proto, {"v": (1, (0,))}), read, 1, 2, 3, 3)


def test_readers_in_subgraphs():
    branch = helper.make_graph(
        [node("Conv", ["r", "v"], "inner")], "branch", [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )  # fmt: skip
    through = helper.make_graph(
        [node("Relu", ["r"], "inner2")], "through", [],
        [helper.make_tensor_value_info("inner2", TensorProto.FLOAT, None)],
    )  # fmt: skip
    nodes = [node("Conv", ["x", "w"], "a"), node("Relu", ["a"], "r")]
    values = {"w": integers(4, 2, 1, 1), "v": integers(3, 4, 1, 1), "on": np.array(1, bool)}
    reading = helper.make_node("If", ["on"], ["y"], name="if", then_branch=branch, else_branch=branch)
    proto = model([*nodes, reading], values, inputs={"x": [1, 2, 3, 3]}, outputs=["y"])
    read = load(proto)
    PruneChannels({"a": (1,)})(read)
    assert_same(with_zeros(proto, {"v": (1, (1,))}), read, 1, 2, 3, 3)
    passing = helper.make_node("If", ["on"], ["y"], name="if", then_branch=through, else_branch=through)
    with pytest.raises(InvalidModelError, match="output 'inner2' of the graph"):
        PruneChannels({"a": (1,)})(load(model([*nodes, passing], values, inputs={"x": [1, 2, 3, 3]}, outputs=["y"])))


@pytest.mark.parametrize(
    ("op_type", "attributes", "count"),
    [("Softmax", {"axis": 1}, 1), ("ReduceMean", {"keepdims": 1}, 2), ("MaxPool", {"kernel_shape": [2, 2]}, 1)],
)
def test_operators_that_mix_channels_are_refused(op_type, attributes, count):
    inputs = ["a", "axes"][:count]
    mixing = helper.make_node(op_type, inputs, ["m", "i"] if op_type == "MaxPool" else ["m"], name="mix", **attributes)
    outputs = ["y", "i"] if op_type == "MaxPool" else ["y"]
    nodes = [node("Conv", ["x", "w"], "a"), mixing, node("Relu", ["m"], "y")]
    proto = model(
        nodes, {"w": integers(4, 2, 1, 1), "axes": np.array([1])}, inputs={"x": [1, 2, 4, 4]}, outputs=outputs
    )
    read = load(proto)
    with pytest.raises(InvalidModelError, match=f"{op_type} 'mix'"):
        PruneChannels({"a": (0,)})(read)
    assert shapes(read) == shapes(load(proto))


@st.composite
def networks(draw):
    """A chain of convolutions with blocks between them; returns masks and the weights to zero."""
    rng = np.random.default_rng(draw(seeds))
    current, channels, nodes, values, masks, zeroed = "x", 2, [], {}, {}, {}
    for k in range(draw(st.integers(1, 3))):
        outputs = int(rng.integers(2, 6))
        weight = f"w{k}"
        values[weight] = rng.integers(-3, 4, (outputs, channels, 1, 1)).astype(np.float32)
        if draw(st.booleans()):
            nodes.append(quant(weight, f"q{k}"))
            values |= parameters(f"q{k}", scale=np.float32(np.exp2(rng.integers(-1, 1, (outputs, 1, 1, 1)))))
            weight = f"q{k}"
        nodes.append(node("Conv", [current, weight], f"c{k}"))
        lost = tuple(sorted(rng.choice(outputs, int(rng.integers(0, outputs)), replace=False).tolist()))
        masks[f"c{k}"] = lost
        current, channels = f"c{k}", outputs
        for block in draw(st.lists(st.sampled_from(("relu", "add", "fork", "quant", "mul", "unsqueeze")), max_size=3)):
            name = f"t{len(nodes)}"
            match block:
                case "relu":
                    nodes.append(node("Relu", [current], name))
                case "add":
                    values[f"{name}_k"] = rng.integers(-3, 4, (channels, 1, 1)).astype(np.float32)
                    nodes.append(node("Add", [current, f"{name}_k"], name))
                case "fork":
                    nodes += [node("Neg", [current], f"{name}_n"), node("Sub", [current, f"{name}_n"], name)]
                case "quant":
                    nodes.append(quant(current, name))
                    scale = np.float32(np.exp2(rng.integers(-1, 1, (1, channels, 1, 1))))
                    values |= parameters(name, scale=scale, bits=8.0)
                case "mul":
                    nodes.append(node("Mul", [current, current], name))
                case "unsqueeze":
                    values[f"{name}_axes"] = np.array([1])
                    nodes.append(node("Unsqueeze", [current, f"{name}_axes"], f"{name}_u"))
                    nodes.append(node("Squeeze", [f"{name}_u", f"{name}_axes"], name))
            current = name
        zeroed[f"w{k + 1}"] = (1, lost)
    last = f"w{len(masks)}"
    values[last] = rng.integers(-3, 4, (3, channels, 1, 1)).astype(np.float32)
    nodes.append(node("Conv", [current, last], "y"))
    return model(nodes, values, inputs={"x": [1, 2, 3, 3]}, outputs=["y"]), masks, zeroed


@examples(40)
@given(networks())
def test_random_networks(case):
    proto, masks, zeroed = case
    read = load(proto)
    PruneChannels(masks)(read)
    InferShapes()(read)  # without masks nothing is done, shapes included
    onnx.checker.check_model(to_proto(read))
    sizes, before = ({n.outputs[0].name: n.outputs[0].shape for n in m.graph} for m in (read, inferred(proto)))
    for name, lost in masks.items():
        assert sizes[name][1] == before[name][1] - len(lost)
    assert_same(with_zeros(proto, {n: z for n, z in zeroed.items() if z[1]}), read, 1, 2, 3, 3)


def test_dead_channels():
    proto = mlp()
    weights = next(t for t in proto.graph.initializer if t.name == "w")
    array = onnx.numpy_helper.to_array(weights).copy()
    array[:, 2] = 0.1  # rounds to 0 at a scale of 0.25
    array[:, 5] = 0
    weights.CopyFrom(onnx.numpy_helper.from_array(array, "w"))
    assert dead_channels(load(proto)) == {"matmul": (2, 5)}
    assert PruneChannels(dead_channels(load(residual()))) == PruneChannels()


def ungrouped(n: ir.Node) -> bool:
    return "group" not in n.attributes or n.attributes["group"].value == 1


def masked(source: ir.Model, masks: Mapping[str, tuple[int, ...]]) -> ir.Model:
    """The model with zeros multiplied onto what the last readers of removed channels read."""
    copy = source.clone()
    FoldShapes()(copy)
    nodes = {n.name: n for n in copy.graph.all_nodes()}
    removal = plan_removal(copy, {nodes[k]: v for k, v in masks.items()}, extend=True)
    for reader in [n for n in weighted_nodes(copy) if ungrouped(n)]:
        value = reader.inputs[0]
        axis = len(value.shape) - 1 if reader.op_type == "MatMul" else 1
        lost = removal.values.get(value, {}).get(axis)
        if not lost:
            continue
        mask = np.ones([value.shape[axis]] + [1] * (len(value.shape) - axis - 1), np.float32)
        mask[sorted(lost)] = 0
        constant = ir.Value(name=f"{reader.name}_mask", const_value=ir.tensor(mask))
        copy.graph.register_initializer(constant)
        product = ir.node("Mul", [value, constant])
        product.outputs[0].name = f"{reader.name}_masked"
        reader.prepend(product)
        reader.replace_input_with(0, product.outputs[0])
    return copy


@needs_corpus
@pytest.mark.parametrize(
    "name",
    [
        "tfc_2w2a/model.onnx",
        "tfc_1w1a/model.onnx",
        "jet_mlp_6b/model.onnx",
        "jet_mlp_6b/model_qcdq.onnx",
        "espcn_deconv_4w4a/model.onnx",
        "zoo_asym_ternary/model.onnx",
        "trunc_avgpool_round/model.onnx",
        "mobilenetv1_w05_4w4a_96/model.onnx",
    ],
)
def test_corpus(name):
    read = load(CORPUS / name)
    folded = read.clone()
    FoldShapes()(folded)
    candidates = [n for n in weighted_nodes(folded) if ungrouped(n)]
    masks = {n.name: (0, 3) for n in candidates[:-1] if n.op_type != "ConvTranspose"}
    if name.startswith("espcn"):
        masks = dict(list(masks.items())[:2])
    expected = masked(read, masks)
    PruneChannels(masks, extend=True)(read)
    assert compare(expected, read, samples=2).equal
