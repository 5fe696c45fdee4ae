"""Bounds of what ONNX Runtime's contributed operators on bytes make."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import anybit
from tests.ops.contributed.calls import CALLS, gemm
from tests.strategies import examples, seeds


@pytest.mark.parametrize("op_type", [op for op in CALLS if op.startswith("QLinear") or op == "NhwcMaxPool"])
@given(seeds, st.sampled_from([np.uint8, np.int8]))
@examples(5)
def test_every_result_lies_within_its_bounds(op_type: str, seed: int, dtype: Any):
    call = CALLS[op_type](np.random.default_rng(seed), dtype)
    tensors, expected = anybit.analyse(call.proto()).tensors, call.expected()
    found = next(values for value, values in tensors.items() if value.name == "y")
    info = np.iinfo(dtype)
    assert info.min <= found.lo.min() <= expected.min()
    assert expected.max() <= found.hi.max() <= info.max
    assert found.grid is not None
    assert str(found.grid.datatype) == np.dtype(dtype).name.upper()


def test_real_numbers_of_a_product_of_bytes_are_not_followed():
    call = next(
        c for c in (gemm(np.random.default_rng(s), np.uint8) for s in range(99)) if c.expected().dtype.kind == "f"
    )
    values = anybit.analyse(call.proto())
    assert "output is float32" in str(*values.unfollowed.values())
