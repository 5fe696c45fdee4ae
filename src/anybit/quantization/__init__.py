"""Quantisation after training: from a float model to any bit widths, by calibration data without labels.

`anybit.quantize` does all of it. Its steps can be called by themselves: `prepare` folds and finds what can be
quantised, `equalized` gives channels like ranges, `find_range` chooses the quantiser of an activation,
`least_squares`, `weight_scales`, `to_nearest`, `with_feedback`, `descended` and `refitted` round weights, `calibrate`
goes through a model once, `write_quantized` writes what that found.
"""

from anybit.quantization.accumulator import budget_of
from anybit.quantization.allocation.budget import CostBudget
from anybit.quantization.allocation.costs import CostModel, ProductCost, StoredCost, Width, cost_model
from anybit.quantization.allocation.mixed import mixed_plan
from anybit.quantization.allocation.pareto import Front, FrontPoint, pareto_front
from anybit.quantization.allocation.program import allocated, nearest
from anybit.quantization.allocation.search import Allocation, Free
from anybit.quantization.bias_correction import corrected_bias
from anybit.quantization.calibration import ActivationResult, Calibrated, WeightResult, calibrate
from anybit.quantization.equalization import equalized
from anybit.quantization.layers import Layer, layers_of
from anybit.quantization.moments import Moments
from anybit.quantization.placement import Placement, place
from anybit.quantization.plan import ActivationPlan, Plan, WeightPlan
from anybit.quantization.prepare import Prepared, prepare
from anybit.quantization.quantize import FewSamplesWarning, QuantizationReport, Quantized, TensorReport, plan_of
from anybit.quantization.ranges import ActivationHistogram, Range, find_range
from anybit.quantization.recipe import LayerBits, Recipe, Scales, Target
from anybit.quantization.rounding import (
    Budget,
    Feedback,
    Rounded,
    descended,
    least_squares,
    refitted,
    rounded_weights,
    to_nearest,
    weight_scales,
    with_feedback,
)
from anybit.quantization.samples import blocks_of
from anybit.quantization.sensitivity.divergence import Divergence, divergence
from anybit.quantization.sensitivity.sensitivity import Sensitivity, TensorSensitivity
from anybit.quantization.simulation import Simulation
from anybit.quantization.writing import write_quantized

__all__ = [
    "ActivationHistogram",
    "ActivationPlan",
    "ActivationResult",
    "Allocation",
    "Budget",
    "Calibrated",
    "CostBudget",
    "CostModel",
    "Divergence",
    "Feedback",
    "FewSamplesWarning",
    "Free",
    "Front",
    "FrontPoint",
    "Layer",
    "LayerBits",
    "Moments",
    "Placement",
    "Plan",
    "Prepared",
    "ProductCost",
    "QuantizationReport",
    "Quantized",
    "Range",
    "Recipe",
    "Rounded",
    "Scales",
    "Sensitivity",
    "Simulation",
    "StoredCost",
    "Target",
    "TensorReport",
    "TensorSensitivity",
    "WeightPlan",
    "WeightResult",
    "Width",
    "allocated",
    "blocks_of",
    "budget_of",
    "calibrate",
    "corrected_bias",
    "cost_model",
    "descended",
    "divergence",
    "equalized",
    "find_range",
    "layers_of",
    "least_squares",
    "mixed_plan",
    "nearest",
    "pareto_front",
    "place",
    "plan_of",
    "prepare",
    "refitted",
    "rounded_weights",
    "to_nearest",
    "weight_scales",
    "with_feedback",
    "write_quantized",
]
