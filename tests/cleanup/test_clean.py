"""The clean-up: tidy graphs that compute the same, on small traps and on every real model."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from anybit import clean, compare, load
from anybit.cleanup.clean import clean_passes
from anybit.cleanup.fold_constants import FoldConstants
from anybit.errors import InvalidModelError, UsageError
from anybit.graph import annotations
from anybit.io.save import to_proto
from anybit.passes.apply import apply
from anybit.runtime.session import Session
from tests.integration.corpus import executable_files, needs_corpus, zoo_files
from tests.models import DOMAIN, mlp, model, parameters, quant, samples


def operators(cleaned) -> list[str]:
    return [n.op_type for n in cleaned.graph]


def same(before, after, **arguments) -> bool:
    return all(
        compare(before, after, engine_a=e, engine_b=e, tolerance=0, **arguments).equal
        for e in ("reference", "onnxruntime")
    )


def test_a_torchscript_export_becomes_what_was_meant():
    """Weights transposed as nodes, a bit width that is computed, a shape chain, a Constant."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "axes"], ["n1"]),
        helper.make_node("Constant", [], ["rest"], value=onnx.numpy_helper.from_array(np.array([-1]))),
        helper.make_node("Concat", ["n1", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["flat"]),
        quant("w", "wq"),
        helper.make_node("Transpose", ["wq"], ["wt"], perm=[1, 0]),
        helper.make_node("MatMul", ["flat", "wt"], ["h"], name="fc"),
        helper.make_node("Log", ["sixteen"], ["log16"]),
        helper.make_node("Log", ["two"], ["log2"]),
        helper.make_node("Div", ["log16", "log2"], ["bits"]),
        helper.make_node("Ceil", ["bits"], ["y_bits"]),
        quant("h", "y"),
    ]
    values = parameters("wq") | {k: v for k, v in parameters("y").items() if k != "y_bits"} | {
        "zero": np.asarray(0), "axes": np.array([0]), "w": samples(4, 6), "sixteen": np.float32(16),
        "two": np.float32(2),
    }  # fmt: skip
    proto = model(nodes, values, inputs={"x": [1, 2, 3]}, outputs=["y"])
    cleaned = clean(proto)
    assert operators(cleaned) == ["Reshape", "Quant", "MatMul", "Quant"]
    assert cleaned.graph.node(0).inputs[1].const_value.numpy().tolist() == [1, -1]
    assert same(proto, cleaned)
    free = clean(proto, batch="dynamic")
    assert str(free.graph.inputs[0].shape) == "[N,2,3]"
    assert same(free, proto)


def test_split_keeps_its_values():
    nodes = [
        helper.make_node("Split", ["w"], ["a", "b"], axis=0, num_outputs=2),
        helper.make_node("Add", ["x", "b"], ["y"]),
    ]
    proto = model(nodes, {"w": np.arange(6, dtype=np.float32).reshape(2, 3)}, inputs={"x": [1, 3]}, outputs=["y"])
    cleaned = clean(proto)
    assert operators(cleaned) == ["Add"]
    assert same(proto, cleaned)


def test_a_product_with_itself_stays():
    proto = model([helper.make_node("Mul", ["x", "x"], ["y"])], {}, inputs={"x": [1, 3]}, outputs=["y"])
    assert operators(clean(proto)) == ["Mul"]
    assert same(proto, clean(proto))


def test_what_a_subgraph_captures_is_used():
    branch = helper.make_graph(
        [helper.make_node("Add", ["kept", "w"], ["inner"])],
        "branch",
        [],
        [helper.make_tensor_value_info("inner", 1, None)],
    )
    nodes = [
        helper.make_node("Abs", ["x"], ["kept"]),
        helper.make_node("Neg", ["x"], ["dead"]),
        helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch),
    ]
    values = {"w": np.ones(3, np.float32), "unused": np.ones(3, np.float32)}
    proto = model(nodes, values, inputs={"x": [1, 3]}, outputs=["y"])
    proto.graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, []))
    cleaned = clean(proto)
    assert operators(cleaned) == ["Abs", "If"]
    assert set(cleaned.graph.initializers) == {"w"}
    x = samples(1, 3)
    for flag in (True, False):
        feeds = {"x": x, "c": np.asarray(flag)}
        np.testing.assert_array_equal(Session(cleaned).run(feeds)["y"], np.abs(x) + 1)


