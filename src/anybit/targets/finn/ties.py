"""Ties: sums of two tensors that float32 leaves between two levels, since it rounds either summand first.

fl(fl(s * a) + fl(s * b)) is not the same for all a and b of one sum; where a threshold lies between what it may be,
hardware, which adds integers, has to take one level for the sum. It takes that of fl(s * (a + b)).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from anybit.errors import Finding, Severity
from anybit.formats.thresholds.emit import laid
from anybit.formats.thresholds.rows import Ties
from anybit.graph.constants import new_initializer
from anybit.graph.names import Names

_MOST_NAMED = 8  # rows in a message


def warning_of(node: str, ties: Ties) -> Finding:
    """What a user has to know of a quantiser with ties."""
    named = ", ".join(map(str, ties.rows[:_MOST_NAMED])) + (", ..." if len(ties.rows) > _MOST_NAMED else "")
    return Finding(
        rule="ties",
        problem="float32 rounds both summands, so that sums on a rounding boundary take either of two levels; "
        "the thresholds take the level of the exact sum, rounded once",
        node=node,
        got=f"{ties.count} sums, in rows {named} of the thresholds",
        hint="scales that are powers of two are exact",
        severity=Severity.WARNING,
    )


def round_sums_once(model: ir.Model, ties: Iterable[Ties]) -> None:
    """Replaces sums with ties, in place, by fl(unit * round(sum / unit)): the exact sum rounded once."""
    made = {str(o.name): o for node in model.graph for o in node.outputs}
    names = Names.of_tensors(model)
    for tie in {t.total: t for t in ties}.values():
        name, total = tie.total, made[tie.total]
        unit = laid(tie.unit.astype(np.float32), tie.axis, total)
        step = new_initializer(model.graph, names.fresh(f"{name}_unit"), unit)
        current, readers = total, list(total.uses())
        for op_type, others in (("Div", [step]), ("Round", []), ("Mul", [step])):
            node = ir.node(op_type, [current, *others], name=names.fresh(f"{name}_{op_type}"))
            node.outputs[0].name = names.fresh(f"{name}_{op_type}_out")
            node.outputs[0].type, node.outputs[0].shape = total.type, total.shape
            (current.producer() or node).append(node)
            current = node.outputs[0]
        for reader, position in readers:
            reader.replace_input_with(position, current)
