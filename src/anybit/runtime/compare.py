"""compare: two models on the same inputs, element by element, and the first tensor that departs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.analysis.grid_step import grid_step
from anybit.arguments import checked
from anybit.arrays import as_float64
from anybit.engines.engine import Engine
from anybit.engines.sampling import random_inputs
from anybit.errors import InputError, UsageError
from anybit.io.load import ModelSource, load
from anybit.records import Record
from anybit.runtime.batching import DEFAULT_BATCH, run_in_batches
from anybit.runtime.correspondence import corresponding
from anybit.runtime.session import Inputs, Session

FLOAT_TOLERANCE = 1e-5
"""Share of a tensor's largest magnitude within which two elements count as equal: float32 summation in any order."""
_PIECE = 1 << 20


@dataclass(frozen=True)
class Difference:
    """How one tensor of two models differs.

    Attributes:
        name: Name of the tensor in the first model.
        elements: Number of elements.
        unequal: How many are not the same number.
        departing: How many differ by more than the tolerance.
        largest: Largest difference; NaN against a number counts as infinite.
        steps: The largest difference in steps of the tensor's grid, None if it lies on none.
        at: Index of the largest difference.
        counterpart: Name of the tensor in the second model.
    """

    name: str
    elements: int
    unequal: int
    departing: int
    largest: float
    steps: float | None
    at: tuple[int, ...]
    counterpart: str = ""


@dataclass(frozen=True)
class Comparison(Record):
    """Two models on the same inputs.

    Attributes:
        samples: Number of samples that were compared.
        tolerance: Share of a tensor's largest magnitude within which elements count as equal.
        outputs: One entry an output.
        first_departure: First tensor, in the order of the first model's graph, that departs; None if none does or
            it was not asked for.
    """

    samples: int
    tolerance: float
    outputs: tuple[Difference, ...]
    first_departure: Difference | None = None

    @property
    def equal(self) -> bool:
        """Whether no output departs."""
        return not any(d.departing for d in self.outputs)


