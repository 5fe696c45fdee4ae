"""ModelWrapper of anybit.compat.qonnx without the package; beside it: tests/parity/test_compat.py."""

from __future__ import annotations

import numpy as np
import pytest

import anybit
from anybit.compat.qonnx import DataType, ModelWrapper
from anybit.errors import InvalidModelError, UsageError
from anybit.passes import NameTensors
from tests.models import mlp, samples


class Renamed:
    """A transformation of a script."""

    def apply(self, model):
        changed = model.graph.node[0].name != "first"
        model.graph.node[0].name = "first"
        return model, changed


def test_transformations_of_scripts_and_passes():
    wrapper = ModelWrapper(mlp(), make_deepcopy=True)
    assert wrapper.transform(Renamed()).graph.node[0].name == "first"
    assert wrapper.transform("name-tensors").graph.node[0].name == "Quant_0"
    assert wrapper.transform(NameTensors()).graph.node[0].name == "Quant_0"
    assert wrapper.graph.node[0].name == "xq_node"
    x = samples(1, 6)
    np.testing.assert_array_equal(anybit.run(wrapper.transform(Renamed()).model, x)["y"], anybit.run(mlp(), x)["y"])


def test_a_long_search_and_statements_that_are_read_as_data():
    wrapper = ModelWrapper(mlp())
    assert [n.op_type for n in wrapper.find_upstream("y", lambda n: n.op_type == "MatMul") or ()] == [
        "Quant", "Relu", "MatMul",
    ]  # fmt: skip
    wrapper.set_tensor_datatype("h", "INT7")
    assert wrapper.get_tensor_datatype("h") == DataType["INT7"] == "INT7"
    assert anybit.annotations.number_format(wrapper.model, "h") == anybit.number_formats.parse_number_format("INT7")
    wrapper.set_tensor_datatype("h", None)
    assert wrapper.get_tensor_datatype("h") == DataType["FLOAT32"]
    wrapper._state("h", "tensor_layout", "__import__('os').getcwd()")
    with pytest.raises(InvalidModelError):
        wrapper.get_tensor_layout("h")
    with pytest.raises(UsageError):
        wrapper.set_tensor_datatype("h", "INT0")
    with pytest.raises(UsageError, match="attribute"):
        wrapper.get_customop_wrapper(wrapper.graph.node[0]).get_nodeattr("nonsense")


def test_files(tmp_path):
    ModelWrapper(mlp()).save(tmp_path / "m.onnx")
    assert len(ModelWrapper(str(tmp_path / "m.onnx")).graph.node) == 5
    assert len(ModelWrapper(anybit.load(mlp())).graph.node) == 5