@pytest.mark.parametrize(
    ("node", "constant"),
    [
        (helper.make_node("Mul", ["a", "k"], ["b"]), np.float32(1)),
        (helper.make_node("Mul", ["k", "a"], ["b"]), np.ones(3, np.float32)),
        (helper.make_node("Add", ["k", "a"], ["b"]), np.zeros((1, 3), np.float32)),
        (helper.make_node("Sub", ["a", "k"], ["b"]), np.float32(0)),
        (helper.make_node("Div", ["a", "k"], ["b"]), np.float32(1)),
        (helper.make_node("Pow", ["a", "k"], ["b"]), np.float32(1)),
        (helper.make_node("Reshape", ["a", "k"], ["b"]), np.array([2, 3])),
        (helper.make_node("Expand", ["a", "k"], ["b"]), np.array([1, 3])),
        (helper.make_node("Transpose", ["a"], ["b"], perm=[0, 1]), np.float32(0)),
        (helper.make_node("Cast", ["a"], ["b"], to=1), np.float32(0)),
        (helper.make_node("Identity", ["a"], ["b"]), np.float32(0)),
        (helper.make_node("Dropout", ["a"], ["b"]), np.float32(0)),
        (helper.make_node("Concat", ["a"], ["b"], axis=1), np.float32(0)),
        (helper.make_node("Clip", ["a"], ["b"]), np.float32(0)),
        (helper.make_node("Flatten", ["a"], ["b"], axis=1), np.float32(0)),
        (helper.make_node("Pad", ["a", "k"], ["b"]), np.zeros(4, np.int64)),
        (helper.make_node("Slice", ["a", "z", "k"], ["b"]), np.array([99, 99])),
    ],
    ids=lambda v: v.op_type if isinstance(v, onnx.NodeProto) else "",
)
def test_exact_identities_go(node, constant):
    nodes = [helper.make_node("Abs", ["x"], ["a"]), node, helper.make_node("Neg", ["b"], ["y"])]
    proto = model(nodes, {"k": constant, "z": np.array([0, 0])}, inputs={"x": [2, 3]}, outputs=["y"])
    assert operators(clean(proto)) == ["Abs", "Neg"]
    assert same(proto, clean(proto), samples=2)


@pytest.mark.parametrize(
    ("node", "constant"),
    [
        (helper.make_node("Mul", ["a", "k"], ["b"]), np.float32(1 + 2**-23)),
        (helper.make_node("Add", ["a", "k"], ["b"]), np.float32(1e-30)),
        (helper.make_node("Sub", ["k", "a"], ["b"]), np.float32(0)),
        (helper.make_node("Div", ["k", "a"], ["b"]), np.float32(1)),
        (helper.make_node("Mul", ["a", "k"], ["b"]), np.ones((2, 1, 1, 3), np.float32)),
        (helper.make_node("Transpose", ["a"], ["b"], perm=[1, 0]), np.float32(0)),
        (helper.make_node("Reshape", ["a", "k"], ["b"]), np.array([3, 2])),
        (helper.make_node("Clip", ["a", "k"], ["b"]), np.float32(0.5)),
        (helper.make_node("Slice", ["a", "z", "k", "z2", "m"], ["b"]), np.array([-99])),
    ],
    ids=lambda v: v.op_type if isinstance(v, onnx.NodeProto) else "",
)
def test_what_is_merely_close_or_moves_elements_stays(node, constant):
    nodes = [helper.make_node("Abs", ["x"], ["a"]), node, helper.make_node("Neg", ["b"], ["y"])]
    values = {"k": constant, "z": np.array([-1]), "z2": np.array([1]), "m": np.array([-1])}
    proto = model(nodes, values, inputs={"x": [2, 3]}, outputs=["y"])
    assert len(operators(clean(proto))) == 3
    assert same(proto, clean(proto), samples=2)


