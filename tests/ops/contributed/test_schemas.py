"""Types and shapes of contributed operators, as onnx infers them, are those of ONNX Runtime's results."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anybit.ops.contributed.kernels import compile_contributed
from anybit.ops.contributed.schemas import CONTRIBUTED
from anybit.ops.schemas import register_schemas
from tests.ops.contributed.calls import CALLS, VENDOR
from tests.strategies import examples, seeds


def _inferred(proto: onnx.ModelProto) -> onnx.TypeProto.Tensor:
    register_schemas()
    return onnx.shape_inference.infer_shapes(proto).graph.output[0].type.tensor_type


def test_every_operator_with_a_kernel_has_a_schema():
    assert set(CALLS) == set(CONTRIBUTED)
    assert all(compile_contributed(ir.node(name, [], domain=VENDOR)) is not None for name in CONTRIBUTED)


@pytest.mark.parametrize("op_type", CALLS)
@given(seeds, st.sampled_from([np.uint8, np.int8]))
@examples(15)
def test_shapes_are_those_of_onnxruntime(op_type: str, seed: int, dtype: Any):
    call = CALLS[op_type](np.random.default_rng(seed), dtype)
    inferred, expected = _inferred(call.proto()), call.expected()
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(call.proto()), check_custom_domain=True)
    assert inferred.elem_type == onnx.helper.np_dtype_to_tensor_dtype(expected.dtype)
    assert tuple(d.dim_value for d in inferred.shape.dim) == expected.shape


@pytest.mark.parametrize("op_type", CALLS)
@given(seeds)
@examples(5)
def test_free_dimensions_contradict_nothing(op_type: str, seed: int):
    call = CALLS[op_type](np.random.default_rng(seed), np.uint8)
    expected, proto = call.expected(), call.proto()
    for value in proto.graph.input:
        for dimension in value.type.tensor_type.shape.dim:
            dimension.ClearField("dim_value")
    sizes = [d.dim_value for d in _inferred(proto).shape.dim]
    assert all(s in (0, size) for s, size in zip(sizes, expected.shape, strict=bool(sizes)))
    for value in proto.graph.input:
        value.type.tensor_type.ClearField("shape")
    assert _inferred(proto).elem_type == onnx.helper.np_dtype_to_tensor_dtype(expected.dtype)
