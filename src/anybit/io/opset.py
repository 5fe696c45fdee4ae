"""convert_opset: a model in another version of the standard operators, node by node, in place.

Names, annotations, metadata, weights, subgraphs and model-local functions stay what they are: only nodes whose
operator changed between the versions are touched (see `anybit.io.opset_adapters`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import onnx
import onnx_ir as ir

from anybit.errors import UnsupportedError, UsageError
from anybit.graph.names import Names, all_values
from anybit.graph.walk import all_nodes, label
from anybit.io.opset_adapters import ADAPTERS, Site
from anybit.io.shapes import infer_shapes
from anybit.ops.standard_schemas import newest_opset, standard_schema

OLDEST_SOURCE = 7  # before it, broadcasting was an attribute and BatchNormalization had other inputs
OLDEST_TARGET = 11  # below it, downwards: axes cannot be negative, and pads and bounds are attributes
NEWEST = 28  # the newest version whose changes the adapters know


def convert_opset(model: ir.Model, version: int) -> ir.Model:
    """A copy of the model at another opset; weights are shared with it.

    Args:
        model: Model to convert; it is not changed.
        version: Version of the standard domain.

    Raises:
        UsageError: There is no such version, or it is too old to convert down to.
        UnsupportedError: A node has no equivalent at this version.
    """
    converted = model.clone()
    infer_shapes(converted, data_propagation=False)
    convert_in_place(converted, version)
    return converted


def convert_in_place(model: ir.Model, version: int) -> None:
    """As `convert_opset`, on a model of known types. Where this raises, the model is half-way: rehearse on a copy."""
    scopes = _scopes(model)
    for imports, _, _ in scopes:
        _check_versions(imports[""], version)
    for imports, graph, constants in scopes:
        _convert(graph, imports[""], version, constants, model)
        imports[""] = version
    for _, graph, _ in scopes:
        for node in _standard_nodes(graph, model):
            _check_node(node, version)
    model.ir_version = max(model.ir_version, _ir_version(version))


def needs_conversion(model: ir.Model, version: int) -> bool:
    """Whether any part of the model states another version."""
    return any(imports[""] != version for imports, _, _ in _scopes(model))


def fits_opset(node: ir.Node, version: int) -> bool:
    """Whether a standard node, its inputs, attributes and types as they are, is one of this version."""
    try:
        _check_node(node, version)
    except UnsupportedError:
        return False
    return True


_Scope = tuple[dict[str, int], ir.Graph | ir.Function, ir.Graph | None]


def _scopes(model: ir.Model) -> list[_Scope]:
    """The outermost graph and the functions: opset imports, nodes, and the graph that takes new constants."""
    scopes: list[_Scope] = [(model.opset_imports, model.graph, model.graph)]
    scopes += [(f.opset_imports, f, None) for f in model.functions.values()]
    return [s for s in scopes if "" in s[0]]


def _check_versions(old: int, new: int) -> None:
    newest = min(NEWEST, newest_opset())
    oldest = OLDEST_SOURCE if new >= old else OLDEST_TARGET
    if not oldest <= new <= newest:
        raise UsageError("opset", got=new, expected=f"{oldest} .. {newest}")
    if not OLDEST_SOURCE <= old <= newest:
        raise UnsupportedError("cannot convert a model of this opset", got=old, expected=f"{OLDEST_SOURCE} .. {newest}")


def _standard_nodes(graph: ir.Graph | ir.Function, model: ir.Model) -> Iterator[ir.Node]:
    for node in list(all_nodes(graph)):
        if node.domain == "" and node.op_identifier() not in model.functions:
            yield node


def _convert(graph: ir.Graph | ir.Function, old: int, new: int, constants: ir.Graph | None, model: ir.Model) -> None:
    upwards = new > old
    names = Names({v.name for v in all_values(graph if isinstance(graph, ir.Graph) else graph.graph) if v.name})
    for version in range(old + 1, new + 1) if upwards else range(old, new, -1):
        for node in _standard_nodes(graph, model):
            up, down = ADAPTERS.get((node.op_type, version), (None, None))
            site = Site(node, constants, names)
            if up is not None and upwards:
                up(site)
            if down is not None and not upwards:
                down(site)
            if not upwards:
                _drop_new_attributes(site, version - 1)


def _drop_new_attributes(site: Site, version: int) -> None:
    """Removes attributes that the older version lacks, where they say what it does anyway."""
    older, newer = (standard_schema(site.node.op_type, v) for v in (version, version + 1))
    if older is None or newer is None or older.since_version == newer.since_version:
        return
    for name in [n for n in site.node.attributes if n not in older.attributes and n in newer.attributes]:
        stated = newer.attributes[name].default_value
        default: Any = onnx.helper.get_attribute_value(stated) if stated.type else None
        default = default.decode() if isinstance(default, bytes) else default
        value = site.attribute(name)
        neutral = all(d == 1 for d in value) if name == "dilations" else value == default
        if neutral:
            site.set_attribute(name, None)


def _check_node(node: ir.Node, version: int) -> None:
    """Raises where the node does not fit the operator of this version."""
    schema = standard_schema(node.op_type, version)
    if schema is None:
        _refuse(node, version, f"there is no operator {node.op_type}")
    while len(node.inputs) > schema.max_input and node.inputs[-1] is None:
        node.resize_inputs(len(node.inputs) - 1)
    if not schema.min_input <= len(node.inputs) <= schema.max_input:
        _refuse(node, version, "number of inputs", len(node.inputs), f"{schema.min_input} .. {schema.max_input}")
    if len(node.outputs) > schema.max_output:
        _refuse(node, version, "number of outputs", len(node.outputs), f"at most {schema.max_output}")
    for name in node.attributes:
        if name not in schema.attributes:
            _refuse(node, version, f"attribute '{name}' does not exist", "", ", ".join(schema.attributes) or "none")
    for name, attribute in schema.attributes.items():
        if attribute.required and name not in node.attributes:
            _refuse(node, version, f"attribute '{name}' is missing")
    _check_values(node, version, node.inputs, schema.inputs)
    _check_values(node, version, node.outputs, schema.outputs)
    _check_same_types(node, version, schema)


def _check_values(node: ir.Node, version: int, values: Sequence[ir.Value | None], formals: Sequence[Any]) -> None:
    for value, formal in zip(values, _aligned(formals, len(values)), strict=True):
        if value is None and formal.option == onnx.defs.OpSchema.FormalParameterOption.Single:
            _refuse(node, version, f"'{formal.name}' is missing")
        if value is not None and not _fits(value, formal):
            _refuse(node, version, f"type of '{formal.name}'", _type_name(value), ", ".join(sorted(formal.types)))


def _check_same_types(node: ir.Node, version: int, schema: onnx.defs.OpSchema) -> None:
    """Raises where tensors differ in type that are of one type in this version."""
    known: dict[str, str] = {}
    for values, formals in ((node.inputs, schema.inputs), (node.outputs, schema.outputs)):
        for value, formal in zip(values, _aligned(formals, len(values)), strict=True):
            name = None if value is None or not formal.is_homogeneous else _type_name(value)
            if name is not None and known.setdefault(formal.type_str, name) != name:
                _refuse(node, version, f"type of '{formal.name}'", name, known[formal.type_str])


def _refuse(node: ir.Node, version: int, problem: str, got: object = "", expected: object = "") -> NoReturn:
    raise UnsupportedError(
        f"cannot convert the opset: {problem} at opset {version}", node=label(node), got=got, expected=expected
    )


def _aligned(formals: Sequence[Any], count: int) -> list[Any]:
    """The formal parameter of each actual one; the last may be repeated."""
    return [formals[min(k, len(formals) - 1)] for k in range(count)]


def _fits(value: ir.Value, formal: Any) -> bool:
    """Whether the type is allowed, where it is known. Inference of onnx-ir takes sequences for tensors."""
    name = _type_name(value)
    return name is None or name in formal.types or not any(t.startswith("tensor(") for t in formal.types)


def _type_name(value: ir.Value) -> str | None:
    if not isinstance(value.type, ir.TensorType):
        return None  # not inferred, or a sequence
    dtype = value.type.dtype
    return f"tensor({ {ir.DataType.FLOAT: 'float', ir.DataType.DOUBLE: 'double'}.get(dtype, dtype.name.lower()) })"


def _ir_version(opset: int) -> int:
    """The file format that came with this opset."""
    return min((row[1] for row in onnx.helper.VERSION_TABLE if row[2] >= opset), default=1)
