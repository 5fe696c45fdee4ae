"""What the commands of the zoo print: cards, evaluations, what became of a model that was added."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from anybit.cli.terminal.output import FINDINGS, print_json, print_table, say

if TYPE_CHECKING:
    from anybit.evaluation.evaluate import Evaluation
    from anybit.zoo.add import Added
    from anybit.zoo.card import Card
    from anybit.zoo.evaluate import Reproduction

_PERCENT = 100


def plain(card: Card) -> dict[str, Any]:
    """A card as JSON has it, and whether all of its files are pinned."""
    import msgspec

    return msgspec.to_builtins(card) | {"pinned": card.pinned}


def flat(content: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested fields with their whole names, entries of lists by number."""
    fields: list[tuple[str, Any]] = []
    for key, value in content.items():
        match value:
            case dict():
                fields += flat(value, f"{prefix}{key} ")
            case list() | tuple():
                fields += flat({str(i): entry for i, entry in enumerate(value)}, f"{prefix}{key} ")
            case _:
                fields.append((f"{prefix}{key}", value))
    return fields


def row(card: Card) -> Sequence[object]:
    """A card as `anybit zoo list` shows it."""
    cost, claim, formats = card.cost, card.claim, card.quantization
    reaches = "" if claim is None else f"{claim.value * _PERCENT:.2f} %" if claim.metric == "accuracy" else claim.value
    return (
        *(card.name, card.task, card.data_set.name, f"{formats.weights}, {formats.activations}", reaches),
        f"{cost.bit_operations:,}" if cost and cost.bit_operations is not None else "",
        "yes" if card.pinned else "no",
    )


def print_reproduction(found: Reproduction, *, as_json: bool) -> None:
    """Prints what a model reached beside what its card claims; exit code 1 if that is not the same."""
    import msgspec

    if as_json:
        claim = None if found.claim is None else msgspec.to_builtins(found.claim)
        print_json({"evaluation": found.evaluation, "claim": claim, "agrees": found.agrees})
    else:
        print_evaluation(found.evaluation)
        if found.claim is not None:
            correct = "" if found.claim.correct is None else f", {found.claim.correct:,} of {found.claim.samples:,}"
            verdict = "which it reaches" if found.agrees else "which it does not reach"
            say(f"claimed: {found.claim.value:.6g}{correct}: {verdict}")
    if not found.agrees:
        raise typer.Exit(FINDINGS)


def print_evaluation(found: Evaluation) -> None:
    """Prints how right a model is."""
    kind = found.metric if isinstance(found.metric, str) else found.metric.value
    columns = ("samples", kind, "correct", f"in top {found.top}", "samples/s", "batch", "runs at once")
    row = (found.samples, found.score, found.correct, found.correct_in_top, round(found.throughput))
    print_table("Over the data set", columns, [(*row, found.batch_size, found.workers)])


def print_added(added: Added, folder: Path, *, as_json: bool) -> None:
    """Prints what the checks found, and where the model is now."""
    if as_json:
        card = None if added.card is None else plain(added.card)
        print_json({"card": card, "findings": added.findings, "refusals": added.refusals})
        return
    say(*added.findings, *added.refusals)
    if added.card is None or added.evaluation is None:
        say("nothing was written")
        return
    print_evaluation(added.evaluation)
    say(f"written to {folder / added.card.name}")