def test_names_of_inputs_and_outputs_stay():
    nodes = [
        helper.make_node("Identity", ["x"], ["y1"]),
        helper.make_node("Abs", ["x"], ["a"]),
        helper.make_node("Identity", ["a"], ["y2"]),
        helper.make_node("Identity", ["a"], ["y3"]),
    ]
    proto = model(nodes, {}, inputs={"x": [1, 3]}, outputs=["y1", "y2", "y3"])
    cleaned = clean(proto)
    assert [v.name for v in cleaned.graph.outputs] == ["y1", "y2", "y3"]
    assert operators(cleaned) == ["Identity", "Abs", "Identity"]
    assert same(proto, cleaned)


def test_weight_quantisers_stay_unless_told_otherwise():
    assert operators(clean(mlp())) == ["Quant", "Quant", "MatMul", "Relu", "Quant"]
    folded = clean(mlp(), fold_quantizers=True)
    assert operators(folded) == ["Quant", "MatMul", "Relu", "Quant"]
    assert same(mlp(), folded)


def test_quantisers_of_qcdq_weights_stay_with_their_clip():
    nodes = [
        helper.make_node("Clip", ["w", "lo", "hi"], ["c"]),
        helper.make_node("DequantizeLinear", ["c", "s", "z"], ["d"]),
        helper.make_node("MatMul", ["x", "d"], ["y"]),
    ]
    values = {
        "w": np.arange(-6, 6, dtype=np.int8).reshape(6, 2), "lo": np.int8(-3), "hi": np.int8(3),
        "s": np.float32(0.5), "z": np.int8(0),
    }  # fmt: skip
    proto = model(nodes, values, inputs={"x": [1, 6]}, outputs=["y"])
    assert operators(clean(proto)) == ["Clip", "DequantizeLinear", "MatMul"]
    assert operators(clean(proto, fold_quantizers=True)) == ["MatMul"]
    assert same(proto, clean(proto, fold_quantizers=True))


def test_equal_weights_are_stored_once_only_if_annotations_agree():
    w = samples(32, 32)
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("MatMul", ["a", "w2"], ["b"]),
        helper.make_node("MatMul", ["b", "w3"], ["y"]),
    ]
    proto = model(nodes, {"w1": w, "w2": w, "w3": w}, inputs={"x": [1, 32]}, outputs=["y"])
    entry = proto.graph.quantization_annotation.add(tensor_name="w3")
    entry.quant_parameter_tensor_names.add(key="finn_datatype", value="FLOAT32")
    cleaned = clean(proto)
    assert set(cleaned.graph.initializers) == {"w1", "w3"}
    assert str(annotations.annotated_number_format(cleaned.graph.initializers["w3"])) == "FLOAT32"
    assert same(proto, cleaned)


def test_an_unsorted_graph_is_sorted_and_a_cycle_refused():
    nodes = [helper.make_node("Neg", ["a"], ["y"]), helper.make_node("Abs", ["x"], ["a"])]
    proto = model(nodes, {}, inputs={"x": [1, 3]}, outputs=["y"])
    assert operators(clean(proto)) == ["Abs", "Neg"]
    loop = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Abs", ["a"], ["b"])]
    with pytest.raises(InvalidModelError, match="cycle"):
        clean(model(loop, {}, inputs={"x": [1, 3]}, outputs=["b"]))


