"""tally: what every node of a graph does for one run, its subgraphs included."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import onnx_ir as ir

from anybit.analysis.cost.elements import elements_of, is_move
from anybit.analysis.cost.layer import Layer, Operands, open_layer, read_layer
from anybit.analysis.cost.macs import Uncountable, known_shape
from anybit.analysis.cost.operand import Operand
from anybit.errors import Finding, Severity
from anybit.graph.constants import constant
from anybit.graph.walk import label, subgraphs
from anybit.ops.calls import operator_of
from anybit.ops.evaluate import EVALUATION_ERRORS

_RULE = "cost"


@dataclass
class Tally:
    """All layers; the nodes that compute something else, with the elements that they combine; what is left open."""

    layers: list[Layer] = field(default_factory=list[Layer])
    others: list[tuple[ir.Node, int | None]] = field(default_factory=list[tuple[ir.Node, int | None]])
    findings: list[Finding] = field(default_factory=list[Finding])

    def add(self, other: Tally) -> None:
        """Takes in another one."""
        self.layers += other.layers
        self.others += other.others
        self.findings += other.findings

    @property
    def bit_operations(self) -> int | None:
        """Sum of macs * bits * bits, None where a layer's are not known."""
        known = [p for layer in self.layers for p in layer.products or ()]
        if any(layer.products is None for layer in self.layers):
            return None
        return sum(p.macs * p.formats[0].bits * p.formats[1].bits for p in known)

    def repeated(self, times: int | None) -> Tally:
        """The same work, this many times over; None: a number of times that is not known."""
        others = [(node, _times(elements, times)) for node, elements in self.others]
        return Tally([_repeated(layer, times) for layer in self.layers], others, self.findings)


def tally(graph: ir.Graph, operands: Operands, opsets: Mapping[str, int]) -> Tally:
    """What the nodes of a graph do whose constants are folded."""
    result = Tally()
    for node in graph:
        bodies = [*subgraphs(node)]
        if bodies:
            result.add(_control(node, [tally(b, operands, opsets) for b in bodies]))
            continue
        try:
            result.add(_of_node(node, operands.get(node, ()), opsets))
        except Uncountable as reason:
            result.layers.append(open_layer(node, operands.get(node, ())))
            result.findings.append(_finding(node, str(reason), hint=reason.hint))
    return result


def _of_node(node: ir.Node, operands: Sequence[Operand | None], opsets: Mapping[str, int]) -> Tally:
    layer = read_layer(node, operands)
    if layer is not None:
        return Tally([layer])
    if is_move(node):
        return Tally()
    if node.domain != "" and operator_of(node, dict(opsets)) is None:
        raise Uncountable("what this operator computes is not known")
    return Tally(others=[(node, elements_of(node))])


def _times(count: int | None, times: int | None) -> int | None:
    return None if count is None or times is None else count * times


def _repeated(layer: Layer, times: int | None) -> Layer:
    if times is None or layer.products is None:
        return replace(layer, products=() if layer.products == () else None)
    return replace(
        layer, products=tuple(replace(p, macs=p.macs * times, nonzero=p.nonzero * times) for p in layer.products)
    )


def _control(node: ir.Node, bodies: Sequence[Tally]) -> Tally:
    if node.domain == "" and node.op_type == "If":
        return _branch(node, bodies)
    open_end: list[Finding] = []
    times = None
    try:
        times = _TRIPS[node.op_type](node)
    except (Uncountable, *EVALUATION_ERRORS) as reason:
        problem = str(reason) if isinstance(reason, Uncountable) else "how often its body runs is not known"
        open_end = [_finding(node, problem, hint="what its body multiplies is in no sum")]
    result = Tally()
    for body in bodies:
        result.add(body.repeated(times))
    if any(layer.products is None for layer in result.layers):
        result.findings += open_end
    return result


def _branch(node: ir.Node, bodies: Sequence[Tally]) -> Tally:
    """The branch that is taken, or the dearer one."""
    names = [a.name for a in node.attributes.values() if a.type == ir.AttributeType.GRAPH]
    branches = dict(zip(names, bodies, strict=True))
    condition = constant(node.inputs[0])
    if condition is not None and condition.size == 1:
        return branches["then_branch" if condition.item() else "else_branch"]
    costs = {name: branch.bit_operations for name, branch in branches.items()}
    unknown = [name for name, bits in costs.items() if bits is None]
    dearer = unknown[0] if unknown else max(costs, key=lambda name: costs[name] or 0)
    result = branches[dearer]
    idle = [layer for name, branch in branches.items() if name != dearer for layer in branch.layers]
    if result.layers or idle:
        note = f"what is computed is that of the dearer branch, {dearer}; weights are those of both"
        result.findings.append(_finding(node, note, severity=Severity.WARNING))
    result.layers += [replace(layer, products=(), activations=()) for layer in idle]
    return result


def _loop_trips(node: ir.Node) -> int:
    """M, where nothing ends the loop before."""
    limit, first = (constant(v) for v in (*node.inputs[:2], None, None)[:2])
    body = node.attributes["body"].as_graph()
    if len(node.inputs) > 1 and node.inputs[1] is not None and first is None:
        raise Uncountable("whether the loop starts at all is not known")
    if first is not None and not first.any():
        return 0
    if limit is None:
        raise Uncountable("the number of trips is not constant")
    going_on = body.outputs[0]
    while (producer := going_on.producer()) is not None and producer.op_type == "Identity" and producer.inputs[0]:
        going_on = producer.inputs[0]
    always = constant(going_on)
    if going_on is not body.inputs[1] and (always is None or not always.all()):
        raise Uncountable("the body decides how often it runs")
    return max(int(limit.item()), 0)


def _scan_trips(node: ir.Node) -> int:
    """Size of the axis that is scanned."""
    count = node.attributes["num_scan_inputs"].as_int()
    if len(node.inputs) != len(node.attributes["body"].as_graph().inputs):
        raise Uncountable("a Scan of opset 8 is not followed")
    axis = node.attributes.get_ints("scan_input_axes", (0,))[0]
    return known_shape(node.inputs[len(node.inputs) - count], what="the scanned input")[axis]


_TRIPS: Mapping[str, Callable[[ir.Node], int]] = {"Loop": _loop_trips, "Scan": _scan_trips}


def _finding(node: ir.Node, problem: str, *, hint: str = "", severity: Severity = Severity.ERROR) -> Finding:
    return Finding(rule=_RULE, problem=problem, node=label(node), hint=hint, severity=severity)
