"""agreement: a hub model against the framework that it comes from, on the same inputs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.engines.engine import Engine
from anybit.errors import FrontEndError
from anybit.ops.calls import operator_of
from anybit.runtime.compare import FLOAT_TOLERANCE, Difference, difference
from anybit.runtime.session import Session

SHARE_OF_TIES = 1e-3
"""Of the elements behind a quantiser so many may depart: float32 sums fall to either side of a rounding boundary."""

Framework = Callable[[Mapping[str, Array]], Sequence[Array]]
"""Runs the framework's own model: inputs by name, outputs in order."""


@dataclass(frozen=True)
class Agreement:
    """What a converted model gives against its source.

    Attributes:
        samples: Number of samples that were compared.
        outputs: One entry an output; its first model is the framework's.
        quantized: Whether the model rounds activations, so that sums next to a boundary may fall to either side.
    """

    samples: int
    outputs: tuple[Difference, ...]
    quantized: bool

    @property
    def holds(self) -> bool:
        """Whether every output is the framework's, by the rule of `SHARE_OF_TIES`."""
        allowed = SHARE_OF_TIES if self.quantized else 0.0
        return all(d.departing <= allowed * d.elements for d in self.outputs)

    def __str__(self) -> str:
        elements, departing = (sum(getattr(d, key) for d in self.outputs) for key in ("elements", "departing"))
        largest = max((d.largest for d in self.outputs), default=0.0)
        verdict = "agrees with its source" if self.holds else "DEPARTS from its source"
        return (
            f"{verdict}: {departing:,} of {elements:,} elements depart on {self.samples} samples, "
            f"largest difference {largest:.3g}"
        )


@dataclass(frozen=True)
class Imported:
    """A converted model and how well it agrees with its source.

    Attributes:
        model: Hub model.
        agreement: The comparison that it was returned after.
    """

    model: ir.Model
    agreement: Agreement


def compared(
    model: ir.Model,
    framework: Framework,
    inputs: Mapping[str, Array],
    *,
    tolerance: float | None = None,
    quiet: bool = False,
) -> Imported:
    """The model, if it gives the framework's numbers; says so in one line on stderr.

    Args:
        model: Converted model.
        framework: Runs the source; its outputs come in the order of the model's.
        inputs: What both are fed, by the model's names: random samples, and extreme ones.
        tolerance: Share of an output's largest magnitude that elements may differ by; with one named, a departure is
            no error. None takes that of float32 sums.
        quiet: Whether to say nothing.

    Raises:
        FrontEndError: An output departs, and no tolerance was named.
    """
    wanted = [np.asarray(a) for a in framework(inputs)]
    given = Session(model, engine=Engine.REFERENCE).run(dict(inputs))
    share = FLOAT_TOLERANCE if tolerance is None else tolerance
    differences = tuple(
        difference(str(value.name), right, given[str(value.name)], value, share)
        for value, right in zip(model.graph.outputs, wanted, strict=True)
    )
    samples = max((a.shape[0] for a in inputs.values() if a.ndim), default=1)
    agreement = Agreement(samples, differences, _rounds_activations(model))
    if not quiet:
        sys.stderr.write(f"anybit: {agreement}\n")
    if tolerance is None and not agreement.holds:
        worst = max(differences, key=lambda d: d.departing / max(d.elements, 1))
        raise FrontEndError(
            "the converted model departs from its source",
            node=f"output '{worst.name}'",
            got=f"{worst.departing:,} of {worst.elements:,} elements, by up to {worst.largest:.3g}",
            expected=f"{share:g} of the largest magnitude",
            hint="name a tolerance to take it all the same",
        )
    return Imported(model, agreement)


def _rounds_activations(model: ir.Model) -> bool:
    varying: set[ir.Value | None] = set(model.graph.inputs)
    for node in model.graph.all_nodes():
        if any(v in varying for v in node.inputs):
            if operator_of(node, model.opset_imports) is not None:
                return True
            varying.update(node.outputs)
    return False


def extreme(inputs: Mapping[str, Array], *, factor: float = 1e3) -> dict[str, Array]:
    """The samples, and behind them the float ones again: far beyond all ranges, and all zeros.

    Integers, which may be indices, are repeated as they are.
    """

    def more(array: Array) -> Array:
        further: list[Any] = [array * factor, array * 0] if array.dtype.kind == "f" else [array, array]
        return np.concatenate([array, *further]).astype(array.dtype)

    return {name: more(np.asarray(array)) for name, array in inputs.items()}
