"""obstacles: what stands in the way of each kind of target, at a glance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from anybit.analysis.cost.cost import Cost
from anybit.analysis.summary import Summary

_STOCK_DOMAINS = frozenset(("", "ai.onnx", "ai.onnx.ml", "com.microsoft"))
_STORED_FORMATS = frozenset(f"{sign}INT{bits}" for sign in ("", "U") for bits in (2, 4, 8, 16, 32))
_NAMED = 3  # examples


@dataclass(frozen=True)
class Obstacle:
    """Something of a model that a target does not take as it is.

    Attributes:
        target: What does not take it.
        problem: What it is, and how often.
        remedy: What helps.
    """

    target: str
    problem: str
    remedy: str


def obstacles(summary: Summary, cost: Cost) -> tuple[Obstacle, ...]:
    """What a reader has to know first; `convert` with ``dry_run`` and `prepare` say all of it, node by node."""
    found: list[Obstacle] = []
    foreign = {name: n for name, n in summary.operators.items() if _domain(name) not in _STOCK_DOMAINS}
    if foreign:
        problem = f"{sum(foreign.values())} nodes of other domains: {_listed([n.rpartition('::')[2] for n in foreign])}"
        found.append(Obstacle("stock ONNX Runtime", problem, "anybit convert --to qcdq"))
    formats = Counter[str]()
    for quantizer in summary.quantizers:
        formats[quantizer.number_format] += quantizer.count
    odd = [name for name in formats if name not in _STORED_FORMATS]
    if odd:
        count = sum(formats[n] for n in odd)
        problem = f"{count} quantiser{'' if count == 1 else 's'} of formats that ONNX cannot store: {_listed(odd)}"
        found.append(Obstacle("QDQ", problem, "anybit convert --to qcdq"))
    floats = [p for p in cost.layers if any("FLOAT" in (str(f.activation) + str(f.weight)) for f in p.dense.formats)]
    if floats:
        problem = f"{len(floats)} of {len(cost.layers)} layers multiply floats: {_listed([p.name for p in floats])}"
        found.append(Obstacle("FINN, hls4ml, integers", problem, "anybit quantize"))
    return tuple(found)


def _domain(operator: str) -> str:
    return operator.rpartition("::")[0]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