def test_annotations_and_metadata_survive():
    proto = mlp()
    proto.metadata_props.add(key="a", value="b")
    entry = proto.graph.quantization_annotation.add(tensor_name="h")
    entry.quant_parameter_tensor_names.add(key="finn_datatype", value="INT12")
    cleaned = to_proto(clean(proto))
    assert [p.key for p in cleaned.metadata_props] == ["a"]
    assert [a.tensor_name for a in cleaned.graph.quantization_annotation] == ["h"]


def test_shapes_can_be_set():
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("GlobalAveragePool", ["c"], ["y"])]
    proto = model(nodes, {"w": samples(2, 3, 3, 3)}, inputs={"x": [1, 3, 8, 8]}, outputs=["y"])
    cleaned = clean(proto, batch=4, input_shapes={"x": (4, 3, 16, 12)})
    assert [str(o.shape) for n in cleaned.graph for o in n.outputs] == ["[4,2,14,10]", "[4,2,1,1]"]


def test_a_batch_that_samples_share_cannot_be_changed():
    proto = model(
        [helper.make_node("Softmax", ["x"], ["y"], axis=0, name="mix")], {}, inputs={"x": [2, 3]}, outputs=["y"]
    )
    with pytest.raises(InvalidModelError, match="Softmax 'mix'"):
        clean(proto, batch="dynamic")


def test_passes_can_be_skipped_by_any_spelling():
    names = [type(p).__name__ for p in clean_passes(skip=["fold-constants", "RemoveUnused"])]
    assert "FoldConstants" not in names
    assert "RemoveUnused" not in names
    with pytest.raises(UsageError, match="bogus"):
        clean_passes(skip=["bogus"])


def test_cleaning_again_changes_nothing():
    once = clean(mlp())
    assert not any(s.modified for s in apply(once, clean_passes()).steps if s.name != "InferShapes")


def test_the_model_is_left_alone():
    loaded = load(mlp())
    before = to_proto(loaded).SerializeToString(deterministic=True)
    clean(loaded, batch=3)
    assert to_proto(loaded).SerializeToString(deterministic=True) == before


_UNARY = st.sampled_from(
    ["Abs", "Neg", "Relu", "Identity", "Quant", "Quant", "Reshape", "Transpose", "Scale1", "Scale2"]
)
_BINARY = st.sampled_from(["Add", "Mul", "Sub", "Concat", "Max"])


@st.composite
def graphs(draw) -> onnx.ModelProto:
    """Random graphs on (2, 4) tensors: forks, self-products, shared initializers, multi-output and dead nodes."""
    values = parameters("q") | parameters("p", scale=0.25, bits=3) | {
        "one": np.float32(1), "two": np.full(4, 2, np.float32), "w": samples(2, 4), "s24": np.array([2, 4]),
    }  # fmt: skip
    tensors, nodes = ["x", "w"], []
    for index in range(draw(st.integers(1, 12))):
        name = f"t{index}"
        if draw(st.booleans()):
            kind, a = draw(_UNARY), draw(st.sampled_from(tensors))
            match kind:
                case "Quant":
                    nodes.append(quant(a, name, prefix=draw(st.sampled_from(["q", "p"]))))
                case "Reshape":
                    nodes.append(helper.make_node("Reshape", [a, "s24"], [name]))
                case "Transpose":
                    nodes.append(helper.make_node("Transpose", [a], [f"{name}t"], perm=[1, 0]))
                    nodes.append(helper.make_node("Transpose", [f"{name}t"], [name], perm=[1, 0]))
                case "Scale1" | "Scale2":
                    nodes.append(helper.make_node("Mul", [a, "one" if kind == "Scale1" else "two"], [name]))
                case _:
                    nodes.append(helper.make_node(kind, [a], [name]))
        else:
            kind, a, b = draw(_BINARY), draw(st.sampled_from(tensors)), draw(st.sampled_from(tensors))
            if kind == "Concat":
                nodes.append(helper.make_node("Concat", [a, b], [f"{name}c"], axis=1))
                nodes.append(helper.make_node("Split", [f"{name}c"], [f"{name}l", name], axis=1, num_outputs=2))
                tensors.append(f"{name}l")
            else:
                nodes.append(helper.make_node(kind, [a, b], [name]))
        tensors.append(name)
    made = [t for t in tensors if t not in ("x", "w")]
    outputs = draw(st.lists(st.sampled_from(made), min_size=1, max_size=3, unique=True))
    return model(nodes, values, inputs={"x": [2, 4]}, outputs=outputs, imports={"": 21, DOMAIN: 1})


