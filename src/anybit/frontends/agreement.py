"""agreement: a hub model against the framework that it comes from, tensor by tensor, on the same inputs."""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.engines.engine import Engine
from anybit.errors import FrontEndError, UnsupportedError
from anybit.frontends.comparison.engine import agreement_of_engine
from anybit.frontends.comparison.lockstep import Recording, TensorAgreement, lockstep
from anybit.graph.walk import all_nodes
from anybit.records import Record
from anybit.runtime.compare import FLOAT_TOLERANCE, Difference, difference
from anybit.runtime.session import Session

_NAMED = 3  # layers with ties that the one line names
_CAUSE = "an error of anybit, unless the module computes differently each time that it runs"
_OF_DOUBLES = "of some operators of float64, torch's exporter holds the numbers in float32: compute it in float32"


class AgreementVerdict(enum.Enum):
    """Whether a converted model is its source."""

    EQUAL = "equal"
    TIES = "equal but for ties"
    WRONG = "wrong"


@dataclass(frozen=True)
class Scatter:
    """How far the framework departs from itself: a measure for what ties may do.

    Attributes:
        elements: Number of elements of the outputs that were compared.
        one_by_one: How many differ if each sample is run by itself; None where that cannot be done.
        float64: How many differ if the framework computes in float64; None where that cannot be done.
    """

    elements: int
    one_by_one: int | None
    float64: int | None

    def __str__(self) -> str:
        parts = (
            f"{count:,} of {self.elements:,} elements {how}"
            for how, count in (("one by one", self.one_by_one), ("in float64", self.float64))
            if count is not None
        )
        return ", ".join(parts)


@dataclass(frozen=True)
class Agreement:
    """What a converted model gives against its source.

    Attributes:
        samples: Number of samples that were compared.
        outputs: How its outputs differ, run as a whole by ONNX Runtime: the first model is the framework's. Behind a
            tie they may differ by more than float error; the verdict does not follow from them.
        tensors: Every tensor that the two were compared at, each made of the framework's own values one step before.
        scatter: How far the framework departs from itself; None where that was not measured.
    """

    samples: int
    outputs: tuple[Difference, ...]
    tensors: tuple[TensorAgreement, ...] = ()
    scatter: Scatter | None = None

    @property
    def verdict(self) -> AgreementVerdict:
        """Equal, equal but for ties, or wrong."""
        if any(t.departing for t in self.tensors):
            return AgreementVerdict.WRONG
        return AgreementVerdict.TIES if self.ties else AgreementVerdict.EQUAL

    @property
    def holds(self) -> bool:
        """Whether the model is its source, ties aside."""
        return self.verdict is not AgreementVerdict.WRONG

    @property
    def ties(self) -> tuple[TensorAgreement, ...]:
        """The tensors of which elements fall to the other side of a half step, in the order of the graph."""
        return tuple(t for t in self.tensors if t.ties)

    @property
    def first_departure(self) -> TensorAgreement | None:
        """The first tensor, in the order of the graph, that departs; None if none does."""
        return next((t for t in self.tensors if t.departing), None)

    def __str__(self) -> str:
        departing, elements = (sum(getattr(d, key) for d in self.outputs) for key in ("departing", "elements"))
        text = f"{self.verdict.value}: {len(self.tensors):,} tensors compared on {self.samples} samples"
        if self.ties:
            text += f"; {sum(t.ties for t in self.ties):,} ties in {_listed(self.ties)}"
        largest = max((d.largest for d in self.outputs), default=0.0)
        text += f"; outputs: {departing:,} of {elements:,} elements depart, largest difference {largest:.3g}"
        scatter = "" if self.scatter is None else str(self.scatter)
        return f"{text}; the framework departs from itself in {scatter}" if scatter else text


def _listed(ties: Sequence[TensorAgreement]) -> str:
    named = ", ".join(f"'{t.layer or t.name}'" for t in ties[:_NAMED])
    return named if len(ties) <= _NAMED else f"{named} and {len(ties) - _NAMED} more"


@dataclass(frozen=True)
class Imported(Record):
    """A converted model and how well it agrees with its source.

    Attributes:
        model: Hub model.
        agreement: The comparison that it was returned after.
    """

    model: ir.Model = field(repr=False)
    agreement: Agreement


Framework = Callable[[Mapping[str, Array]], tuple[Recording, Sequence[Array]]]
"""Runs the framework's own model: inputs by name; what it computed on the way, and its outputs in order."""


