"""apply: passes one after the other, on a copy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import onnx_ir as ir

from anybit.arguments import checked
from anybit.errors import Finding
from anybit.graph.editor import EditResult
from anybit.graph.walk import all_nodes
from anybit.io.checks.model import sound_copy
from anybit.io.load import ModelSource
from anybit.passes.catalog import parse_pass
from anybit.records import Record

Pass = Callable[[ir.Model], ir.passes.PassResult]


@dataclass(frozen=True)
class AppliedPass:
    """What one pass did.

    Attributes:
        name: Name of the pass.
        modified: Whether it changed the model.
        nodes_before: Nodes of the graph and its subgraphs before.
        nodes_after: And after.
        notes: What it had to leave as it was, and why.
    """

    name: str
    modified: bool
    nodes_before: int
    nodes_after: int
    notes: tuple[Finding, ...]


@dataclass(frozen=True)
class Applied(Record):
    """A model after passes, with what each of them did."""

    model: ir.Model = field(repr=False)
    steps: tuple[AppliedPass, ...]


@checked
def apply(model: ModelSource, passes: Iterable[ir.passes.PassBase | str]) -> Applied:
    """Applies passes in order to a copy of the model; if one of them fails, the model is as it was.

    A model in which `check` finds an error is refused, unless that is an operator that is not known: passes leave such
    a node as it is. Types and shapes are those that follow from the inputs.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``.
        passes: Passes of anybit, any other ``onnx_ir`` passes, or texts as the command line takes them, such as
            ``"to-channels-last"`` and ``"fold-constants:keep_quantizers=false"``.

    Raises:
        InvalidModelError: The model is broken, or a pass cannot do what it was asked to.
        UsageError: There is no pass of this name, an option does not fit, or it is no pass at all.
    """
    chosen = [parse_pass(step) if isinstance(step, str) else step for step in passes]
    current = sound_copy(model)
    steps: list[AppliedPass] = []
    count = _count(current)
    for step in chosen:
        before, result = count, step(current)
        current = result.model
        count = _count(current) if result.modified else before
        notes = result.notes if isinstance(result, EditResult) else ()
        steps.append(AppliedPass(type(step).__name__, result.modified, before, count, notes))
    return Applied(current, tuple(steps))


def _count(model: ir.Model) -> int:
    return sum(1 for _ in all_nodes(model.graph))
