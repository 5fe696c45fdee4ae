"""NameTensors: names that follow from the graph alone."""

from __future__ import annotations

import numpy as np
import pytest

from anybit import compare, load
from anybit.graph.annotations import annotate_number_format, annotated_number_format
from anybit.graph.names import Names
from anybit.number_formats import parse_number_format
from anybit.passes.surgery.name_tensors import NameTensors
from tests.integration.corpus import executable_files, needs_corpus
from tests.passes.surgery.surgery import MODELS, assert_same, branches, fork, several, shared, text, valid


def test_before_and_after():
    read = load(fork())
    NameTensors()(read)
    assert text(read) == [
        "h = MatMul(x, MatMul_0_B)",
        "Mul_0_out = Mul(h, h)",
        "Add_0_out = Add(h, Add_0_B)",
        "y = Add(Mul_0_out, Add_0_out)",
    ]
    assert [n.name for n in read.graph] == ["MatMul_0", "Mul_0", "Add_0", "Add_1"]
    assert not NameTensors()(read).modified


def test_parameters_are_named_by_their_first_use_and_outputs_counted():
    read = load(shared())
    NameTensors()(read)
    assert text(read)[0] == "Quant_0_out = Quant(x, Quant_0_scale, Quant_0_zeropt, Quant_0_bitwidth)"
    assert text(read)[3] == "y = Quant(Add_0_out, Quant_2_scale, Quant_0_zeropt, Quant_2_scale)"
    read = load(several())
    NameTensors()(read)
    assert text(read) == [
        "Split_0_out_0, r = Split(x)",
        "Clip_0_out = Clip(Split_0_out_0, -, Clip_0_max)",
        "y = Concat(Clip_0_out, r)",
    ]


def test_subgraphs_are_named_too():
    read = load(branches())
    NameTensors()(read)
    inner = [line for g in read.graph.subgraphs() for line in text(g)]
    assert inner == [
        "Mul_0_out = Mul(Relu_0_out, Mul_0_B)",
        "Quant_0_out = Quant(Mul_0_out, Quant_0_scale, Quant_0_zeropt, Quant_0_bitwidth)",
        "Add_0_out = Add(Relu_0_out, Add_0_B)",
        "Quant_1_out = Quant(Add_0_out, Quant_0_scale, Quant_0_zeropt, Quant_0_bitwidth)",
    ]


def test_the_interface_on_request():
    read = load(fork())
    NameTensors(rename_interface=True)(read)
    assert [v.name for v in read.graph.inputs] == ["input_0"]
    assert [v.name for v in read.graph.outputs] == ["output_0", "output_1"]
    assert_same(fork(), read)


@pytest.mark.parametrize("rename_interface", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_outputs_stay(name, rename_interface):
    read = load(MODELS[name]())
    NameTensors(rename_interface=rename_interface)(read)
    assert_same(MODELS[name](), read)


def test_names_that_would_clash_with_the_interface():
    proto = fork()
    for n in proto.graph.node:  # the output that keeps its name takes the name that Mul would get
        n.input[:] = ["Mul_0_out" if i == "h" else i for i in n.input]
        n.output[:] = ["Mul_0_out" if i == "h" else i for i in n.output]
    proto.graph.output[1].name = "Mul_0_out"
    read = load(proto.SerializeToString())
    NameTensors()(read)
    assert text(read)[1] == "Mul_0_out_1 = Mul(Mul_0_out, Mul_0_out)"
    assert_same(proto, read)


def test_permuted_initializer_names():
    proto = fork()
    swap = {"w": "Add_0_B", "b": "MatMul_0_B"}
    for n in proto.graph.node:
        n.input[:] = [swap.get(i, i) for i in n.input]
    for t in proto.graph.initializer:
        t.name = swap[t.name]
    read = load(proto.SerializeToString())
    NameTensors()(read)
    assert_same(fork(), read)
    assert read.graph.initializers["MatMul_0_B"].const_value.shape == (4, 3)


def test_annotations_follow():
    read = load(fork())
    annotate_number_format(read.graph.initializers["w"], parse_number_format("INT4"))
    read.graph.node(0).outputs[0].meta["quant_parameter_tensor_names"] = {"SCALE_TENSOR": "b", "finn_datatype": "INT8"}
    NameTensors()(read)
    saved = {a.tensor_name: {e.key: e.value for e in a.quant_parameter_tensor_names}
             for a in valid(read).graph.quantization_annotation}  # fmt: skip
    assert saved["MatMul_0_B"] == {"finn_datatype": "INT4"}
    assert saved["h"] == {"SCALE_TENSOR": "Add_0_B", "finn_datatype": "INT8"}
    assert str(annotated_number_format(read.graph.initializers["MatMul_0_B"])) == "INT4"


def test_fresh_names_are_linear_and_unique():
    names = Names({"a", "a_2"})
    assert [names.fresh("a") for _ in range(3)] == ["a_1", "a_3", "a_4"]
    assert names.fresh("b") == "b"


@needs_corpus
@pytest.mark.parametrize(
    "case", [c for c in executable_files() if c.name.split("/")[0] in ("transformer_4w8a", "quant_lstm_weightonly")],
    ids=lambda c: c.name,
)  # fmt: skip
def test_corpus(case):
    read = load(case.path)
    NameTensors()(read)
    again = load(case.path)
    NameTensors()(again)
    assert text(read) == text(again)
    assert compare(case.path, read, np.asarray(case.inputs[:1]), tolerance=0).equal
