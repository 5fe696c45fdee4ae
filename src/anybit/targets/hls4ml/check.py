"""check_prepared: what stands between a prepared model and hls4ml."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from anybit.arrays import is_power_of_two
from anybit.errors import Finding, Severity
from anybit.graph.constants import constant, fed_inputs
from anybit.graph.walk import label, shape_of
from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from anybit.ops.calls import is_call
from anybit.ops.channels_last.layout import DOMAIN as CHANNELS_LAST
from anybit.ops.operator import DOMAIN
from anybit.ops.quant import QUANT
from anybit.targets.hls4ml.io_type import IoType
from anybit.targets.hls4ml.project.fixed_type import FixedType
from anybit.targets.hls4ml.repairs import split
from anybit.targets.hls4ml.rules import RULES, unknown
from anybit.targets.hls4ml.stream_rules import stream

_DOMAINS = ("", DOMAIN, CHANNELS_LAST)
# Constants and elements of a tensor of the largest nets whose emulation was compared. For that in parallel g++ took 5
# minutes and 6.5 GB; for those in streams, where only a window is unrolled, one minute and 0.9 GB.
_LARGEST = {IoType.PARALLEL: (1_600_000, 60_000), IoType.STREAM: (1_600_000, 71_000)}
# What the values of a tensor, or sums of them, pass on their way to a quantiser.
_PASSING = frozenset("Add Concat Flatten LeakyRelu Max MaxPool Min Relu Reshape Sub Transpose".split())
_MOST_BITS = 100  # from here on hls4ml chooses the precision of an input itself


def check_prepared(model: ir.Model, precision: FixedType, io_type: IoType) -> tuple[Finding, ...]:
    """All findings, in the order of the graph: errors where hls4ml refuses, crashes or computes something else.

    Args:
        model: As `prepare` leaves it.
        precision: The precision that is recommended for it.
        io_type: How tensors are to travel between its layers.
    """
    findings = [*_interface(model.graph), *_size(model.graph, io_type)]
    for node in model.graph:
        rule = RULES.get(node.op_type, unknown) if node.domain in _DOMAINS else unknown
        findings += rule(node, model)
        if io_type is IoType.STREAM:
            findings += stream(node)
        findings += _tensors(node)
        findings += _ties(node)
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


def _is_scaled(value: ir.Value | None) -> bool:
    """Whether a factor that is no power of two is in a tensor, behind the last product or quantiser."""
    waiting, seen = [value], set[ir.Value]()
    while waiting:
        at = waiting.pop()
        maker = None if at is None or at in seen else at.producer()
        if at is None or maker is None or (maker.op_type not in _PASSING and split(maker) is None):
            continue
        seen.add(at)
        known = split(maker)
        if known is not None and maker.op_type in ("Mul", "Div") and not is_power_of_two(np.abs(known[1])).all():
            return True
        waiting += maker.inputs
    return False


def _ties(node: ir.Node) -> Iterator[Finding]:
    """A warning where a scale that is no power of two stands before a quantiser."""
    if not is_call(node, QUANT) or not node.inputs or not _is_scaled(node.inputs[0]):
        return
    yield Finding(
        rule="ties",
        problem="hls4ml multiplies by the rounded factor before it: what lies on a rounding boundary may go either way",
        node=label(node),
        hint="scales that are powers of two are exact",
        severity=Severity.WARNING,
    )
