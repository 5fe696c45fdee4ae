"""UniqueParameters: each use has a parameter of its own, and nothing else changes."""

from __future__ import annotations

import pytest

from anybit import compare, load
from anybit.graph.annotations import annotate_number_format, annotated_number_format
from anybit.number_formats import parse_number_format
from anybit.passes.surgery.unique_parameters import UniqueParameters
from tests.integration.corpus import executable_files, needs_corpus
from tests.passes.surgery.surgery import MODELS, assert_same, branches, shared, text


def test_before_and_after():
    read = load(shared())
    assert text(read) == [
        "a = Quant(x, p_scale, p_zeropt, p_bits)",
        "b = Quant(a, p_scale, p_zeropt, p_bits)",
        "c = Add(b, p_scale)",
        "y = Quant(c, one, p_zeropt, one)",
    ]
    assert UniqueParameters()(read).modified
    assert text(read) == [
        "a = Quant(x, p_scale_1, p_zeropt, p_bits)",
        "b = Quant(a, p_scale_2, p_zeropt_1, p_bits_1)",
        "c = Add(b, p_scale)",
        "y = Quant(c, one, p_zeropt_2, one_1)",
    ]
    assert not UniqueParameters()(read).modified


def test_all_operators():
    read = load(shared())
    UniqueParameters(operators=())(read)
    assert text(read)[0] == "a = Quant(x, p_scale, p_zeropt, p_bits)"
    assert text(read)[2] == "c = Add(b, p_scale_2)"
    assert all(len(v.uses()) == 1 for v in read.graph.initializers.values())


def test_only_the_operators_that_are_named():
    read = load(shared())
    UniqueParameters(operators=("Add",))(read)
    assert text(read)[2] == "c = Add(b, p_scale_1)"
    assert text(read)[1] == "b = Quant(a, p_scale, p_zeropt, p_bits)"


@pytest.mark.parametrize("operators", [(), UniqueParameters().operators])
@pytest.mark.parametrize("name", MODELS)
def test_outputs_stay(name, operators):
    read = load(MODELS[name]())
    UniqueParameters(operators=operators)(read)
    assert_same(MODELS[name](), read)


def test_a_quantiser_in_a_branch_gets_its_own():
    read = load(branches())
    UniqueParameters()(read)
    scales = [n.inputs[1] for n in read.graph.all_nodes() if n.op_type == "Quant"]
    assert [v.name for v in scales] == ["p_scale", "p_scale_1"]
    assert {v.graph for v in scales} == {read.graph}


def test_annotations_are_copied_apart():
    read = load(shared())
    annotate_number_format(read.graph.initializers["p_scale"], parse_number_format("INT4"))
    UniqueParameters()(read)
    copy = read.graph.initializers["p_scale_1"]
    assert str(annotated_number_format(copy)) == "INT4"
    annotate_number_format(copy, None)
    assert str(annotated_number_format(read.graph.initializers["p_scale_2"])) == "INT4"


def test_a_new_name_avoids_those_of_tensors():
    proto = shared()
    proto.graph.node[0].output[0] = proto.graph.node[1].input[0] = "p_zeropt_1"
    read = load(proto.SerializeToString())
    UniqueParameters()(read)
    assert_same(proto, read)


def test_an_initializer_that_is_an_input_is_left_and_noted():
    read = load(shared())
    read.graph.inputs.append(read.graph.initializers["p_scale"])
    result = UniqueParameters()(read)
    assert text(read)[0].startswith("a = Quant(x, p_scale,")
    assert [n.node for n in result.notes] == ["Quant 'a_node'"]


@needs_corpus
@pytest.mark.parametrize("case", [c for c in executable_files() if "dynamo" in c.name][:6], ids=lambda c: c.name)
def test_corpus(case):
    read = load(case.path)
    UniqueParameters()(read)
    users = [v for n in read.graph if n.op_type == "Quant" for v in n.inputs[1:] if v.is_initializer()]
    assert len(users) == len(set(users))
    assert compare(case.path, read, case.inputs[:1], tolerance=0).equal
