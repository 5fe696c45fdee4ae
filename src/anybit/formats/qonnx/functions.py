"""embed_functions: a model with the bodies of its operators as model-local functions, for runtimes without anybit."""

from __future__ import annotations

import onnx_ir as ir

from anybit.cleanup.convert_opset import ConvertOpset
from anybit.errors import UnsupportedError
from anybit.graph.editor import Editor
from anybit.graph.walk import all_nodes, label
from anybit.io.functions import (
    HELPER_VERSION,
    INLINING_ERRORS,
    OLDEST_BODY_OPSET,
    body_functions,
    calls,
    embedded,
    inlined,
    obstacles,
)
from anybit.ops.broken import error_of
from anybit.ops.expand import BODY_OPSET
from anybit.ops.operator import DOMAIN, Operator
from anybit.ops.zero_sign import tensors_of_told_zeros

_IR_VERSION = 9  # from here on attributes of functions have defaults


def embed_functions(model: ir.Model) -> None:
    """Adds the body of each operator in use to the model, which stays as it is in memory where this raises.

    Nodes stay what they are; any runtime that inlines functions can run them then, and `load` takes the functions
    away again. A model of an opset below 19, from which on bodies work, is converted to 21. A model-local function
    that has the name of an operator is not ours: it stays, and so does its meaning.

    Args:
        model: Hub model, see `load`.

    Raises:
        UnsupportedError: An operator has no body or no record, one operator would need two bodies (it is called on
            float16 and on other types, or in two versions), a name is taken by another function, the opset cannot be
            converted, or an operator tells -0 from +0 in its results.
        InvalidModelError: A call of an operator has no meaning, or the type of its input is not known.
    """
    operators = _operators(model)
    _cast_integers(model)
    halves = _halves(model)
    opset = model.opset_imports.get("", BODY_OPSET)
    if opset < OLDEST_BODY_OPSET:
        opset = BODY_OPSET
    functions: dict[ir.OperatorIdentifier, ir.Function] = {}
    for key, operator in operators.items():
        functions |= body_functions(operator, key, half=halves.get(key, False), opset=opset)
    for domain, name, _ in (functions.keys() & model.functions.keys()) - embedded(model):
        raise UnsupportedError(
            "another function has the name of one that bodies call", node=f"function {domain}::{name}", hint="rename it"
        )
    if not functions:
        return
    if model.opset_imports.get("", opset) < opset:
        ConvertOpset(opset)(model)
    model.opset_imports.setdefault("", opset)
    model.functions.update(functions)
    for domain in sorted({domain for domain, _, _ in functions} - model.opset_imports.keys()):
        model.opset_imports[domain] = HELPER_VERSION
    model.ir_version = max(model.ir_version, _IR_VERSION)


def _operators(model: ir.Model) -> dict[ir.OperatorIdentifier, Operator]:
    """The operators that are called, in the order of their first calls."""
    found: dict[ir.OperatorIdentifier, Operator] = {}
    known: set[ir.Node] = set()
    for node, operator in calls(model):
        known.add(node)
        if operator.body is None:
            raise UnsupportedError("the operator has no ONNX body", node=label(node))
        if found.setdefault(node.op_identifier(), operator) is not operator:
            raise UnsupportedError(
                "an operator is called in two versions",
                node=label(node),
                hint="give the functions and the graph one version of the domain",
            )
    for graph in (model.graph, *model.functions.values()):
        for node in all_nodes(graph):
            if node.domain == DOMAIN and node not in known and node.op_identifier() not in model.functions:
                raise UnsupportedError("the operator has no ONNX body", node=label(node), got="an unknown operator")
    return found


def _cast_integers(model: ir.Model) -> None:
    """Casts integers that an operator is called on to float64, and its result to float32, which is what it means."""
    with Editor(model, rule="embed functions") as edit:
        for node, _ in list(calls(model)):
            x, y = node.inputs[0], node.outputs[0]
            if x is None or x.dtype is None or not x.dtype.is_integer():
                continue
            before = ir.node("Cast", [x], {"to": ir.DataType.DOUBLE.value})
            before.outputs[0].name = f"{y.name}/double"
            edit.insert(before, before=node)
            node.replace_input_with(0, before.outputs[0])
            after = ir.node("Cast", [y], {"to": ir.DataType.FLOAT.value})
            new = after.outputs[0]
            new.type, new.shape = ir.TensorType(ir.DataType.FLOAT), y.shape
            edit.insert(after, after=node)
            edit.replace(y, new, suffix="levels")
            after.replace_input_with(0, y)
            y.type = ir.TensorType(ir.DataType.DOUBLE)


def _halves(model: ir.Model) -> dict[ir.OperatorIdentifier, bool]:
    """Whether an operator is called on float16."""
    try:
        flat = inlined(model)
    except INLINING_ERRORS as error:
        raise UnsupportedError(
            "a model-local function cannot be inlined", got=" ".join(str(error.__cause__ or error).split())
        ) from error
    halves: dict[ir.OperatorIdentifier, bool] = {}
    told = tensors_of_told_zeros(flat)
    for node, operator in calls(flat):
        teller = told.get(node.outputs[0])
        if teller is not None:
            raise UnsupportedError(
                "runtimes that take bodies apart make other zeros, and a later operator tells -0 from +0",
                node=label(node),
                got=label(teller),
                expected="operators for which both are one number",
            )
        for finding in obstacles(node, operator):
            raise error_of(finding)
        x = node.inputs[0]
        half = x is not None and x.dtype == ir.DataType.FLOAT16
        if halves.setdefault(node.op_identifier(), half) is not half:
            raise UnsupportedError(
                "an operator is called on float16 and on other types",
                node=label(node),
                hint="a model has one function of a name; cast the float16 tensors to float32",
            )
    return halves
