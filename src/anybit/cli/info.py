"""anybit info: what a model is, on one screen."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anybit
from anybit.cli.options.input_ranges import RangeOption, parse_ranges
from anybit.cli.options.input_shapes import ShapeOption, with_shapes
from anybit.cli.terminal.output import JsonOption, ModelArgument, print_json, say, shortened

if TYPE_CHECKING:
    from anybit.analysis.cost.cost import Cost
    from anybit.analysis.summary import QuantizerCount, Summary, TensorSummary
    from anybit.zoo.card import Card

_TENSORS = 3  # inputs, and outputs, that are shown
_OPERATORS = 8
_LINE = 100
_REPAIRS = 2
_LABEL = 12


def info(
    model: ModelArgument,
    input_shape: ShapeOption = None,
    input_range: RangeOption = None,
    json: JsonOption = False,
) -> None:
    """What a model is: tensors, size, operators, quantisers and MACs by width, accuracy, what stands in the way."""
    from anybit.analysis.obstacles import obstacles

    source = with_shapes(model, input_shape or ())
    summary = anybit.info(source)
    cost = _cost(source, parse_ranges(input_range or ()))
    found = () if cost is None else obstacles(summary, cost)
    card, bytes_on_disk = _card(model), _bytes_on_disk(model)
    if json:
        figures = {
            "bytes_on_disk": bytes_on_disk,
            "macs": None if cost is None else cost.dense.macs,
            "macs_expression": "" if cost is None else cost.macs_expression,
            "macs_by_format": () if cost is None else cost.dense.formats,
            "weight_bits": None if cost is None else cost.dense.weight_bits,
            "claim": None if card is None or card.claim is None else _claim(card),
            "obstacles": found,
        }
        print_json(_fields(summary) | figures)
        return
    lines = [("size", _size(summary, cost, bytes_on_disk)), ("from", _origin(summary))]
    lines += [("repaired", str(repair)) for repair in summary.repairs[:_REPAIRS]]
    lines += _tensors("input", summary.inputs) + _tensors("output", summary.outputs)
    lines.append(("nodes", _operators(summary)))
    if summary.functions:
        lines.append(("functions", _listed(list(summary.functions))))
    for title, weights in (("weights", True), ("activations", False)):
        lines.append((title, _quantizers([q for q in summary.quantizers if q.weights is weights])))
    lines.append(("MACs", _macs(cost)))
    if card is not None and card.claim is not None:
        lines.append((card.claim.metric, _claim(card)))
    lines += [("obstacle", f"{o.target}: {o.problem} ({o.remedy})") for o in found]
    lines.append(("more", "anybit check, anybit cost --by layer, anybit convert --dry-run, anybit report"))
    say(model, *(f"{label:{_LABEL}}{text}" for label, text in lines))


def _cost(source: Any, ranges: Any) -> Cost | None:
    """What the model costs; None where it contradicts itself, which `check` says."""
    from anybit.errors import InvalidModelError, UnsupportedError

    try:
        return anybit.cost(source, input_ranges=ranges)
    except (InvalidModelError, UnsupportedError):
        return None


def _fields(summary: Summary) -> dict[str, Any]:
    import dataclasses

    return {f.name: getattr(summary, f.name) for f in dataclasses.fields(summary)}


def _bytes_on_disk(model: Path) -> int:
    """The size of the file; external data are beside it."""
    return model.stat().st_size if model.is_file() else 0


def _size(summary: Summary, cost: Cost | None, on_disk: int) -> str:
    bits = None if cost is None else cost.dense.weight_bits
    true = "" if bits is None else f"; weights of layers {_bytes(-(-bits // 8))} at their true widths"
    stored = f"{summary.parameters:,} parameters in {_bytes(summary.weight_bytes)}"
    return f"{_bytes(on_disk)} on disk; {stored}{true}"


def _bytes(number: int) -> str:
    return f"{number:,} bytes"


def _origin(summary: Summary) -> str:
    opsets = ", ".join(f"{domain or 'onnx'} {version}" for domain, version in summary.opsets.items())
    return f"{summary.producer}; IR version {summary.ir_version}; opsets {opsets}"


def _tensors(label: str, tensors: tuple[TensorSummary, ...]) -> list[tuple[str, str]]:
    lines = [
        (label, f"{t.name}  {t.type} {t.shape}{' (has a default)' if t.optional else ''}") for t in tensors[:_TENSORS]
    ]
    left = len(tensors) - _TENSORS
    return lines if left < 1 else [*lines, ("", f"and {left} more {label}s, see --json")]


def _operators(summary: Summary) -> str:
    counts = Counter[str]()
    for name, count in summary.operators.items():
        counts[name.rpartition("::")[2]] += count
    return f"{counts.total():,}: {_listed([f'{n} {name}' for name, n in counts.most_common()], _OPERATORS)}"


def _quantizers(kinds: list[QuantizerCount]) -> str:
    if not kinds:
        return "not quantised"
    counts = Counter[str]()
    for kind in kinds:
        counts[kind.number_format] += kind.count
    by = ", ".join(sorted({k.operator for k in kinds}))
    return f"{_listed([f'{n} {name}' for name, n in counts.most_common()])} by {by}"


def _macs(cost: Cost | None) -> str:
    if cost is None:
        return "unknown: the model contradicts itself, see anybit check"
    total = cost.dense.macs
    if total is None:
        known = shortened(cost.macs_expression, _LINE) or "unknown"
        return f"{known}, as shapes are free: give --input-shape NAME=1,3,224,224"
    shares = [f"{f.macs / total:.0%} {f.activation} x {f.weight}" for f in cost.dense.formats] if total else []
    unit = "a run" if cost.samples is None else "a sample" if cost.samples == 1 else f"a run of {cost.samples} samples"
    return f"{total:,} {unit}: {_listed(shares)}" if shares else f"{total:,} {unit}"


def _listed(texts: list[str], most: int = 5) -> str:
    shown = ", ".join(texts[:most]) + (f", and {len(texts) - most} more" if len(texts) > most else "")
    return shortened(shown, _LINE) if len(texts) == 1 else shown


def _card(model: Path) -> Card | None:
    """The card beside the file, if it is that of this file."""
    from anybit.errors import AnybitError
    from anybit.zoo.catalogue import CARD_FILE, read_card

    place = model.parent / CARD_FILE
    if not place.is_file():
        return None
    try:
        card = read_card(place)
    except AnybitError:
        return None  # a file of another tool of this name; the zoo says what is wrong with a card
    return card if card.model.name == model.name and card.model.size in (None, _bytes_on_disk(model)) else None


def _claim(card: Card) -> str:
    claim = card.claim
    if claim is None:
        return ""
    value = f"{claim.value:.2%}" if claim.metric == "accuracy" else f"{claim.value:.6g}"
    samples = "" if claim.samples is None else f" of {claim.samples:,} samples"
    return f"{value}{samples}, as the card {'measured' if claim.verified else 'claims'}"
