"""check_qonnx: what FINN's own ingestion refuses in a QONNX model, or reads otherwise than it is meant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import onnx_ir as ir

from anybit.errors import Finding, Refusal, Severity
from anybit.exact.integer_layers import PRODUCTS
from anybit.graph.constants import constant
from anybit.graph.walk import all_nodes, label, shape_of
from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from anybit.ops.calls import is_call, operator_of
from anybit.ops.evaluate import known_value
from anybit.ops.quant import QUANT
from anybit.ops.trunc import TRUNC
from anybit.quantizers.quantizer import Quantizer, read_quant
from anybit.rounding import Rounding
from anybit.targets.finn.qonnx_operators import check_operators

_MOST_BITS = 8
_MOVES = frozenset("Flatten Identity MaxPool Reshape Squeeze Transpose Unsqueeze".split())


def check_qonnx(model: ir.Model) -> list[Finding]:
    """What stands in the way of FINN's ingestion of a hub model, and what comes out otherwise."""
    findings = check_operators(model)
    findings += [f for node in all_nodes(model.graph) for f in _of_node(node, model)]
    nodes = list(all_nodes(model.graph))
    if any(is_call(n, BIPOLAR_QUANT) for n in nodes) and not any(is_call(n, QUANT, TRUNC) for n in nodes):
        findings.append(
            Finding(
                rule="bipolar-only",
                problem="FINN's builder skips the conversion of models whose only quantiser is BipolarQuant",
                hint="hand over the dialect, or call its conversion by hand",
            )
        )
    for value in model.graph.inputs:
        shape = shape_of(value)
        if shape is None or None in shape:
            findings.append(
                Finding(
                    rule="dynamic-shape",
                    problem="shape of an input",
                    node=f"input '{value.name}'",
                    got=str(shape),
                    expected="known sizes",
                )
            )
    return findings


def _of_node(node: ir.Node, model: ir.Model) -> Iterator[Finding]:
    if node.domain == "" and node.op_type in PRODUCTS:
        yield from _of_product(node, model)
    biases = node.inputs if node.op_type == "Add" else node.inputs[2:3] if node.op_type == "Conv" else ()
    for bias in biases:
        if bias is not None and constant(bias) is None and known_value(bias, model.opset_imports) is not None:
            yield _finding("bias", node, "a bias that is quantised", got=bias.name, expected="a constant")
    if not is_call(node, QUANT, BIPOLAR_QUANT):
        return
    quantizer = read_quant(node, model)
    if isinstance(quantizer, Refusal):
        yield _finding("parameters", node, quantizer.problem, got=quantizer.got, expected=quantizer.expected)
        return
    yield from _of_quantizer(node, quantizer)
    if known_value(node.inputs[0], model.opset_imports) is None:
        yield from _of_activation(node, quantizer)


def _finding(
    rule: str, node: ir.Node, problem: str, *, got: object = "", expected: str = "", warn: bool = False
) -> Finding:
    return Finding(
        rule=rule,
        problem=problem,
        node=label(node),
        got=str(got),
        expected=expected,
        hint="" if warn else "hand over the dialect, which has no such rule",
        severity=Severity.WARNING if warn else Severity.ERROR,
    )


def _of_quantizer(node: ir.Node, quantizer: Quantizer) -> Iterable[Finding]:
    if quantizer.zero_point.any():
        yield _finding("zero-point", node, "zero point", got=quantizer.zero_point, expected="0")
    if quantizer.rounding is not Rounding.ROUND and not quantizer.is_bipolar:
        yield _finding(
            "rounding",
            node,
            "it is rounded to nearest, whatever the mode",
            got=quantizer.rounding.value,
            expected="ROUND",
        )


def _of_activation(node: ir.Node, quantizer: Quantizer) -> Iterable[Finding]:
    if quantizer.is_bipolar:
        yield from _of_bipolar(node, quantizer)
        return
    grid = quantizer.grid
    if quantizer.scale.size > 1 and np.ptp(quantizer.scale):
        yield _finding("scale", node, "scale of an activation", got=quantizer.scale.shape, expected="one number")
    if grid is None:
        return
    if grid.bits > _MOST_BITS:
        yield _finding("width", node, "bit width of an activation", got=grid.bits, expected=f"at most {_MOST_BITS}")
    before = node.inputs[0].producer() if node.inputs[0] is not None else None
    if before is not None and before.op_type == "Relu":
        if grid.signed or grid.narrow:
            yield _finding("relu", node, "a quantiser behind Relu", got=grid, expected="unsigned and not narrow")
    elif not grid.signed:
        yield _finding("signed", node, "a quantiser that is not behind Relu", got=grid, expected="signed")
    if before is not None and before.op_type in ("Flatten", "Reshape"):
        yield _finding("flatten", node, "a quantiser behind a reshape", got=label(before), expected="in front of it")
    yield _finding(
        "ties", node, "numbers half-way between two levels go up in FINN, and to the even level here", warn=True
    )


def _of_bipolar(node: ir.Node, quantizer: Quantizer) -> Iterable[Finding]:
    if not is_call(node, BIPOLAR_QUANT):
        yield _finding("one-bit", node, "a signed quantiser of one bit", expected="BipolarQuant")
    if (quantizer.scale != 1).any():
        yield _finding("scale", node, "scale of a bipolar activation", got=quantizer.scale, expected="1")


def _of_product(node: ir.Node, model: ir.Model) -> Iterable[Finding]:
    for position, value in enumerate(node.inputs[:2]):
        source = value
        while source is not None and (maker := source.producer()) is not None and maker.op_type in _MOVES:
            source = maker.inputs[0]
        maker = None if source is None else source.producer()
        operator = None if maker is None else operator_of(maker, model.opset_imports)
        if operator is None and not (position == 0 and _comes_from_inputs(value)):
            yield _finding(
                "operand", node, "an operand that no quantiser makes", got="" if value is None else value.name
            )


def _comes_from_inputs(value: ir.Value | None) -> bool:
    """Whether a tensor is real numbers, or stated integers, that no product is in: the host computes those."""
    waiting, seen = [value], set[ir.Value]()
    while waiting:
        at = waiting.pop()
        if at is None or at in seen:
            continue
        seen.add(at)
        maker = at.producer()
        if maker is not None and (maker.op_type in PRODUCTS or maker.domain != ""):
            return False
        waiting += [] if maker is None else maker.inputs
    return True
