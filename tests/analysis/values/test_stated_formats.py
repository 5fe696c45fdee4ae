"""What a caller declares of an input, and what its file does: ranges and annotated formats at their limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from onnx import TensorProto, helper

from anybit.analysis.values.interpreter import analyse
from anybit.errors import UsageError
from tests import models
from tests.analysis.values.soundness import bounds_of


def _identity(input_type: int = TensorProto.FLOAT):
    node = helper.make_node("Identity", ["x"], ["y"])
    return models.model([node], {}, inputs={"x": [2]}, outputs=["y"], input_type=input_type)


@pytest.mark.parametrize(
    ("datatype", "largest"), [("FLOAT<4,3,7>", 480.0), ("FLOAT<5,9,15>", 130944.0), ("FLOAT16", None)]
)
def test_minifloats_bound_an_input_and_half_precision_does_not(datatype: str, largest: float | None) -> None:
    """What a file calls FLOAT16 is the type of its arithmetic, which overflows to infinity."""
    proto = _identity()
    entry = proto.graph.quantization_annotation.add(tensor_name="x")
    entry.quant_parameter_tensor_names.add(key="finn_datatype", value=datatype)
    x = bounds_of(analyse(proto), "x")
    assert (x.lo, x.hi) == ((-np.inf, np.inf) if largest is None else (-largest, largest))


@pytest.mark.parametrize("input_type", [TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64])
def test_a_range_of_integers_is_a_grid(input_type: int) -> None:
    x = bounds_of(analyse(_identity(input_type), input_ranges={"x": (0.5, 200.5)}), "x")
    assert x.grid is not None
    assert (x.grid.lo, x.grid.hi, x.grid.scale, x.grid.zero_point) == (1, 200, 1, 0)


@pytest.mark.parametrize(
    ("input_type", "limits"),
    [
        (TensorProto.UINT8, (300, 400)),
        (TensorProto.UINT8, (0.2, 0.8)),
        (TensorProto.INT64, (0.2, 0.8)),
        (TensorProto.FLOAT, (1e39, 1e40)),
        (TensorProto.FLOAT16, (-1e6, -1e5)),
        (TensorProto.BOOL, (2, 3)),
    ],
)
def test_a_range_without_a_number_of_the_input_is_refused(input_type: int, limits: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="without a number"):
        analyse(_identity(input_type), input_ranges={"x": limits})


@pytest.mark.parametrize("limits", [(math.inf, math.inf), (-math.inf, -math.inf), (2, 1), (math.nan, 1)])
def test_a_range_without_a_finite_number_is_refused(limits: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="range of an input"):
        analyse(_identity(), input_ranges={"x": limits})


@pytest.mark.parametrize(
    ("datatype", "lo", "hi"),
    [("INT2000", -math.inf, math.inf), ("FLOAT<12,3,0>", -math.inf, math.inf), ("FIXED<8,-2000>", 0, 0)],
)
def test_formats_beyond_float64_bound_what_float64_holds(datatype: str, lo: float, hi: float) -> None:
    model = _identity()
    entry = model.graph.quantization_annotation.add(tensor_name="x")
    entry.quant_parameter_tensor_names.add(key="finn_datatype", value=datatype)
    x = bounds_of(analyse(model), "x")
    assert (np.float64(x.lo), np.float64(x.hi)) == (lo, hi)
    assert x.grid is None
