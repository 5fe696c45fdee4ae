"""Annotations survive, and their text is data."""

from __future__ import annotations

import pytest

from anybit import load, save
from anybit.errors import InvalidModelError, UsageError
from anybit.graph import annotations
from anybit.number_formats import parse_number_format
from tests.models import mlp


def _tensor(model, name="h"):
    return next(o for n in model.graph for o in n.outputs if o.name == name)


def test_written_annotations_are_read_back_from_the_file(tmp_path):
    model = load(mlp())
    annotations.annotate_number_format(_tensor(model), parse_number_format("FIXED<8,3>"))
    annotations.annotate_layout(_tensor(model), ("N", "C"))
    save(model, tmp_path / "m.onnx")
    tensor = _tensor(load(tmp_path / "m.onnx"))
    assert str(annotations.annotated_number_format(tensor)) == "FIXED<8,3>"
    assert annotations.annotated_layout(tensor) == ("N", "C")
    annotations.annotate_number_format(tensor, None)
    assert annotations.annotated_number_format(tensor) is None
    assert annotations.annotated_layout(tensor) == ("N", "C")


def test_annotations_of_inputs_and_initializers_survive(tmp_path):
    model = load(mlp())
    for value in (model.graph.inputs[0], model.graph.initializers["w"]):
        annotations.annotate_number_format(value, parse_number_format("INT4"))
    save(model, tmp_path / "m.onnx")
    again = load(tmp_path / "m.onnx")
    for value in (again.graph.inputs[0], again.graph.initializers["w"]):
        assert str(annotations.annotated_number_format(value)) == "INT4"


def _annotated(key, text):
    proto = mlp()
    entry = proto.graph.quantization_annotation.add(tensor_name="h")
    entry.quant_parameter_tensor_names.add(key=key, value=text)
    return _tensor(load(proto))


def test_sparsity_is_a_dictionary():
    assert annotations.annotated_sparsity(_annotated("tensor_sparsity", "{'dw': {'kernel_shape': [3, 3]}}")) == {
        "dw": {"kernel_shape": [3, 3]}
    }


@pytest.mark.parametrize("text", ["__import__('os').system('true')", "[", "1", "(" * 5000, "['N', 2]"])
def test_text_that_is_no_list_is_refused_and_never_evaluated(text):
    with pytest.raises(InvalidModelError, match="tensor_layout"):
        annotations.annotated_layout(_annotated("tensor_layout", text))


def test_an_unknown_number_format_is_refused():
    with pytest.raises(UsageError, match="INT0"):
        annotations.annotated_number_format(_annotated("finn_datatype", "INT0"))
