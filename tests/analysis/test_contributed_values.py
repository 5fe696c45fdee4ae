"""Bounds of what ONNX Runtime's contributed operators on bytes make."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import anybit
from tests.ops.contributed.calls import CALLS
from tests.strategies import examples, seeds


@pytest.mark.parametrize("op_type", [op for op in CALLS if op.startswith("QLinear")])
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
