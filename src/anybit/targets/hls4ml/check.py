"""check_prepared: what stands between a prepared model and hls4ml."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.interpreter import Values
from anybit.errors import Finding, Severity
from anybit.graph.constants import constant, fed_inputs
from anybit.graph.walk import label, shape_of
from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from anybit.ops.calls import is_call
from anybit.ops.channels_last.layout import DOMAIN as CHANNELS_LAST
from anybit.ops.operator import DOMAIN
from anybit.ops.quant import QUANT
from anybit.quantizers.quantizer import Quantizer, read_quant
from anybit.rounding import Rounding
from anybit.targets.hls4ml.io_type import IoType
from anybit.targets.hls4ml.project.fixed_type import FixedType
from anybit.targets.hls4ml.rules import RULES, unknown
from anybit.targets.hls4ml.stream_rules import stream
from anybit.targets.hls4ml.ties import inexact, paths, risk_of

_DOMAINS = ("", DOMAIN, CHANNELS_LAST)
# Constants and elements of a tensor of the largest nets whose emulation was compared. For that in parallel g++ took 5
# minutes and 6.5 GB; for those in streams, where only a window is unrolled, one minute and 0.9 GB.
_LARGEST = {IoType.PARALLEL: (1_600_000, 60_000), IoType.STREAM: (1_600_000, 71_000)}
_MOST_BITS = 100  # from here on hls4ml chooses the precision of an input itself


def check_prepared(
    model: ir.Model, values: Values, precision: FixedType, io_type: IoType, settled: Collection[ir.Node]
) -> tuple[Finding, ...]:
    """All findings, in the order of the graph: errors where hls4ml refuses, crashes or computes something else.

    Args:
        model: As `prepare` leaves it.
        values: What its tensors can hold.
        precision: The precision that is recommended for it.
        io_type: How tensors are to travel between its layers.
        settled: Quantisers that are right however a sum on their boundaries is rounded.
    """
    findings = [*_interface(model.graph), *_size(model.graph, io_type)]
    for node in model.graph:
        rule = RULES.get(node.op_type, unknown) if node.domain in _DOMAINS else unknown
        findings += rule(node, model)
        if io_type is IoType.STREAM:
            findings += stream(node)
        findings += _tensors(node)
        findings += _zero_levels(node, model, values)
        if node not in settled:
            findings += _ties(node, model, values)
    if precision.width > _MOST_BITS:
        findings.append(
            Finding(
                rule="precision",
                problem="the model needs more bits than hls4ml gives an input",
                got=str(precision),
                expected=f"at most {_MOST_BITS} bits",
                hint="bring constants and scales closer together, or state the ranges of the inputs",
            )
        )
    return tuple(findings)


def _interface(graph: ir.Graph) -> Iterator[Finding]:
    if len(graph.inputs) != 1:
        hint = "make defaults constants with fix-defaults" if len(fed_inputs(graph)) == 1 else ""
        yield Finding(rule="inputs", problem="number of inputs", got=str(len(graph.inputs)), expected="1", hint=hint)
    for value in graph.inputs:
        shape = shape_of(value)
        if shape is None or None in shape or len(shape) < 2 or shape[0] != 1 or value.dtype != ir.DataType.FLOAT:
            got = f"{value.dtype} {None if shape is None else list(shape)}"
            where, expected = f"input '{value.name}'", "float32, static, a batch of 1 first"
            yield Finding(rule="shape", problem="shape or type", node=where, got=got, expected=expected)
    if not graph.outputs:
        yield Finding(rule="output", problem="the model has no outputs", expected="a computed tensor")
    seen: set[ir.Value] = set()
    for value in graph.outputs:
        maker = value.producer()
        if maker is None or constant(value) is not None or value in seen or _quantizes_an_input(maker):
            where, problem = f"output '{value.name}'", "no layer of its own makes it"
            yield Finding(rule="output", problem=problem, node=where, expected="a computed tensor")
        seen.add(value)


def _quantizes_an_input(node: ir.Node) -> bool:
    """Whether hls4ml makes no layer of a node: it gives the input the format of its quantiser."""
    x = node.inputs[0] if is_call(node, QUANT, BIPOLAR_QUANT) else None
    return x is not None and x.is_graph_input()


def _size(graph: ir.Graph, io_type: IoType) -> Iterator[Finding]:
    """A warning where the net is larger than any that hls4ml was seen to compute."""
    constants = sum(v.const_value.size for v in graph.initializers.values() if v.const_value is not None)
    computed = (n for n in graph if any(v is not None and constant(v) is None for v in n.inputs))
    tensors = [shape for n in computed for v in n.outputs if (shape := shape_of(v)) is not None]
    largest = max((math.prod(d or 1 for d in shape) for shape in tensors), default=0)
    most_constants, most_elements = _LARGEST[io_type]
    if constants > most_constants or largest > most_elements:
        yield Finding(
            rule="size",
            problem=f"larger than any net whose emulation was compared in {io_type.option}",
            got=f"{constants:,} constants, tensors of up to {largest:,} elements",
            expected=f"up to {most_constants:,} and {most_elements:,}",
            hint="compare what it makes before you rely on it; io_stream needs less memory of g++ than io_parallel",
            severity=Severity.WARNING,
        )


def _tensors(node: ir.Node) -> Iterator[Finding]:
    for value in node.outputs:
        shape = shape_of(value)
        if value.dtype != ir.DataType.FLOAT or not shape or None in shape or 0 in shape:
            got = f"{value.dtype} {None if shape is None else list(shape)}"
            yield Finding(
                rule="shape",
                problem="shape or type of its output",
                node=label(node),
                got=got,
                expected="float32, static",
            )
    for value in node.inputs:
        array = constant(value)
        if array is not None and array.dtype.kind == "f" and not np.isfinite(array).all():
            yield Finding(rule="constant", problem="a constant is not finite", node=label(node), expected="numbers")


def _zero_levels(node: ir.Node, model: ir.Model, values: Values) -> Iterator[Finding]:
    """A quantiser that makes 0 of all that comes to it, in whose rounding hls4ml's emulation stops."""
    x = node.inputs[0] if is_call(node, QUANT) else None
    quantizer = None if x is None or constant(x) is not None else read_quant(node, model)
    if x is None or not isinstance(quantizer, Quantizer) or quantizer.rounding is not Rounding.ROUND:
        return
    largest = np.maximum(np.abs(values[x].lo), np.abs(values[x].hi)).max(initial=0)
    if largest < quantizer.scale.min(initial=np.inf) / 2:
        yield Finding(
            rule="zero-levels",
            problem="all that it quantises is less than half of its step, and becomes 0",
            node=label(node),
            got=f"up to {largest:g}, step {quantizer.scale.min():g}",
            hint="take the layer out of the network",
        )


def _ties(node: ir.Node, model: ir.Model, values: Values) -> Iterator[Finding]:
    """Of a quantiser behind constants that hls4ml rounds: the sums that could come to another level."""
    if not is_call(node, QUANT, BIPOLAR_QUANT) or not node.inputs or not inexact(node):
        return
    ways = paths(node, model, values)
    risks = [None] if ways is None else [risk_of(way, model) for way in ways]
    known = [r for r in risks if r is not None]
    if len(known) < len(risks):
        if is_call(node, QUANT):
            yield _tie(node, "an input exactly on a rounding boundary may go either way", Severity.WARNING)
        return
    count, total = sum(r.count for r in known), sum(r.total for r in known)
    if count:
        chance = all(r.is_chance for r in known if r.count)
        problem = "sums on a rounding boundary may go either way"
        yield _tie(node, problem, Severity.WARNING if chance else Severity.ERROR, got=f"{count} of {total} sums")


def _tie(node: ir.Node, problem: str, severity: Severity, *, got: str = "") -> Finding:
    return Finding(
        rule="ties",
        problem=f"hls4ml multiplies by the rounded factor before it: {problem}",
        node=label(node),
        got=got,
        hint="scales that are powers of two are exact",
        severity=severity,
    )
