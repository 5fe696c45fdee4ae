"""Makes onnx know our operators, and contributed ones: its checker and its shape inference then go through them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection
from functools import partial

import numpy as np
import onnx
from onnx.defs import OpSchema
from onnx.shape_inference import InferenceContext

from anybit.graph.attributes import KINDS
from anybit.ops.contributed import DOMAIN as CONTRIBUTED_DOMAIN
from anybit.ops.contributed.schemas import CONTRIBUTED, contributed_schema
from anybit.ops.operator import Attribute, Input, Operator
from anybit.ops.registry import operators

_known: set[tuple[str, str, int]] = set()


def register_schemas(domains: Collection[str] | None = None) -> None:
    """Registers with onnx the schemas of every known operator, and of every contributed one that has a reference here.

    Doing it again adds only what is new. onnx keeps its schemas for the whole process, so this is the one global effect
    that anybit has.

    Args:
        domains: Domains of the operators that matter; None for all.
    """
    for operator in operators():
        if domains is None or operator.domain in domains:
            for name in (operator.name, *operator.aliases):
                _register(name, operator.domain, operator.since, partial(_schema, name, operator))
    if domains is None or CONTRIBUTED_DOMAIN in domains:
        for name in CONTRIBUTED:
            _register(name, CONTRIBUTED_DOMAIN, 1, partial(contributed_schema, name))


def _register(name: str, domain: str, version: int, make: Callable[[], OpSchema]) -> None:
    call = (name, domain, version)
    if call in _known:  # asking onnx for all of them takes longer than the inference of a small model
        return
    if onnx.defs.has(name):
        importlib.import_module("onnx.reference.ops")  # which cannot be loaded once two domains share a name
    if not _is_registered(*call):
        onnx.defs.register_schema(make())
    _known.add(call)


def _is_registered(name: str, domain: str, version: int) -> bool:
    try:
        found = onnx.defs.get_schema(name, version, domain)
    except onnx.defs.SchemaError:
        return False
    return found.since_version == version


def _schema(name: str, operator: Operator) -> OpSchema:
    schema = OpSchema(
        name,
        operator.domain,
        operator.since,
        doc=operator.doc,
        inputs=[_input(formal, f"T{k}") for k, formal in enumerate(operator.inputs)],
        outputs=[_output(name, k) for k, name in enumerate(operator.outputs)],
        type_constraints=[(f"T{k}", list(i.types.value), "") for k, i in enumerate(operator.inputs)],
        attributes=[_attribute(a) for a in operator.attributes],
    )
    schema.set_type_and_shape_inference_function(operator.infer or _like_first_input)
    return schema


def _input(formal: Input, constraint: str) -> OpSchema.FormalParameter:
    options = OpSchema.FormalParameterOption
    option = options.Optional if formal.optional else options.Single
    return OpSchema.FormalParameter(formal.name, constraint, formal.description, param_option=option)


def _output(name: str, place: int) -> OpSchema.FormalParameter:
    options = OpSchema.FormalParameterOption
    text = "" if place else "same type and shape as the first input"
    return OpSchema.FormalParameter(name, "T0", text, param_option=options.Optional if place else options.Single)


def _attribute(attribute: Attribute) -> OpSchema.Attribute:
    kind = KINDS[attribute.kind]
    if attribute.default is None:
        required = getattr(OpSchema.AttrType, kind.type.name)
        return OpSchema.Attribute(attribute.name, required, attribute.description, required=True)
    default = attribute.default
    given = onnx.numpy_helper.from_array(default, attribute.name) if isinstance(default, np.ndarray) else default
    value = onnx.helper.make_attribute(attribute.name, given, attr_type=kind.type.value)  # an empty list tells no type
    return OpSchema.Attribute(attribute.name, value, attribute.description)


def _like_first_input(context: InferenceContext) -> None:
    first: onnx.TypeProto | None = context.get_input_type(0) if context.has_input(0) else None
    if first is not None:
        context.set_output_type(0, first)
