"""The reference engine on ONNX Runtime's contributed operators: to its bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import anybit
from anybit.errors import InputError
from tests.ops.contributed.calls import CALLS, Call, ends, every_byte, some_bytes
from tests.strategies import examples, seeds

_BYTES = st.sampled_from([np.uint8, np.int8])


@pytest.mark.parametrize("op_type", CALLS)
@given(seeds, _BYTES)
@examples(25)
def test_bytes_are_those_of_onnxruntime(op_type: str, seed: int, dtype: Any):
    call = CALLS[op_type](np.random.default_rng(seed), dtype)
    actual = anybit.Session(call.proto(), engine="reference").run(call.feeds)["y"]
    expected = call.expected()
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    if op_type == "QLinearSigmoid":  # no implementation rounds correctly, next to ties that shows
        assert (actual != expected).sum() <= 2
        assert np.abs(actual.astype(int) - expected).max() <= 1
    else:
        np.testing.assert_array_equal(actual, expected)


def test_softmax_that_exceeds_float32_has_no_value():
    rng = np.random.default_rng(0)
    inputs = [some_bytes(rng, np.uint8, 4, 1), *ends(rng, np.uint8), np.float32(1 / 256), np.uint8(0)]
    call = Call("QLinearSoftmax", [np.asarray(a) for a in inputs], {"axis": -1, "opset": 13})
    with pytest.raises(InputError, match="exceeds float32"):
        anybit.Session(call.proto(), engine="reference").run(call.feeds)


def test_products_whose_activations_may_be_rounded_have_no_reference():
    call = CALLS["MatMulNBits"](np.random.default_rng(0), np.uint8)
    loose = Call("MatMulNBits", call.inputs, call.attributes | {"accuracy_level": 4})
    with pytest.raises(InputError, match=r"MatMulNBits 'call'.*accuracy level"):
        anybit.Session(loose.proto(), engine="reference").run(loose.feeds)


def test_a_byte_is_its_own_sum_with_zero():
    x = every_byte(np.uint8).reshape(16, 16)
    one, none = np.float32(1), np.uint8(0)
    call = Call("QLinearAdd", [np.asarray(a) for a in (x, one, none, np.zeros_like(x), one, none, one, none)])
    np.testing.assert_array_equal(anybit.Session(call.proto(), engine="reference").run(call.feeds)["y"], x)