def compared(
    model: ir.Model,
    framework: Framework,
    batches: Sequence[Mapping[str, Array]],
    *,
    tolerance: float | None = None,
    scatter: Scatter | None = None,
    quiet: bool = False,
) -> Imported:
    """The model, if it is its source; says so in one line on stderr.

    Args:
        model: Converted model.
        framework: Runs the source; its outputs come in the order of the model's.
        batches: What both are fed, by the model's names: random samples, and extreme ones.
        tolerance: Share of a tensor's largest magnitude that its elements may differ by beyond float error; None and 0
            for none.
        scatter: How far the framework departs from itself.
        quiet: Whether to say nothing.

    Raises:
        FrontEndError: The model is wrong; the message names the first layer that departs.
    """
    found: dict[str, TensorAgreement] = {}
    outputs: list[tuple[Array, ...]] = []
    layers: dict[str, str] = {}
    for feeds in batches:
        recording, results = framework(feeds)
        names = [str(v.name) for v in model.graph.outputs]
        known = {**recording.tensors, **dict(zip(names, results, strict=True))}
        _add(found, lockstep(model, feeds, replace(recording, tensors=known), tolerance=tolerance or 0.0))
        outputs.append(tuple(results))
        layers.update(recording.layers)
    differences, engine = _whole(model, batches, outputs)
    samples = sum(max((a.shape[0] for a in feeds.values() if a.ndim), default=1) for feeds in batches)
    agreement = Agreement(samples, differences, tuple(found.values()), scatter)
    if agreement.verdict is AgreementVerdict.EQUAL and any(d.departing for d in differences):
        for feeds in batches:  # a sum that falls to the other side of a half step in the engine alone
            _add(found, agreement_of_engine(model, feeds, layers, engine=engine))
        agreement = replace(agreement, tensors=tuple(found.values()))
    if not quiet:
        sys.stderr.write(f"anybit: {agreement}\n")
    first = agreement.first_departure
    if first is not None:
        raise FrontEndError(
            "the converted model departs from its source",
            node=f"module '{first.layer}', tensor '{first.name}'" if first.layer else f"tensor '{first.name}'",
            got=f"{first.departing:,} of {first.elements:,} elements, by up to {first.largest:.3g}",
            expected="what float error explains",
            hint=_OF_DOUBLES if _is_double(model, first.name) else _CAUSE,
        )
    return Imported(model, agreement)


def _is_double(model: ir.Model, name: str) -> bool:
    return any(str(v.name) == name and v.dtype == ir.DataType.DOUBLE for n in all_nodes(model.graph) for v in n.outputs)


def _add(found: dict[str, TensorAgreement], more: Sequence[TensorAgreement]) -> None:
    for tensor in more:
        before = found.get(tensor.name)
        found[tensor.name] = tensor if before is None else before.plus(tensor)


def _whole(
    model: ir.Model, batches: Sequence[Mapping[str, Array]], wanted: Sequence[Sequence[Array]]
) -> tuple[tuple[Difference, ...], Engine]:
    """How the outputs differ where the model runs as a whole, and what ran it."""
    engine = Engine.ONNXRUNTIME
    try:
        session = Session(model, engine=engine)
    except UnsupportedError:
        engine = Engine.REFERENCE
        session = Session(model, engine=engine)
    parts = [session.run(dict(feeds)) for feeds in batches]
    differences: list[Difference] = []
    for position, value in enumerate(model.graph.outputs):
        name = str(value.name)
        given = [np.asarray(p[name]) for p in parts]
        right = [np.reshape(w[position], g.shape) for g, w in zip(given, wanted, strict=True)]
        apart = [difference(name, w, g, value, FLOAT_TOLERANCE) for g, w in zip(given, right, strict=True)]
        differences.append(_together(apart))
    return tuple(differences), engine


def _together(parts: Sequence[Difference]) -> Difference:
    worst = max(parts, key=lambda d: d.largest)
    counts = {key: sum(getattr(d, key) for d in parts) for key in ("elements", "unequal", "departing")}
    return replace(worst, **counts)


def extreme(inputs: Mapping[str, Array], *, factor: float = 1e3) -> dict[str, Array]:
    """The samples, and behind them the float ones again: far beyond all ranges, and all zeros.

    Integers, which may be indices, are repeated as they are.
    """

    def more(array: Array) -> Array:
        further: list[Any] = [array * factor, array * 0] if array.dtype.kind == "f" else [array, array]
        return np.concatenate([array, *further]).astype(array.dtype)

    return {name: more(np.asarray(array)) for name, array in inputs.items()}