@checked
def compare(
    a: ModelSource,
    b: ModelSource,
    inputs: Inputs | None = None,
    *,
    samples: int = 16,
    seed: int = 0,
    layers: bool = False,
    tolerance: float = FLOAT_TOLERANCE,
    engine_a: Engine | str = Engine.AUTO,
    engine_b: Engine | str = Engine.AUTO,
    threads: int | None = None,
    batch_size: int = DEFAULT_BATCH,
    progress: Callable[[int], None] | None = None,
) -> Comparison:
    """Runs both models and compares their outputs.

    Outputs, and the inputs of `b`, are matched by name, or by position where the names differ.

    Args:
        a: First model; its names are used.
        b: Second model.
        inputs: What to feed; drawn at random (see `random_inputs`) where None, and defaults where they are left out.
        samples: How many samples to draw; more if both models run only on multiples of a batch.
        seed: Seed of the drawing.
        layers: Whether to compare all tensors that correspond (see `corresponding`) and have one shape, and to report
            the first that departs.
        tolerance: Share of a tensor's largest magnitude within which elements count as equal; 0 for exactly.
        engine_a: Engine of the first model.
        engine_b: Engine of the second model.
        threads: Threads inside an operator.
        batch_size: Samples in one run.
        progress: Called with the number of samples of each run, of either model, when it is done.

    Raises:
        InputError: Inputs do not fit, or the models have different numbers of inputs or outputs.
    """
    if tolerance < 0:
        raise UsageError("tolerance", got=tolerance, expected="0 or more")
    first, second = load(a), load(b)
    shared = corresponding(first, second) if layers else []
    session_a = Session(first, engine=engine_a, threads=threads, tensors=[a for a, _ in shared])
    session_b = Session(second, engine=engine_b, threads=threads, tensors=[b for _, b in shared])
    whole = math.lcm(session_a.piece(1) or 1, session_b.piece(1) or 1)  # the batch that the models are bound to
    feeds = _feeds(session_a, inputs, first, -(-samples // whole) * whole, seed)
    results_a = run_in_batches(session_a, feeds, batch_size=batch_size, progress=progress)
    feeds_b = _for_second(session_a, session_b, feeds)
    results_b = run_in_batches(session_b, feeds_b, batch_size=batch_size, progress=progress)
    steps = {str(v.name): v for v in (*first.graph.outputs, *(o for n in first.graph for o in n.outputs))}
    outputs = tuple(
        _difference_of((name, other), results_a[name], results_b[other], steps[name], tolerance)
        for name, other in _output_pairs(session_a, session_b)
    )
    departing = (
        _difference_of(pair, results_a[pair[0]], results_b[pair[1]], steps[pair[0]], tolerance)
        for pair in shared
        if results_a[pair[0]].shape == results_b[pair[1]].shape
    )
    return Comparison(
        samples=max((feeds[i.name].shape[0] for i in session_a.required if feeds[i.name].ndim), default=1),
        tolerance=tolerance,
        outputs=outputs,
        first_departure=next((d for d in departing if d.departing), None),
    )


def _difference_of(
    names: tuple[str, str], a: npt.NDArray[Any], b: npt.NDArray[Any], value: ir.Value, tolerance: float
) -> Difference:
    return replace(difference(names[0], a, b, value, tolerance), counterpart=names[1])


def _feeds(
    session: Session, inputs: Inputs | None, model: ir.Model, samples: int, seed: int
) -> dict[str, npt.NDArray[Any]]:
    if inputs is None:
        if samples < 1:
            raise UsageError("number of samples", got=samples, expected="at least 1")
        if seed < 0:
            raise UsageError("seed", got=seed, expected="0 or more")
        return random_inputs(model, samples, seed=seed)
    if isinstance(inputs, Mapping):
        return {name: np.asarray(value) for name, value in inputs.items()}
    return {session.only_input: inputs}


def _for_second(first: Session, second: Session, feeds: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    names, others = {i.name for i in first.inputs}, {i.name for i in second.inputs}
    if names == others:
        return dict(feeds)
    if len(names) != len(others):
        raise InputError("the models have different numbers of inputs", got=len(others), expected=len(names))
    pairs = zip(second.inputs, first.inputs, strict=True)
    return {new.name: feeds[old.name] for new, old in pairs if old.name in feeds}


def _output_pairs(first: Session, second: Session) -> list[tuple[str, str]]:
    if set(first.outputs) == set(second.outputs):
        return [(name, name) for name in first.outputs]
    if len(first.outputs) != len(second.outputs):
        raise InputError(
            "the models have different numbers of outputs", got=len(second.outputs), expected=len(first.outputs)
        )
    return list(zip(first.outputs, second.outputs, strict=True))


def difference(name: str, a: npt.NDArray[Any], b: npt.NDArray[Any], value: ir.Value, tolerance: float) -> Difference:
    """How one tensor of two models differs.

    Args:
        name: How the result names it.
        a: What the first model makes; its largest magnitude counts.
        b: What the second one makes.
        value: The tensor in the graph of either, whose grid gives the steps.
        tolerance: Share of the largest magnitude within which elements count as equal.

    Raises:
        InputError: The shapes differ, or these are no numbers.
    """
    if not (_is_numeric(a) and _is_numeric(b)):
        raise InputError("only tensors of numbers can be compared", node=f"tensor '{name}'", got=type(a).__name__)
    if a.shape != b.shape:
        raise InputError("shapes of the two models differ", node=f"tensor '{name}'", got=b.shape, expected=a.shape)
    if not a.size:
        return Difference(name, 0, 0, 0, 0.0, None, ())
    allowed = tolerance * max(_largest(piece) for piece in _pieces(a))
    step = grid_step(value)
    unequal = departing = at = 0
    largest, steps = -1.0, 0.0
    for number, (left, right) in enumerate(zip(_pieces(a), _pieces(b), strict=True)):
        gap = _gaps(left, right)
        first = number * _PIECE
        unequal += int(np.count_nonzero(gap))
        departing += int(np.count_nonzero(gap > allowed))
        if gap.max() > largest:
            largest, at = float(gap.max()), first + int(np.argmax(gap))
        if step is not None:
            widths = np.broadcast_to(step, a.shape).flat[first : first + gap.size]
            steps = max(steps, float((gap / widths).max()))
    return Difference(
        name=name,
        elements=a.size,
        unequal=unequal,
        departing=departing,
        largest=largest,
        steps=None if step is None else steps,
        at=tuple(int(i) for i in np.unravel_index(at, a.shape)),
    )


def _pieces(array: npt.NDArray[Any]) -> Iterator[npt.NDArray[np.float64]]:
    """The elements in float64, so many at a time that they take little memory."""
    flat = array.reshape(-1)
    return (as_float64(flat[first : first + _PIECE]) for first in range(0, flat.size, _PIECE))


def _largest(piece: npt.NDArray[np.float64]) -> float:
    return float(np.abs(piece[np.isfinite(piece)]).max(initial=0.0))


def _gaps(left: npt.NDArray[np.float64], right: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """|left - right|, infinite where one of them is NaN or they are infinite and differ, 0 where both are NaN."""
    with np.errstate(invalid="ignore", over="ignore"):
        same = (left == right) | (np.isnan(left) & np.isnan(right))
        gap = np.where(same, 0.0, np.abs(left - right))
    return np.where(np.isnan(gap), np.inf, gap)


def _is_numeric(value: Any) -> bool:
    return isinstance(value, np.ndarray) and cast("npt.NDArray[Any]", value).dtype.kind != "O"
