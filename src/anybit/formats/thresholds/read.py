"""read: MultiThreshold back to Quant and BipolarQuant, where its thresholds are those of a uniform quantiser.

A MultiThreshold that no uniform quantiser equals, for every number that it can meet, stays: the hub runs it as it is.
Weights that a file holds as integers, with their format as an annotation, become weights with a quantiser.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.analysis.values.interpreter import Values, values_of
from anybit.analysis.values.tensor_values import Float64s, IntegerGrid
from anybit.arrays import as_float64
from anybit.cleanup.infer_shapes import InferShapes
from anybit.exact.corners import corners_of
from anybit.exact.requantization import requantize
from anybit.exact.thresholds import Steps
from anybit.formats.dialect import Outcome
from anybit.formats.thresholds.emit import laid
from anybit.formats.thresholds.weights import quantize_weights
from anybit.formats.zero_signs import Told, keep_positive_zeros
from anybit.graph.annotations import annotate_number_format
from anybit.graph.constants import constant
from anybit.graph.editor import Editor
from anybit.graph.walk import all_nodes, shape_of
from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from anybit.ops.calls import operator_of
from anybit.ops.multi_threshold import MULTI_THRESHOLD, channel_axis
from anybit.ops.operator import DOMAIN
from anybit.ops.zero_sign import tensors_of_told_zeros
from anybit.quantizers.quantizer import Quantizer, grid_between, quant_nodes
from anybit.rounding import Rounding

_MODES = (Rounding.ROUND, Rounding.FLOOR, Rounding.CEIL, Rounding.HALF_UP, Rounding.HALF_DOWN)
_NEIGHBOURS = (0, 1, -1, 2, -2, 3, -3, 4, -4)  # of a step between thresholds, in units in the last place
_FEWEST = 2  # thresholds that tell a step
_NEAR = 1e-3
_EXACT = float(1 << 24)
_LARGEST_FACTOR = 127.0


def _one() -> npt.NDArray[np.float32]:
    return np.ones(1, np.float32)


def read(model: ir.Model) -> Outcome:
    """Reads every uniform MultiThreshold, and weights that are integers by annotation, in place."""
    with Editor(model, rule="read thresholds") as edit:
        quantize_weights(model, edit)
        nodes = [n for n in all_nodes(model.graph) if operator_of(n, model.opset_imports) is MULTI_THRESHOLD]
        if nodes:
            InferShapes()(model)
            values = values_of(model)
            told = tensors_of_told_zeros(model)
            with np.errstate(over="ignore", invalid="ignore"):  # levels that are no numbers have no plan
                plans = [(n, _plan(n, values)) for n in nodes]
            for node, plan in plans:
                if plan is not None:
                    plan.apply(node, edit, told)
    return Outcome()


@dataclass(frozen=True)
class _ThresholdPlan:
    """Y = scale * quantizer((x * factor + shift) * multiplier / divisor) + offset; what changes nothing is left out.

    Attributes:
        axis: Of channels.
        quantizer: Of steps of 1; None for the sign, -1 or 1.
    """

    axis: int
    quantizer: Quantizer | None
    scale: np.float32
    offset: np.float32
    shift: npt.NDArray[np.float32]
    factor: npt.NDArray[np.float32] = field(default_factory=_one)
    multiplier: npt.NDArray[np.float32] = field(default_factory=_one)
    divisor: npt.NDArray[np.float32] = field(default_factory=_one)

    @property
    def makes_negative_zeros(self) -> bool:
        """Whether it makes -0, which MultiThreshold does not."""
        return self.quantizer is not None and self.quantizer.makes_negative_zeros

    def apply(self, node: ir.Node, edit: Editor, told: Told) -> None:
        """Puts the quantiser in the place of the node."""
        x, old = node.inputs[0], node.outputs[0]
        if x is None:  # `_plan` has looked at it
            return
        made = self._nodes(x, old, edit)
        edit.insert(made, before=node)
        if self.makes_negative_zeros:
            keep_positive_zeros(edit, old, made[-1].outputs[0], told)
        edit.replace(old, made[-1].outputs[0])
        annotate_number_format(made[-1].outputs[0], None)

    def _nodes(self, x: ir.Value, old: ir.Value, edit: Editor) -> list[ir.Node]:
        name, made = str(old.name), list[ir.Node]()

        def put(op_type: str, number: npt.NDArray[np.float32], wish: str) -> None:
            before = made[-1].outputs[0] if made else x
            parameter = edit.constant(f"{name}/{wish}", laid(number, self.axis, x))
            made.append(edit.node(op_type, [before, parameter], f"{name}/{wish}_applied", like=old))

        if (self.factor != 1).any():
            put("Mul", self.factor, "factor")
        if self.shift.any():
            put("Add", self.shift, "shift")
        if (self.multiplier != 1).any():
            put("Mul", self.multiplier, "multiplier")
        if (self.divisor != 1).any():
            put("Div", self.divisor, "step")
        before = made[-1].outputs[0] if made else x
        if self.quantizer is None:
            scale = edit.constant(f"{name}/scale", np.asarray(self.scale))
            made.append(edit.node(BIPOLAR_QUANT.name, [before, scale], f"{name}/sign", like=old, domain=DOMAIN))
        else:
            made += quant_nodes(edit, before, self.quantizer, name)
            if self.scale != 1:
                put("Mul", self.scale.reshape(1), "out_scale")
        if self.offset != 0:
            put("Add", self.offset.reshape(1), "offset")
        return made


def _plan(node: ir.Node, values: Values) -> _ThresholdPlan | None:
    x, thresholds = node.inputs[0], constant(node.inputs[1])
    layout = node.attributes.get_string("data_layout", "NCHW")
    rank = len(shape_of(x) or ()) if x is not None else 0
    if x is None or x.dtype != ir.DataType.FLOAT or thresholds is None or rank < 2 or not thresholds.size:
        return None
    rows = np.sort(as_float64(thresholds), axis=1)
    axis = channel_axis(layout, rank)
    scale, bias = (np.float32(node.attributes.get_float(n, d)) for n, d in (("out_scale", 1.0), ("out_bias", 0.0)))
    if not (np.isfinite(scale) and np.isfinite(bias)):
        return None
    found = _sign(rows, axis, scale, bias)
    grid = values[x].grid
    if found is None and grid is not None and _stands_for_itself(grid):
        found = _of_integers(rows, axis, scale, bias, (float(grid.lo.min()), float(grid.hi.max())))
    return found or _of_reals(rows, axis, scale, bias)


def _stands_for_itself(grid: IntegerGrid) -> bool:
    return bool((grid.scale == 1).all() and not grid.zero_point.any())


def _sign(rows: Float64s, axis: int, scale: np.float32, bias: np.float32) -> _ThresholdPlan | None:
    """x >= t as the sign of x - t."""
    half = scale * rows.shape[1] / np.float32(2)
    if (rows != rows[:, :1]).any() or not np.isfinite(rows).all() or half <= 0 or bias != -half:
        return None
    return _ThresholdPlan(axis, None, np.float32(half), np.float32(0), (-rows[:, 0]).astype(np.float32))


def _of_integers(
    rows: Float64s, axis: int, scale: np.float32, bias: np.float32, ends: tuple[float, float]
) -> _ThresholdPlan | None:
    """A multiple of the number, rounded to nearest; see `requantize`."""
    lo, hi = ends
    if max(abs(lo), abs(hi)) >= _EXACT or rows.shape[1] < _FEWEST:
        return None
    channels, count = rows.shape
    lowest = _lowest(scale, bias)
    at = np.ceil(rows)
    always = (at <= lo).sum(axis=1)
    index = np.arange(count)[None, :] + always[:, None]
    shifted = np.take_along_axis(at, np.minimum(index, count - 1), axis=1)
    shifted = np.where((index >= count) | (shifted > hi), np.inf, shifted)
    full = np.ones(channels)
    steps = Steps(full, lowest + always, shifted, lo * full, hi * full)
    corners = corners_of(steps, 0 * full, lowest=lowest, highest=lowest + count)
    found = requantize(corners, full, room=_LARGEST_FACTOR * full)
    largest = np.abs(found.factor) * max(abs(lo), abs(hi)) + np.abs(found.bias)
    if not found.found.all() or largest.max() >= _EXACT:
        return None
    shift, factor, multiplier = (a.astype(np.float32) for a in (found.bias, found.factor, found.multiplier))
    quantizer = _unit(lowest, count, 0.0, Rounding.ROUND)
    plan = _ThresholdPlan(axis, quantizer, scale, np.float32(0), shift, factor=factor, multiplier=multiplier)
    return _affine(plan, scale, bias, count)


def _of_reals(rows: Float64s, axis: int, scale: np.float32, bias: np.float32) -> _ThresholdPlan | None:
    """A quantiser of real numbers that rises at exactly these float32 numbers."""
    count = rows.shape[1]
    if count < _FEWEST or not np.isfinite(rows).all() or (rows[:, 0] >= rows[:, -1]).any():
        return None
    edges = rows.astype(np.float32)
    step = ((rows[:, -1] - rows[:, 0]) / (count - 1)).astype(np.float32)
    for mode, lowest in product(_MODES, dict.fromkeys((_lowest(scale, bias), 0.0))):
        below = {Rounding.FLOOR: 1.0, Rounding.CEIL: 0.0}.get(mode, 0.5)
        zero = lowest + below - rows[:, 0] / step
        if np.ptp(np.rint(zero)) or (np.abs(zero - np.rint(zero)) > _NEAR).any():
            continue
        quantizer = _unit(lowest, count, float(np.rint(zero[0])), mode)
        divisor = _divisor(quantizer, edges, step, lowest)
        if divisor is not None:
            plan = _ThresholdPlan(axis, quantizer, scale, np.float32(0), np.zeros(1, np.float32), divisor=divisor)
            return _affine(plan, scale, bias, count)
    return None


def _divisor(
    quantizer: Quantizer, edges: npt.NDArray[np.float32], step: npt.NDArray[np.float32], lowest: float
) -> npt.NDArray[np.float32] | None:
    """By channel, the step with which the quantiser rises at each edge and not at the number before it."""
    wanted = lowest + 1 + np.arange(edges.shape[1])
    before = np.nextafter(edges, np.float32(-np.inf))
    result, fits = step.copy(), np.zeros(len(step), np.bool_)
    for distance in _NEIGHBOURS:
        candidate = (step.view(np.int32) + distance).view(np.float32)[:, None]
        with np.errstate(all="ignore"):
            same = (quantizer.integers(edges / candidate) >= wanted).all(axis=1)
            same &= (quantizer.integers(before / candidate) < wanted).all(axis=1)
        result, fits = np.where(same & ~fits, candidate[:, 0], result), fits | same
    return result if fits.all() else None


def _lowest(scale: np.float32, bias: np.float32) -> float:
    """The lowest level: what needs no offset, if it is whole."""
    level = float(bias) / float(scale) if scale else 0.0
    return level if level == round(level) and abs(level) < _EXACT else 0.0


def _unit(lowest: float, count: int, zero_point: float, mode: Rounding) -> Quantizer:
    ends = (int(lowest), int(lowest) + count)
    lo, hi = (np.asarray(float(e)) for e in ends)
    return Quantizer(np.ones((), np.float32), np.asarray(zero_point), lo, hi, mode, grid_between(*ends))


def _affine(plan: _ThresholdPlan, scale: np.float32, bias: np.float32, count: int) -> _ThresholdPlan | None:
    """The plan with the offset that gives every level its number, if float32 does."""
    quantizer = plan.quantizer
    if quantizer is None:
        return plan
    numbers = np.arange(count + 1, dtype=np.float32)
    levels = (numbers + np.float32(quantizer.lo) - np.float32(quantizer.zero_point)).astype(np.float32)
    offset = np.float32(np.float64(bias) - np.float64(scale) * np.float64(levels[0]))
    expected = numbers * scale + bias
    same = np.array_equal(levels * scale + offset, expected) and bool(np.isfinite(expected).all())
    return replace(plan, offset=offset) if same else None
