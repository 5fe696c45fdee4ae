"""Packed weights: the file is small and means the same to every reader; what comes back is the same hub model."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from anybit import Session, load, save, to_proto
from anybit.cleanup.infer_shapes import InferShapes
from anybit.formats.qonnx.functions import embed_functions
from anybit.formats.qonnx.pack import pack
from anybit.graph.constants import constant
from anybit.io.packed import PACKED
from anybit.ops.calls import operator_of
from tests.integration.corpus import CORPUS, needs_corpus
from tests.models import DOMAIN, model, parameters, quant, samples
from tests.strategies import examples, flags, modes, positive_scales, seeds, zero_points


def layer(w: np.ndarray, *, opset: int = 21, scale: Any = 0.25, zeropt: Any = 0.0, bits: Any = 2.0, **attributes: Any):
    """x -> MatMul(Quant(w)) -> y."""
    nodes = [quant("w", "wq", **attributes), helper.make_node("MatMul", ["x", "wq"], ["y"], name="product")]
    initializers = {"w": w, **parameters("wq", scale=scale, zeropt=zeropt, bits=bits)}
    return model(nodes, initializers, inputs={"x": ["n", w.shape[0]]}, outputs=["y"], opset=opset)


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=shape) / 2).astype(np.float32)


def structure(m: ir.Model) -> list[Any]:
    nodes = [
        (n.domain, n.op_type, n.name, [v.name for v in n.inputs if v is not None], [v.name for v in n.outputs])
        for n in m.graph.all_nodes()
    ]
    return [*nodes, sorted(m.graph.initializers)]


def quantized(m: ir.Model) -> dict[str, np.ndarray]:
    """The output of each quantiser of a constant, by name."""
    found = {}
    for node in m.graph.all_nodes():
        operator = operator_of(node, m.opset_imports)
        if operator is not None and constant(node.inputs[0]) is not None:
            arrays = [constant(v) for v in node.inputs]
            found[node.outputs[0].name] = operator.evaluate(arrays, {k: a.value for k, a in node.attributes.items()})
    return found


def assert_same_model(actual: ir.Model, expected: ir.Model) -> None:
    assert structure(actual) == structure(expected)
    ours, theirs = quantized(actual), quantized(expected)
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array)


def types(m: ir.Model | onnx.ModelProto) -> set[str]:
    """Integer types of the packed weights in a file."""
    proto = m if isinstance(m, onnx.ModelProto) else to_proto(m)
    names = {n.input[0] for n in proto.graph.node if n.op_type == "Cast"}
    return {onnx.TensorProto.DataType.Name(t.data_type) for t in proto.graph.initializer if t.name in names}


def as_others_read(proto: onnx.ModelProto, name: str) -> np.ndarray:
    """A tensor that depends on constants only, by ONNX Runtime."""
    chain = [n for n in proto.graph.node if n.op_type in ("Cast", "Sub", "Mul")]
    info = next(v for v in proto.graph.value_info if v.name == name)
    graph = helper.make_graph(chain, "chain", [], [info], proto.graph.initializer)
    small = helper.make_model(graph, opset_imports=[proto.opset_import[0]], ir_version=11)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(small.SerializeToString(), options).run([name], {})[0]


@pytest.mark.parametrize(
    ("bits", "signed", "stored", "opset"),
    [
        (1, 1, "INT2", 25),
        (1, 0, "UINT2", 25),
        (2, 1, "INT2", 25),
        (2, 0, "UINT2", 25),
        (3, 1, "INT4", 21),
        (4, 0, "UINT4", 21),
        (5, 1, "INT8", 21),
        (8, 0, "UINT8", 21),
        (9, 1, "INT16", 21),
        (16, 0, "UINT16", 21),
    ],
)
def test_the_type_is_the_smallest_that_holds_the_integers(bits, signed, stored, opset):
    scale = 2.0**-bits
    original = load(layer(weights(32, 40), scale=scale, bits=float(bits), signed=signed))
    packed = load(original)
    assert pack(packed).refusals == ()
    assert types(packed) == {stored}
    assert packed.opset_imports[""] == opset
    assert_same_model(load(to_proto(packed)), original)


def test_wide_and_small_weights_stay_float():
    fine = {"scale": 2.0**-28 / 3, "bits": 32.0, "rounding_mode": "FLOOR"}
    for proto in (layer(weights(32, 40), **fine), layer(weights(4, 4))):
        packed = load(proto)
        assert pack(packed).refusals == ()
        assert structure(packed) == structure(load(proto))


def test_a_2_bit_file_is_nearly_16_times_smaller(tmp_path):
    packed = load(layer(weights(256, 512)))
    save(packed, tmp_path / "float.onnx")
    pack(packed)
    save(packed, tmp_path / "packed.onnx")
    ratio = (tmp_path / "float.onnx").stat().st_size / (tmp_path / "packed.onnx").stat().st_size
    assert 15 < ratio < 16


def test_the_file_is_legal_and_other_readers_see_the_same_weights(tmp_path):
    scale = np.linspace(0.1, 0.9, 40, dtype=np.float32)
    zeropt = np.arange(40, dtype=np.float32) % 3
    packed = load(layer(weights(32, 40), scale=scale, zeropt=zeropt, bits=4.0, signed=0))
    pack(packed)
    InferShapes()(packed)
    save(packed, tmp_path / "m.onnx")
    onnx.checker.check_model(tmp_path / "m.onnx", full_check=True)
    proto = onnx.load(tmp_path / "m.onnx")
    back = load(proto)
    np.testing.assert_array_equal(as_others_read(proto, "w"), constant(back.graph.initializers["w"]))


@st.composite
def layers(draw: st.DrawFn) -> onnx.ModelProto:
    rng = np.random.default_rng(draw(seeds))
    shape = draw(st.sampled_from([(), (1,), (24,), (32, 1), (32, 24)]))
    bits = draw(st.integers(1, 12))
    scale = positive_scales(rng, shape, np.float32)
    zeropt = zero_points(rng, draw(st.sampled_from([(), shape])), np.float32, largest=3)
    grid = np.rint(rng.uniform(-1.2, 1.2, (32, 24)) * 2 ** (bits - 1))
    w = (grid + rng.choice([0, 0.5, 0.3], grid.shape) - zeropt) * scale
    return layer(
        w.astype(np.float32),
        scale=scale,
        zeropt=zeropt,
        bits=float(bits),
        signed=draw(flags),
        narrow=draw(flags),
        rounding_mode=draw(modes),
    )


@examples(60)
@given(layers())
def test_any_quantiser_is_packed_exactly_or_refused(proto):
    original = load(proto)
    packed = load(proto)
    refusals = pack(packed).refusals
    if refusals:
        assert len(refusals) == 1
        assert "wq_node" in refusals[0].node
        assert structure(packed) == structure(original)
    else:
        assert types(packed)
    assert_same_model(load(to_proto(packed)), original)


def test_weights_that_change_when_quantised_again_stay_float():
    """(5 * s) / s is below 5 in float32 for this s, and FLOOR makes 4 of it."""
    scales = np.float32(np.random.default_rng(0).uniform(0.1, 1, 1000))
    s = next(s for s in scales if np.float32(s * np.float32(5)) / s < 5)
    w = np.full((16, 24), 5.5 * s, np.float32)
    packed = load(layer(w, scale=s, bits=4.0, rounding_mode="FLOOR"))
    (refusal,) = pack(packed).refusals
    assert "384 of 384" in refusal.got
    assert types(packed) == set()
    assert types(_packed(layer(w, scale=s, bits=4.0))) == {"UINT4"}


def _packed(proto: onnx.ModelProto) -> ir.Model:
    packed = load(proto)
    assert pack(packed).refusals == ()
    return packed


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_no_numbers(bad):
    w = weights(16, 24)
    w[0, 0] = bad
    outcome = pack(load(layer(w)))
    assert len(outcome.refusals) == (1 if np.isnan(bad) else 0)  # an infinity saturates


def test_bipolar_weights_and_a_float16_model():
    nodes = [
        helper.make_node("BipolarQuant", ["w", "s"], ["wq"], domain=DOMAIN, name="b"),
        helper.make_node("MatMul", ["x", "wq"], ["y"]),
    ]
    initializers = {"w": weights(32, 40).astype(np.float16), "s": np.float16(0.1)}
    proto = model(nodes, initializers, inputs={"x": [1, 32]}, outputs=["y"], input_type=onnx.TensorProto.FLOAT16)
    proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    packed = _packed(proto)
    assert types(packed) == {"INT2"}
    assert_same_model(load(to_proto(packed)), load(proto))


def _shared(*, scale: float = 0.5, bits: float = 3.0) -> onnx.ModelProto:
    nodes = [
        quant("w", "a", prefix="p"),
        quant("w", "b", prefix="q"),
        helper.make_node("MatMul", ["x", "a"], ["h"]),
        helper.make_node("MatMul", ["h", "b"], ["y"]),
    ]
    scales = {**parameters("p", bits=3.0), **parameters("q", bits=bits, scale=scale)}
    return model(nodes, {"w": 4 * weights(24, 24), **scales}, inputs={"x": [1, 24]}, outputs=["y"])


def test_shared_weights_are_packed_once():
    """The integers of the wider of the two grids hold both."""
    proto = _shared(bits=4.0)
    packed = _packed(proto)
    assert [n.op_type for n in packed.graph].count("Cast") == 1
    assert_same_model(load(to_proto(packed)), load(proto))


def test_shared_weights_on_grids_that_exclude_each_other_stay_float():
    packed = load(_shared(scale=0.3))
    (refusal,) = pack(packed).refusals
    assert "shares its weights" in refusal.problem
    assert refusal.node == "Quant 'b_node'"
    assert types(packed) == set()


def test_weights_that_something_else_reads_stay_float():
    nodes = [quant("w", "wq"), helper.make_node("Add", ["wq", "w"], ["y"])]
    packed = load(model(nodes, {"w": weights(32, 40), **parameters("wq")}, inputs={"x": [1]}, outputs=["y"]))
    (refusal,) = pack(packed).refusals
    assert "read elsewhere" in refusal.problem


def test_weights_behind_another_operator_stay_float():
    e4m3 = {"s": 1.0, "e": 4.0, "m": 3.0, "b": 7.0, "top": 448.0}
    node = helper.make_node("FloatQuant", ["w", *e4m3], ["wq"], domain=DOMAIN, name="minifloat")
    nodes = [node, helper.make_node("MatMul", ["x", "wq"], ["y"])]
    constants = {"w": weights(32, 40), **{k: np.float32(v) for k, v in e4m3.items()}}
    (refusal,) = pack(load(model(nodes, constants, inputs={"x": [1, 32]}, outputs=["y"]))).refusals
    assert refusal.node == "FloatQuant 'minifloat'"


def test_a_model_that_cannot_be_converted_gets_8_bit_weights():
    proto = layer(weights(32, 40), opset=13)
    node = helper.make_node("NoSuchOperator", ["x"], ["z"], name="strange")
    proto.graph.node.append(node)
    proto.graph.output.add(name="z").type.tensor_type.elem_type = 1
    packed = load(proto)
    refusals = pack(packed).refusals
    assert [("opset 25" in r.problem, r.node) for r in refusals] == [
        (True, "NoSuchOperator 'strange'"),
        (False, "NoSuchOperator 'strange'"),
    ]
    assert packed.opset_imports[""] == 13
    assert types(packed) == {"INT8"}
    assert_same_model(load(to_proto(packed)), load(proto))


def test_weights_in_subgraphs_and_of_constant_nodes():
    held = onnx.numpy_helper.from_array(weights(24, 24), "held")
    branches = [
        helper.make_graph(
            [quant(w, out), helper.make_node("MatMul", ["x", out], [f"{out}_y"])],
            out,
            [],
            [helper.make_tensor_value_info(f"{out}_y", 1, None)],
            inner,
        )
        for w, out, inner in (
            ("inner", "a", [onnx.numpy_helper.from_array(weights(24, 24, seed=1), "inner")]),
            ("outer", "b", []),
        )
    ]
    nodes = [
        helper.make_node("Constant", [], ["outer"], value=held),
        helper.make_node("If", ["flag"], ["y"], then_branch=branches[0], else_branch=branches[1]),
    ]
    initializers = {"flag": np.array(True), **parameters("a"), **parameters("b")}
    proto = model(nodes, initializers, inputs={"x": [2, 24]}, outputs=["y"])
    for flag in (True, False):
        proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.array(flag), "flag"))
        packed = _packed(proto)
        sizes = [t.dtype.name for g in packed.graphs() for v in g.initializers.values() if (t := v.const_value)]
        assert sizes.count("INT4") == 2
        assert not any(v.name in ("inner", "outer") for g in packed.graphs() for v in g.initializers.values())
        back = load(to_proto(packed))
        assert [n.op_type for n in back.graph.all_nodes()].count("Cast") == 0
        assert {"inner", "outer"} <= {name for g in back.graphs() for name in g.initializers}
        x = samples(2, 24)
        np.testing.assert_array_equal(Session(back).run(x)["y"], Session(proto).run(x)["y"])


def test_names_annotations_and_metadata_come_back():
    proto = layer(weights(32, 40))
    proto.graph.quantization_annotation.add(tensor_name="w").quant_parameter_tensor_names.add(
        key="finn_datatype", value="INT2"
    )
    back = load(to_proto(_packed(proto)))
    assert back.graph.initializers["w"].meta == load(proto).graph.initializers["w"].meta
    assert back.graph.initializers["w"].meta


def test_bytes_do_not_depend_on_anything_else():
    proto = layer(weights(32, 40))
    first, second = (to_proto(_packed(proto)).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("external", [False, True])
def test_large_weights_are_made_when_they_are_used(tmp_path, external):
    proto = layer(weights(512, 1024), bits=2.0)
    path = tmp_path / "m.onnx"
    save(_packed(proto), path, external_data=external)
    back = load(path)
    tensor = back.graph.initializers["w"].const_value
    assert isinstance(tensor, ir.LazyTensor)
    assert tensor.nbytes == 512 * 1024 * 4
    assert_same_model(back, load(proto))
    save(back, tmp_path / "float.onnx")
    assert_same_model(load(tmp_path / "float.onnx"), load(proto))


@pytest.mark.parametrize("pack_first", [False, True])
def test_packed_and_with_functions_in_either_order(pack_first):
    both = load(layer(weights(32, 40)))
    for step in (pack, embed_functions) if pack_first else (embed_functions, pack):
        step(both)
    assert types(both) == {"INT2"}
    assert {name for _, name, _ in both.functions} == {"Quant", "rounded"}
    back = load(to_proto(both))
    assert not back.functions
    assert_same_model(back, load(layer(weights(32, 40))))


def test_a_foreign_function_of_the_name_is_not_packed():
    identity = helper.make_function(
        DOMAIN,
        "Quant",
        ["a", "s", "z", "b"],
        ["o"],
        [helper.make_node("Neg", ["a"], ["o"])],
        [helper.make_opsetid("", 21)],
    )
    proto = layer(weights(32, 40))
    proto.functions.append(identity)
    packed = load(proto)
    assert pack(packed).refusals == ()
    assert types(packed) == set()


@needs_corpus
@pytest.mark.parametrize(("name", "ratio"), [("cnv_2w2a", 14), ("tfc_2w2a", 8), ("resnet18_4w4a", 7.7)])
def test_real_models(name, ratio, tmp_path):
    path = CORPUS / name / "model.onnx"
    original, packed = load(path), load(path)
    assert pack(packed).refusals == ()
    save(packed, tmp_path / "packed.onnx")
    assert path.stat().st_size / (tmp_path / "packed.onnx").stat().st_size > ratio
    back = load(tmp_path / "packed.onnx")
    assert_same_model(back, original)
    assert not any(PACKED in n.metadata_props for n in back.graph)
    if name == "tfc_2w2a":
        x = np.load(path.parent / "inputs.npz")["x"]
        (expected,) = Session(path).run(x).values()
        (actual,) = Session(tmp_path / "packed.onnx").run(x).values()
        np.testing.assert_array_equal(actual, expected)
