"""of_one_sample: a model as it is run on one sample, where its samples can be told apart."""

from __future__ import annotations

import onnx_ir as ir

from anybit.cleanup.set_batch import SetBatch
from anybit.cleanup.set_input_shape import SetInputShape
from anybit.errors import Finding, InvalidModelError, Severity, UsageError


def of_one_sample(model: ir.Model) -> tuple[int | None, list[Finding]]:
    """Makes 1 of the first dimension of all inputs: always where it is free, else where the proof of `SetBatch` holds.

    Returns:
        How many samples one run has then, None where the inputs have no common first dimension; and why it is not one.
    """
    if _sizes(model) <= {1}:
        return 1, []
    try:
        SetBatch(1)(model)
    except InvalidModelError as error:
        reason = str(error)
    else:
        return 1, []
    free = {str(v.name): _one(v, v.shape) for v in model.graph.inputs if v.shape and not isinstance(v.shape[0], int)}
    try:
        if free:
            SetInputShape(free)(model)
    except (InvalidModelError, UsageError) as error:
        reason = str(error)
    sizes = _sizes(model)
    if sizes <= {1}:
        return 1, []
    samples = next(iter(sizes)) if len(sizes) == 1 else None
    text = "inputs of no common batch" if samples is None else f"a batch of {samples}"
    note = Finding(rule="cost", problem=f"the figures are of {text}", got=reason, severity=Severity.WARNING)
    return samples, [note]


def _sizes(model: ir.Model) -> set[int | None]:
    first = [v.shape[0] for v in model.graph.inputs if v.shape]
    return {d if isinstance(d, int) else None for d in first}


def _one(value: ir.Value, shape: ir.Shape) -> tuple[int | str, ...]:
    """The shape for one sample; dimensions without a name are called by input and axis, as in expressions."""
    named = [d if isinstance(d, int) else d.value or f"{value.name}[{i}]" for i, d in enumerate(shape)]
    return (1, *named[1:])
