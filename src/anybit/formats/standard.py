"""write_standard: what a format cannot carry, in standard operators that compute the same, so that any runtime runs it.

    Quant(x), FLOOR  ->  Mul(Floor(Clip(Div(x, scale), lo, hi)), scale)

The bodies of the operators take their place, as far as constants decide: no text, no If, no function is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from anybit.cleanup.convert_opset import ConvertOpset
from anybit.errors import AnybitError, Refusal, Severity
from anybit.formats.dialect import Outcome, Substitution
from anybit.formats.stock_runtime.forms import spread_scale
from anybit.graph.constants import constant, is_replaceable, replace_by_constant
from anybit.graph.editor import Editor
from anybit.graph.names import Names
from anybit.graph.walk import all_nodes, label
from anybit.ops.calls import findings_of, operator_of
from anybit.ops.expand import Expander
from anybit.ops.operator import DOMAIN, Operator
from anybit.ops.zero_sign import tensors_of_told_zeros
from anybit.quantizers.quantizer import Quantizer, quant_nodes, read_quant

_OPSET = 15  # of the operators that bodies leave behind (CastLike)
_STANDARD = frozenset(("", "ai.onnx", "ai.onnx.ml"))


def write_standard(model: ir.Model, outcome: Outcome) -> tuple[Outcome, tuple[Substitution, ...]]:
    """Replaces every node of ours that a writer has left, in place.

    Args:
        model: What the writer made.
        outcome: What it refused; standard operators that it left as they are, products in float among them, mean what
            they meant, and are refused no more.

    Returns:
        The refusals that remain, and what was written with standard operators.
    """
    calls = [(n, o) for n in all_nodes(model.graph) if (o := operator_of(n, model.opset_imports)) is not None]
    reason = _raise_opset(model) if calls else None
    expander, names = Expander(model.graph, branches=False), Names.of_tensors(model)
    told = tensors_of_told_zeros(model) if calls else {}
    written: dict[str, Substitution] = {}
    refused: dict[str, Refusal] = {}
    with Editor(model, rule="standard") as edit:
        for node, operator in calls:
            where = label(node)
            made = (
                replace(reason, node=where)
                if reason is not None
                else _expanded(node, operator, expander, model.graph, names, zero_signs=node.outputs[0] in told)
            )
            if isinstance(made, Refusal):
                refused[where] = made
                continue
            for new in made:
                spread_scale(edit, new)
            got = ", ".join(dict.fromkeys(n.op_type for n in made)) or "a constant"
            written[where] = Substitution(problem="written with standard operators", node=where, got=got)
    foreign = {label(n): n for n in all_nodes(model.graph) if n.domain not in _STANDARD}
    for refusal in outcome.refusals:
        where = refusal.node
        if where in foreign:
            refused.setdefault(where, refusal)
        elif where not in written:
            problem = f"left as it is, in standard operators: {refusal.problem}"
            written[where] = Substitution(problem=problem, node=where, got=refusal.got)
    for where, node in foreign.items():
        got = f"{node.domain}::{node.op_type}"
        refused.setdefault(where, Refusal(problem="no standard operators are known for it", node=where, got=got))
    return replace(outcome, refusals=tuple(refused.values())), tuple(written.values())


def widen_bipolar_constants(model: ir.Model) -> tuple[Substitution, ...]:
    """Makes quantisers of one signed bit of constants those of the grid -1 .. 1 of two bits, in place.

    The numbers are the same: x is replaced by what the quantiser makes of it. Element types have two signed bits.
    """
    with Editor(model, rule="standard") as edit:
        found: list[Substitution] = []
        for node in list(all_nodes(model.graph)):
            array = constant(node.inputs[0]) if node.domain == DOMAIN and node.inputs else None
            quantizer = None if array is None else read_quant(node, model)
            if array is None or not isinstance(quantizer, Quantizer) or not quantizer.is_bipolar:
                continue
            real, old = quantizer(array), node.outputs[0]
            plain = Quantizer(quantizer.scale, np.zeros(()), np.zeros(()), np.zeros(())).between(-1, 1)
            if not np.array_equal(plain(real), real):
                continue
            stored = edit.constant(f"{old.name}/weights", real, like=node.inputs[0])
            made = quant_nodes(edit, stored, plain, str(old.name))
            edit.replace(old, made)
            problem = "one signed bit is written as the 2-bit grid -1 .. 1 of equal values"
            found.append(Substitution(problem=problem, node=label(node), got=node.op_type))
    return tuple(found)


def _raise_opset(model: ir.Model) -> Refusal | None:
    """Why the standard operators cannot have the version that bodies need, if they cannot."""
    if model.opset_imports.get("", 1) >= _OPSET:
        return None
    try:
        ConvertOpset(_OPSET)(model)
    except AnybitError as error:
        problem = f"it needs opset {_OPSET}, and another node stands in the way"
        return Refusal(problem=problem, hint=" ".join(str(error).split()))
    return None


def _expanded(
    node: ir.Node, operator: Operator, expander: Expander, graph: ir.Graph, names: Names, *, zero_signs: bool
) -> Sequence[ir.Node] | Refusal:
    """The nodes in the place of a call; none where its value is constant."""
    where = label(node)
    for finding in findings_of(node, operator):
        if finding.severity is Severity.ERROR:
            return Refusal(problem=finding.problem, node=where, got=finding.got, expected=finding.expected)
    try:
        made = expander.expand(node, operator, zero_signs=zero_signs)
    except AnybitError as error:
        told = error.diagnosis
        return Refusal(problem=told.problem, node=where, got=told.got, expected=told.expected)
    (last,) = made[-1:]
    stored = constant(last.inputs[0]) if last.op_type == "Identity" else None
    if stored is None or not is_replaceable(graph, last.outputs[0]):
        return made
    replace_by_constant(graph, last.outputs[0], stored, names)
    return ()
