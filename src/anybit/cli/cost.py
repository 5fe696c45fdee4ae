"""anybit cost: what a model costs."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

import anybit
from anybit.cli.options.input_ranges import RangeOption, parse_ranges
from anybit.cli.options.input_shapes import ShapeOption, with_shapes
from anybit.cli.terminal.output import FINDINGS, JsonOption, ModelArgument, print_json, print_table, say

if TYPE_CHECKING:
    from anybit.analysis.cost.cost import Cost, Figures, PartCost

_UNKNOWN = "unknown"


class By(enum.Enum):
    """What the figures are broken down by."""

    TOTAL = "total"
    LAYER = "layer"
    OP = "op"


def cost(
    model: ModelArgument,
    by: Annotated[By, typer.Option(help="Break the figures down.")] = By.TOTAL,
    sparsity: Annotated[bool, typer.Option("--sparsity", help="Also without weights that are 0.")] = False,
    accumulation: Annotated[
        bool, typer.Option("--accumulation", help="Count a*w + a + w + log2(terms) bit operations a MAC, not a*w.")
    ] = False,
    input_range: RangeOption = None,
    input_shape: ShapeOption = None,
    json: JsonOption = False,
) -> None:
    """MACs, bit operations, weight and activation bits, by number formats. Exit code 1 if a figure is not known."""
    from anybit.analysis.cost.cost import BitOperations
    from anybit.errors import Severity

    counting = BitOperations.ACCUMULATION if accumulation else BitOperations.PRODUCTS
    result = anybit.cost(
        with_shapes(model, input_shape or ()), counting=counting, input_ranges=parse_ranges(input_range or ())
    )
    if json:
        print_json(_selected(result, by, sparsity=sparsity))
    else:
        _print(str(model), result, by, sparsity=sparsity)
    if any(f.severity is Severity.ERROR for f in result.findings):
        raise typer.Exit(FINDINGS)


def _selected(result: Cost, by: By, *, sparsity: bool) -> dict[str, Any]:
    """What both forms of the output say."""
    selected: dict[str, Any] = {"samples": result.samples, "counting": result.counting}
    selected |= _figures(result, sparsity=sparsity)
    if by is not By.TOTAL:
        name, parts = _parts(result, by)
        selected[name] = [{"name": p.name, "operator": p.operator} | _figures(p, sparsity=sparsity) for p in parts]
    return selected | {
        "others": result.others,
        "macs_expression": result.macs_expression,
        "bit_operations_expression": result.bit_operations_expression,
        "findings": result.findings,
    }


def _parts(result: Cost, by: By) -> tuple[str, tuple[PartCost, ...]]:
    return ("layers", result.layers) if by is By.LAYER else ("operators", result.operators)


def _figures(of: Cost | PartCost, *, sparsity: bool) -> dict[str, Figures]:
    return {"dense": of.dense} | ({"sparse": of.sparse} if sparsity else {})


def _print(title: str, result: Cost, by: By, *, sparsity: bool) -> None:
    kinds = _figures(result, sparsity=sparsity)
    names = ("MACs", "bit operations", "weight bits", "activation bits")
    rows = [(name, *values) for name, *values in zip(names, *map(_row, kinds.values()), strict=True)]
    print_table(f"{title}, {_per(result.samples)}", ("", *kinds), rows)
    if result.macs_expression:
        say(f"MACs = {result.macs_expression}")
    if result.bit_operations_expression:
        say(f"bit operations = {result.bit_operations_expression}")
    print_table("\nNumber formats", _columns(("activation", "weight"), names[:2], kinds), _formats(kinds))
    if by is not By.TOTAL:
        first = ("layer", "operator", "activation x weight") if by is By.LAYER else ("operator",)
        _, parts = _parts(result, by)
        print_table(f"\nBy {by.value}", _columns(first, names, kinds), [_part(p, by, sparsity=sparsity) for p in parts])
    if result.others:
        others = [(o.operator, o.nodes, _cell(o.elements)) for o in result.others]
        print_table("\nNot counted: no multiply-accumulates", ("operator", "nodes", "elements"), others)
    for finding in result.findings:
        say(str(finding))


def _per(samples: int | None) -> str:
    if samples is None:
        return "one run"
    return "one sample" if samples == 1 else f"one run of {samples:,} samples"


def _columns(first: tuple[str, ...], figures: tuple[str, ...], kinds: dict[str, Figures]) -> tuple[str, ...]:
    return (*first, *(name if kind == "dense" else f"{kind} {name}" for kind in kinds for name in figures))


def _formats(kinds: dict[str, Figures]) -> list[tuple[object, ...]]:
    """A row for each pair of formats, with the figures of each kind."""
    by_pair = [{(f.activation, f.weight): (f.macs, f.bit_operations) for f in k.formats} for k in kinds.values()]
    return [(*map(str, pair), *(cell for figures in by_pair for cell in figures[pair])) for pair in by_pair[0]]


def _part(part: PartCost, by: By, *, sparsity: bool) -> tuple[object, ...]:
    formats = ", ".join(f"{f.activation} x {f.weight}" for f in part.dense.formats)
    first = (part.name, part.operator, formats) if by is By.LAYER else (part.operator,)
    return (*first, *(cell for figures in _figures(part, sparsity=sparsity).values() for cell in _row(figures)))


def _row(figures: Figures) -> tuple[int | str, ...]:
    known = (figures.macs, figures.bit_operations, figures.weight_bits, figures.activation_bits)
    return tuple(_cell(n) for n in known)


def _cell(number: int | None) -> int | str:
    return _UNKNOWN if number is None else number
