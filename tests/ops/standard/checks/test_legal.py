"""What a specification allows is no finding; ONNX Runtime runs it, or has no kernel for it, or is stricter."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from onnx.backend.test.case.node import collect_testcases

from anybit.ops.standard.checks import registry
from tests.ops.standard.checks import legal
from tests.ops.standard.checks.variants import MICROSOFT, Variant, errors, floats, signed, sums, unsigned

# What ONNX Runtime says of calls that it has no kernel for.
_NO_KERNEL = ("NOT_IMPLEMENTED", "Could not find an implementation")

_FLOAT8 = np.ones((4, 6), ml_dtypes.float8_e4m3fn)

# Where ONNX Runtime 1.32 asks for more than the specification.
_STRICTER = (
    Variant("ConvInteger", (unsigned(1, 4, 6, 6), signed(8, 4, 3, 3), unsigned(), signed(8))),
    Variant("MatMulInteger", (unsigned(3, 5), signed(5, 7), unsigned(3))),
    Variant("MatMulInteger", (unsigned(3, 5), signed(5, 7), unsigned(3, 1))),
    Variant("MatMulInteger", (unsigned(2, 3, 5), signed(2, 5, 7), unsigned(2, 3, 1))),
    Variant(
        "QLinearMatMul",
        (unsigned(3, 5), floats(3), unsigned(3), signed(5, 7), floats(), signed(), floats(), unsigned()),
    ),
    Variant("QuantizeLinear", (floats(4, 6), floats()), {"precision": 16}, 23),
    Variant("DequantizeLinear", (_FLOAT8, floats(), _FLOAT8[0, 0]), {}, 19),
    Variant("QuantizeLinear", (sums(4, 6), floats()), {}, 10),
    Variant(
        "MatMulNBits",
        (floats(2, 16), unsigned(1, 1, 16), floats(1, 1), floats(1, 1)),
        {"K": 16, "N": 1, "bits": 8, "block_size": 16},
        domain=MICROSOFT,
    ),
    Variant("DequantizeLinear", (signed(4), floats(1)), {"axis": 0, "block_size": 4}),
    Variant("MaxPool", (floats(1, 4, 6),), {"kernel_shape": [1], "strides": [2], "auto_pad": "SAME_UPPER"}),
    Variant("MaxPool", (floats(1, 4, 6, 6),), {"kernel_shape": [2, 2], "pads": [2, 2, 2, 2]}),
    Variant(
        "ConvTranspose",
        (floats(1, 4, 6, 6), floats(4, 8, 3, 3)),
        {"output_padding": [2, 2], "dilations": [3, 3]},
    ),
)


@given(legal.calls)
def test_a_legal_call_is_no_finding_and_stock_onnx_runtime_takes_it(variant: Variant):
    assert errors(variant.model()) == []
    refused = variant.refused_by_stock()
    assert not refused or any(text in refused for text in _NO_KERNEL)


@given(legal.calls)
def test_nor_where_shapes_are_not_known_or_the_call_is_inside(variant: Variant):
    assert errors(variant.unknown()) == []
    assert errors(variant.in_branch()) == []
    assert errors(variant.in_function()) == []


@pytest.mark.parametrize("variant", _STRICTER, ids=str)
def test_onnx_runtime_is_stricter_than_the_specification(variant: Variant):
    assert errors(variant.model()) == []
    assert variant.refused_by_stock()


def test_the_calls_of_the_tests_of_onnx_are_legal():
    with np.errstate(all="ignore"):
        cases = collect_testcases(None)
    known = [c for c in cases if {n.op_type for n in c.model.graph.node} & registry.STANDARD.keys()]
    assert len(known) > 100
    assert [f"{c.name}: {found}" for c in known if (found := errors(c.model))] == []