@given(graphs(), st.booleans())
def test_random_graphs_compute_the_same(proto, fold):
    cleaned = clean(proto, fold_quantizers=fold)
    x = np.concatenate([samples(1, 4), [[0.25, -0.75, 1e9, -1e9]]]).astype(np.float32)
    before, after = (Session(m, engine="reference").run(x) for m in (proto, cleaned))
    assert list(before) == list(after)
    for name, array in before.items():
        np.testing.assert_array_equal(array, after[name])


@needs_corpus
@pytest.mark.parametrize(
    "path", [c.path for c in executable_files()] + zoo_files(), ids=lambda p: f"{p.parent.name}-{p.stem}"
)
def test_real_models_compute_the_same_after_cleaning(path):
    cleaned = clean(path)
    assert same(path, cleaned, samples=2)
    constant = {"Constant", "Shape", "Gather", "Unsqueeze"} if "embedding" not in str(path) else {"Constant", "Shape"}
    assert not constant & set(operators(cleaned)) or "lstm" in str(path)


@pytest.mark.parametrize(
    ("op_type", "constants", "attributes"),
    [
        ("Reshape", {"a": samples(4, 4), "b": np.array([4, 3])}, {}),
        ("Gather", {"a": samples(4, 4), "b": np.array(9)}, {}),
        ("Concat", {"a": samples(4, 4), "b": samples(4, 3)}, {"axis": 0}),
        ("Add", {"a": samples(4, 4), "b": samples(3, 3)}, {}),
    ],
)
def test_constants_that_contradict_each_other_stay_with_a_note(op_type, constants, attributes):
    nodes = [
        helper.make_node(op_type, ["a", "b"], ["g"], name="bad", **attributes),
        helper.make_node("MatMul", ["x", "g"], ["y"]),
    ]
    applied = apply(model(nodes, constants, inputs={"x": [1, 4]}, outputs=["y"]), clean_passes())
    assert operators(applied.model) == [op_type, "MatMul"]
    assert f"{op_type} 'bad'" in {f.node for s in applied.steps for f in s.notes}


def test_large_constant_nodes_become_initializers():
    value = onnx.numpy_helper.from_array(np.zeros((1100, 1000), np.float32))
    nodes = [helper.make_node("Constant", [], ["w"], value=value), helper.make_node("MatMul", ["x", "w"], ["y"])]
    assert operators(clean(model(nodes, {}, inputs={"x": [1, 1100]}, outputs=["y"]))) == ["MatMul"]


@pytest.mark.parametrize("batch", [0, -3, ""])
def test_a_batch_that_makes_no_sense_is_refused(batch):
    with pytest.raises(UsageError, match="batch"):
        clean(mlp(), batch=batch)


def test_constants_that_are_to_stay_are_named_by_operator_or_node():
    nodes = [
        helper.make_node("Neg", ["c"], ["d"], name="kept"),
        helper.make_node("Exp", ["c"], ["e"], name="folded"),
        helper.make_node("Sum", ["x", "d", "e"], ["y"], name="sum"),
    ]
    proto = model(nodes, {"c": np.float32([1, 2])}, inputs={"x": [2]}, outputs=["y"])
    for keep in (("Neg",), ("ke*",)):
        loaded = load(proto)
        FoldConstants(keep=keep)(loaded)
        assert [n.op_type for n in loaded.graph] == ["Neg", "Sum"]
