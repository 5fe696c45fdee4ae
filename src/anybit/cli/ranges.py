"""anybit ranges: what every tensor can hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anybit
from anybit.cli.options.input_ranges import RangeOption, parse_ranges
from anybit.cli.options.input_shapes import ShapeOption, with_shapes
from anybit.cli.terminal.output import JsonOption, ModelArgument, print_json, print_table

if TYPE_CHECKING:
    from anybit.analysis.ranges import Ranges


def ranges(
    model: ModelArgument,
    input_range: RangeOption = None,
    input_shape: ShapeOption = None,
    json: JsonOption = False,
) -> None:
    """Proven bounds of each tensor, accumulator bit widths, stuck channels."""
    result = anybit.ranges(with_shapes(model, input_shape or ()), input_ranges=parse_ranges(input_range or ()))
    if json:
        print_json(result)
    else:
        _print(result)


def _print(result: Ranges) -> None:
    from anybit.analysis.roles import Role

    shown = [t for t in result.tensors if t.role is not Role.INITIALIZER]
    rows = [
        (
            t.name,
            t.role.value,
            t.format,
            t.lo,
            t.hi,
            None if t.integers is None else f"{t.integers.lo} .. {t.integers.hi}",
            None if t.channels is None else str(max(len(t.channels.lo), len(t.channels.hi))),
            str(t.stuck_channels) if t.stuck_channels else None,
        )
        for t in shown
    ]
    columns = ("tensor", "role", "format", "lowest", "highest", "integers", "channels", "stuck")
    hidden = len(result.tensors) - len(shown)
    print_table(f"{len(shown)} tensors; {hidden} initializers are in --json", columns, rows)
    accumulators = [
        (
            a.node,
            a.terms,
            " x ".join(map(str, a.operands)),
            f"{a.bounds[-1].lo} .. {a.bounds[-1].hi}",
            *(b.bits for b in a.bounds),
            a.bounds[-1].partial_bits,
        )
        for a in result.accumulators
    ]
    if accumulators:
        kinds = tuple(f"bits by {b.bound.value}" for b in result.accumulators[0].bounds)
        columns = ("accumulator", "terms", "operands", "sums", *kinds, "partial sums")
        print_table("\nAccumulators", columns, accumulators)
    if result.unfollowed:
        print_table("\nNot followed", ("node", "reason"), [(u.node, u.reason) for u in result.unfollowed])
