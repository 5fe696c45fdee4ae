"""Rules of operators with bodies: If, Loop, Scan and SequenceMap fit the graphs inside them; Constant has one value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import onnx_ir as ir

from anybit.errors import Finding
from anybit.graph.constants import constant
from anybit.graph.walk import label
from anybit.ops.standard.checks.signature import Signature

_ENDLESS = 1 << 40  # runs of a body that take days
_AXES = ("scan_input_axes", "scan_input_directions", "directions", "scan_output_axes", "scan_output_directions")


def body_findings(node: ir.Node, signature: Signature) -> Iterator[Finding]:
    """What of a node does not fit its bodies; nothing of one whose attributes are of another kind than they should."""
    rule = _RULES.get(node.op_type) if node.domain == "" else None
    if rule is None or any(_is_unfit(a, signature) for a in node.attributes.values()):
        return
    if all(name in node.attributes for name, a in signature.attributes.items() if a.required):
        yield from rule(node, signature)


def _is_unfit(attribute: ir.Attr, signature: Signature) -> bool:
    known = signature.attributes.get(attribute.name)
    return attribute.is_ref() or (known is not None and attribute.type.name != known.kind)


def _if(node: ir.Node, _: Signature) -> Iterator[Finding]:
    for name in ("then_branch", "else_branch"):
        branch = node.attributes[name].as_graph()
        yield from _sizes(node, name, branch, 0, len(node.outputs))


def _loop(node: ir.Node, _: Signature) -> Iterator[Finding]:
    carried = max(len(node.inputs) - 2, 0)
    body = node.attributes["body"].as_graph()
    yield from _sizes(node, "body", body, carried + 2, len(node.outputs) + 1)
    yield from _missing(node, range(2, len(node.inputs)))
    if len(node.outputs) < carried:
        yield _count(node, "outputs", len(node.outputs), f"at least {carried}, one for each state")
    if len(body.inputs) > 1 and body.outputs and _has_no_end(node, body):
        expected = "a number of runs, or a condition that changes"
        yield Finding(rule="body", problem="the loop has no end", node=label(node), expected=expected)


def _has_no_end(node: ir.Node, body: ir.Graph) -> bool:
    """Whether nothing limits the runs of a body whose condition is what it was, or always true."""
    if node.inputs and node.inputs[0] is not None:
        trips = constant(node.inputs[0])
        if trips is None or trips.dtype.kind not in "iu" or any(int(n) < _ENDLESS for n in trips.flat[:1]):
            return False
    condition: ir.Value | None = body.outputs[0]
    while condition is not None and (maker := condition.producer()) is not None and maker.op_type == "Identity":
        condition = maker.inputs[0] if maker.inputs else None
    known = constant(condition)
    return condition is body.inputs[1] or (known is not None and bool(np.all(known)))


def _scan(node: ir.Node, signature: Signature) -> Iterator[Finding]:
    body = node.attributes["body"].as_graph()
    scanned = node.attributes["num_scan_inputs"].as_int()
    batched = "directions" in signature.attributes  # version 8, whose first input are lengths
    given = len(node.inputs) - batched
    yield from _sizes(node, "body", body, given, len(node.outputs))
    yield from _missing(node, range(int(batched), len(node.inputs)))
    if not 1 <= scanned <= given:
        yield Finding(
            rule="attribute",
            problem="attribute 'num_scan_inputs'",
            node=label(node),
            got=str(scanned),
            expected=f"1 .. {given}",
        )
        return
    outputs = len(node.outputs) - (given - scanned)
    if outputs < 0:
        yield _count(node, "outputs", len(node.outputs), f"at least {given - scanned}, one for each state")
        return
    for name in (n for n in _AXES if n in node.attributes):
        count, wanted = len(node.attributes[name].as_ints()), outputs if "output" in name else scanned
        if count != wanted:
            problem = f"length of attribute '{name}'"
            yield Finding(rule="attribute", problem=problem, node=label(node), got=str(count), expected=str(wanted))


def _sequence_map(node: ir.Node, _: Signature) -> Iterator[Finding]:
    body = node.attributes["body"].as_graph()
    yield from _sizes(node, "body", body, len(node.inputs), len(node.outputs))
    yield from _missing(node, range(len(node.inputs)))


def _constant(node: ir.Node, _: Signature) -> Iterator[Finding]:
    if len(node.attributes) != 1:
        yield Finding(
            rule="attribute",
            problem="number of values of a constant",
            node=label(node),
            got=str(len(node.attributes)),
            expected="1",
        )


def _sizes(node: ir.Node, name: str, body: ir.Graph, inputs: int, outputs: int) -> Iterator[Finding]:
    for what, got, expected in (("inputs", len(body.inputs), inputs), ("outputs", len(body.outputs), outputs)):
        if got != expected:
            yield _count(node, f"{what} of '{name}'", got, str(expected))


def _missing(node: ir.Node, positions: range) -> Iterator[Finding]:
    for position in positions:
        if node.inputs[position] is None:
            yield Finding(rule="inputs", problem=f"input {position} is missing", node=label(node))


def _count(node: ir.Node, what: str, got: int, expected: str) -> Finding:
    return Finding(rule="body", problem=f"number of {what}", node=label(node), got=str(got), expected=expected)


_RULES: Mapping[str, Callable[[ir.Node, Signature], Iterator[Finding]]] = {
    "Constant": _constant,
    "If": _if,
    "Loop": _loop,
    "Scan": _scan,
    "SequenceMap": _sequence_map,
}
