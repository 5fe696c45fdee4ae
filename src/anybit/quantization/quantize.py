"""quantize: a float model with quantisers of any bit widths, found on samples without labels."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

import onnx_ir as ir

from anybit.arguments import checked_apart
from anybit.arrays import Array
from anybit.errors import InputError, UsageError
from anybit.evaluation.datasets import Data
from anybit.io.load import ModelSource
from anybit.quantization.allocation.mixed import mixed_plan
from anybit.quantization.allocation.search import Allocation
from anybit.quantization.calibration import Calibrated, calibrate, segments_for
from anybit.quantization.equal_scales import with_equal_scales
from anybit.quantization.equalization import equalized, tensors_between
from anybit.quantization.placement import nothing_to_quantize
from anybit.quantization.plan import ActivationPlan, Plan, WeightPlan
from anybit.quantization.prepare import Prepared, prepare
from anybit.quantization.recipe import LEAST_BITS, MOST_BITS, Recipe
from anybit.quantization.samples import blocks_of
from anybit.quantization.writing import write_quantized
from anybit.records import Record

_FEW_SAMPLES = 16
_HEAD_BLOCKS = 8  # of samples, on which the float model says which scale tensors that meet get


class FewSamplesWarning(UserWarning):
    """The calibration data are few: ranges and roundings fit them more than other data."""


@dataclass(frozen=True)
class TensorReport:
    """What the quantisation of one tensor costs.

    Attributes:
        tensor: Its name.
        is_weight: Whether it is a weight; else an activation.
        bits: Bit width.
        signed: Whether its integers are signed.
        scale: The scale; of weights the mean of their scales.
        zero_point: The zero point.
        error: Squared error as a share of the square of the tensor; of weights, that of what their layer makes.
        share: Share of the sum of all errors.
        reason: Why it has this width.
    """

    tensor: str
    is_weight: bool
    bits: int
    signed: bool
    scale: float
    zero_point: int
    error: float
    share: float
    reason: str

    @property
    def sqnr(self) -> float:
        """Signal to quantisation noise in decibels."""
        return math.inf if self.error <= 0 else -10 * math.log10(self.error)


@dataclass(frozen=True)
class QuantizationReport(Record):
    """What a quantisation did.

    Attributes:
        samples: How many samples it was calibrated on.
        tensors: The quantised tensors, in the order of the graph.
        outputs: For each output the squared error as a share of its square, on the calibration data.
    """

    samples: int
    tensors: tuple[TensorReport, ...]
    outputs: dict[str, float]


@dataclass(frozen=True)
class Quantized:
    """A quantised model.

    Attributes:
        model: The model, in the language of the hub.
        plan: Bit widths and ranges of all tensors; with the same model and data it gives the same bytes again.
        report: What the quantisation of each tensor costs.
        allocation: How bits were chosen under a budget; None where there was none.
    """

    model: ir.Model
    plan: Plan
    report: QuantizationReport
    allocation: Allocation | None = None


@checked_apart("data")
def quantize(
    model: ModelSource,
    data: Data,
    recipe: Recipe | None = None,
    *,
    plan: Plan | None = None,
    resume: str | os.PathLike[str] | None = None,
    ray: str | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Quantized:
    """A float model with quantisers, whose weights and ranges fit the samples.

    Batch normalisation is folded, channels before depthwise convolutions get ranges alike, products, sums, Concat and
    pooling get quantised inputs, and weights are rounded so that what each layer makes of its quantised inputs comes
    near to what the float layer makes of the float ones.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``; it is not changed.
        data: Samples as `anybit.evaluate` takes them; labels are not needed.
        recipe: Bit widths and options.
        plan: Bit widths and ranges of an earlier quantisation, which may have been edited; in place of the recipe's.
        resume: Folder where the measurements of a search under a budget are kept: the same call goes on from there.
        ray: Address of a Ray cluster that measures for the search, "auto" for the one of this machine.
        workers: How many of its actors; None takes as many as it has processors. The plan does not depend on it.
        progress: Called with what is done and with how much there is to do.

    Raises:
        ModelFileError: The model cannot be read.
        InputError: The data cannot be read, do not fit, or are not finite.
        UnsupportedError: There is nothing to quantise.

    Warns:
        FewSamplesWarning: There are fewer than 16 samples.
    """
    asked = recipe or Recipe()
    prepared = prepare(model, requantize=asked.requantize)
    chosen = plan_of(prepared, asked) if plan is None else checked_plan(prepared, plan)
    allocation = None
    if plan is None and asked.budget is not None and isinstance(data, Iterator):
        data = list(data)
    blocks: Iterable[dict[str, Array]] = blocks_of(prepared, data)
    if chosen.target is not None or tensors_between(prepared):
        remaining = iter(blocks)
        head = list(islice(remaining, _HEAD_BLOCKS))
        blocks = chain(head, remaining)
        prepared = equalized(prepared, chosen, head[:: _HEAD_BLOCKS // 2])
    else:
        head = []
    if plan is None and asked.budget is not None:
        chosen, allocation = mixed_plan(
            prepared,
            blocks_of(prepared, data),
            chosen,
            fixed=_fixed(prepared, asked),
            widths=asked.bits,
            budget=asked.budget,
            folder=None if resume is None else Path(resume),
            ray=ray,
            workers=workers,
            progress=progress,
        )
    if chosen.target is not None:
        chosen = with_equal_scales(prepared, chosen, head)
    total = len(segments_for(prepared, chosen))
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    found = calibrate(prepared, blocks, chosen, progress=advance)
    if found.samples < _FEW_SAMPLES:
        message = f"{found.samples} samples for calibration, expected {_FEW_SAMPLES} or more: ranges may not fit others"
        warnings.warn(message, FewSamplesWarning, stacklevel=2)
    written = write_quantized(prepared.model, found, per_tensor=chosen.per_tensor)
    return Quantized(written, completed(chosen, found), report_of(chosen, found), allocation)


def _fixed(prepared: Prepared, recipe: Recipe) -> set[str]:
    """The tensors whose bits do not depend on those that the recipe has for all."""
    narrow, wide = (
        plan_of(prepared, replace(recipe, weights=b, activations=None if recipe.activations is None else b))
        for b in (LEAST_BITS, MOST_BITS)
    )
    pairs = zip((*narrow.activations, *narrow.weights), (*wide.activations, *wide.weights), strict=True)
    return {a.tensor for a, b in pairs if a.bits == b.bits}


def plan_of(prepared: Prepared, recipe: Recipe) -> Plan:
    """The bit widths that a recipe asks for; ranges are left open.

    Raises:
        UnsupportedError: The model has nothing to quantise.
        UsageError: A name of the recipe fits no layer.
    """
    placement = prepared.placement
    if not placement.layers and not placement.activations:
        raise nothing_to_quantize(prepared.model)
    names = [layer.names for layer in placement.layers]
    for pattern in (*recipe.skip, *recipe.layers):
        fits = Recipe(skip=(pattern,))
        if not any(fits.skips(*n) for n in names):
            raise UsageError("no layer of this name", got=repr(pattern), expected=", ".join(n[0] for n in names[:5]))
    weights: list[WeightPlan] = []
    inputs: dict[str, tuple[int | None, str]] = {}
    for layer in placement.layers:
        own = recipe.bits_of(*layer.names)
        end = layer.node in placement.first or layer.node in placement.last
        at_end = recipe.first_last if end else None
        bits, why = recipe.weights, "recipe"
        reads = recipe.activations
        if at_end is not None:
            bits, reads, why = at_end, at_end if reads is not None else None, "first or last layer"
        if own.weights is not None or own.activations is not None:
            bits, reads, why = own.weights or bits, own.activations or reads, "named in the recipe"
        if recipe.skips(*layer.names):
            bits, reads, why = None, None, "skipped"
        weights.append(
            WeightPlan(tensor=str(layer.weights.name), layer=str(layer.node.outputs[0].name), bits=bits, reason=why)
        )
        key = str(layer.source.name)
        before = inputs.get(key)
        inputs[key] = (reads, why) if before is None else _wider(before, (reads, why))
    activations: list[ActivationPlan] = []
    for value in placement.activations:
        bits, why = inputs.get(str(value.name), (recipe.activations, "recipe"))
        activations.append(ActivationPlan(tensor=str(value.name), bits=bits, reason=why))
    return Plan(
        activations=tuple(activations),
        weights=tuple(weights),
        scales=recipe.chosen_scales,
        per_tensor=recipe.per_tensor,
        block=recipe.block,
        accumulator=recipe.accumulator,
        target=recipe.target,
    )


def _wider(a: tuple[int | None, str], b: tuple[int | None, str]) -> tuple[int | None, str]:
    """The width that serves both readers of a tensor."""
    if a[0] is None or b[0] is None:
        return a if a[0] is None else b
    return a if a[0] >= b[0] else b


def checked_plan(prepared: Prepared, plan: Plan) -> Plan:
    """The plan, if it is one of this model.

    Raises:
        InputError: It names a tensor that cannot be quantised here.
    """
    activations = {str(v.name) for v in prepared.placement.activations}
    weights = {str(layer.weights.name) for layer in prepared.placement.layers}
    for tensor, known in [(t.tensor, activations) for t in plan.activations] + [
        (t.tensor, weights) for t in plan.weights
    ]:
        if tensor not in known:
            raise InputError(
                "the plan is not one of this model", got=repr(tensor), expected=", ".join(sorted(known)[:5])
            )
    return plan


def completed(plan: Plan, found: Calibrated) -> Plan:
    """The plan with the ranges that were found."""
    activations: list[ActivationPlan] = []
    for tensor in plan.activations:
        result = found.activations.get(tensor.tensor)
        if result is None:
            activations.append(tensor)
            continue
        r = result.range
        activations.append(
            ActivationPlan(
                tensor=tensor.tensor,
                bits=tensor.bits,
                signed=r.grid.signed,
                scale=r.scale,
                zero_point=r.zero_point,
                reason=tensor.reason,
            )
        )
    return Plan(
        activations=tuple(activations),
        weights=plan.weights,
        scales=plan.scales,
        per_tensor=plan.per_tensor,
        block=plan.block,
        accumulator=plan.accumulator,
        target=plan.target,
    )


def report_of(plan: Plan, found: Calibrated) -> QuantizationReport:
    """What the quantisation of each tensor costs."""
    total = sum(a.error for a in found.activations.values()) + sum(w.error for w in found.weights.values())
    rows: list[TensorReport] = []
    for tensor in plan.activations:
        result = found.activations.get(tensor.tensor)
        if result is None:
            continue
        r = result.range
        rows.append(
            TensorReport(
                tensor=tensor.tensor,
                is_weight=False,
                bits=r.grid.bits,
                signed=r.grid.signed,
                scale=r.scale,
                zero_point=r.zero_point,
                error=result.error,
                share=result.error / total if total else 0.0,
                reason=tensor.reason,
            )
        )
    for weight in plan.weights:
        done = found.weights.get(weight.tensor)
        if done is None:
            continue
        rows.append(
            TensorReport(
                tensor=weight.tensor,
                is_weight=True,
                bits=done.bits,
                signed=True,
                scale=float(done.rounded.scales.mean()),
                zero_point=0,
                error=done.error,
                share=done.error / total if total else 0.0,
                reason=weight.reason,
            )
        )
    outputs = {name: off / square if square else 0.0 for name, (square, off) in found.outputs.items()}
    return QuantizationReport(found.samples, tuple(rows), outputs)
