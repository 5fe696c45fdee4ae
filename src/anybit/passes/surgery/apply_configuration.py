"""ApplyConfiguration: attributes of nodes and statements about tensors from JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx_ir as ir

from anybit.errors import UsageError
from anybit.graph.annotations import annotate_layout, annotate_number_format, annotate_sparsity
from anybit.graph.attributes import KINDS, AttributeKind
from anybit.graph.names import all_values, unknown_tensor
from anybit.graph.walk import all_nodes, label
from anybit.number_formats import parse_number_format
from anybit.ops.calls import operator_of
from anybit.passes.surgery.configuration import ANNOTATIONS, DEFAULTS, name_of, read_configuration

_ALL = "all"
_STATEMENTS = ("number_format", "layout", "sparsity")


@dataclass(frozen=True)
class ApplyConfiguration(ir.passes.InPlacePass):
    """Gives nodes the attributes, and tensors the statements, that a configuration names.

    Before: ``y = MVAU(x)`` in the node ``MVAU_0``; after ``ApplyConfiguration({"MVAU_0": {"PE": 4}})``: the same with
    ``PE=4``. `anybit.surgery.configuration` makes such a configuration of a model.

    Attributes:
        nodes: Attributes by name of a node. Beside the nodes, ``"Defaults"`` has ``[value, [operators]]`` by attribute,
            "all" being any operator, and ``"Annotations"`` has number_format, layout and sparsity by name of a tensor.
        file: A JSON file with the same, which is applied first.
    """

    nodes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]], hash=False)
    file: str | None = None

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Applies the pass; where it raises, nothing is changed.

        Raises:
            UsageError: There is no node, tensor or attribute of a name, or a value does not fit.
            InputError: The file cannot be read, or is no configuration.
        """
        read = [read_configuration(Path(self.file))] if self.file is not None else []
        changes = [c for entries in (*read, self.nodes) for c in _changes(model, entries)]
        statements = [s for entries in (*read, self.nodes) for s in _statements(model, entries.get(ANNOTATIONS, {}))]
        modified = bool(statements)
        for node, attribute in changes:
            known = node.attributes.get(attribute.name)
            modified |= known is None or known != attribute
            node.attributes[attribute.name] = attribute
        for value, kind, entry in statements:
            _STATE[kind](value, entry)
        return ir.passes.PassResult(model, modified)


def _changes(model: ir.Model, entries: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[ir.Node, ir.Attr]]:
    by_name = {name_of(n): n for n in all_nodes(model.graph) if n.name or n.outputs}
    for name, pair in entries.get(DEFAULTS, {}).items():
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not isinstance(pair[1], list | tuple):
            raise UsageError("default", node=f"attribute '{name}'", got=pair, expected='[value, ["all"]]')
        value, operators = pair
        chosen = [n for n in by_name.values() if _ALL in operators or n.op_type in operators]
        yield from ((n, _attribute(n, name, value, model)) for n in chosen if _ALL not in operators or _has(n, name))
    for name, attributes in entries.items():
        if name in (DEFAULTS, ANNOTATIONS):
            continue
        if name not in by_name:
            raise UsageError("no such node", got=repr(name), expected="a name of a node, or of its first output")
        if not isinstance(attributes, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError("attributes", node=label(by_name[name]), got=attributes, expected="values by name")
        yield from ((by_name[name], _attribute(by_name[name], a, v, model)) for a, v in attributes.items())


def _has(node: ir.Node, name: str) -> bool:
    return name in node.attributes


def _attribute(node: ir.Node, name: str, value: Any, model: ir.Model) -> ir.Attr:
    """The attribute, of the kind that the operator or the node says, else of that of the value."""
    operator, known = operator_of(node, model.opset_imports), node.attributes.get(name)
    formal = {} if operator is None else {a.name: KINDS[a.kind] for a in operator.attributes}
    if operator is not None and name not in formal:
        raise UsageError(f"attribute '{name}'", node=label(node), expected=", ".join(formal) or "no attributes")
    wanted = formal[name].type if formal else None if known is None else known.type
    made = _of_value(name, value, wanted)
    if made is None or (wanted is not None and made.type != wanted):
        expected = "a number, a text or a list of them" if wanted is None else wanted.name
        raise UsageError(f"attribute '{name}'", node=label(node), got=value, expected=expected)
    return made


def _of_value(name: str, value: Any, wanted: ir.AttributeType | None) -> ir.Attr | None:
    items = list(value) if isinstance(value, list | tuple) else [value]
    kinds = {type(i) for i in items}
    is_list = isinstance(value, list | tuple)
    floating = kinds == {float} or (
        kinds <= {int, float} and wanted in (ir.AttributeType.FLOAT, ir.AttributeType.FLOATS)
    )
    if is_list and not items and wanted is not None and any(k.item and k.type == wanted for k in KINDS.values()):
        return ir.Attr(name, wanted, ())
    if kinds in ({int}, {bool}):
        kind = (
            KINDS[tuple[float, ...] if floating else tuple[int, ...]] if is_list else KINDS[float if floating else int]
        )
    elif kinds == {str}:
        kind = KINDS[tuple[str, ...]] if is_list else KINDS[str]
    elif floating:
        kind = KINDS[tuple[float, ...]] if is_list else KINDS[float]
    else:
        return None
    return _made(name, items, kind)


def _made(name: str, items: list[Any], kind: AttributeKind) -> ir.Attr:
    convert = kind.item or type(kind.empty)
    values = [convert(i) for i in items]
    return ir.Attr(name, kind.type, tuple(values) if kind.item is not None else values[0])


def _statements(model: ir.Model, entries: Mapping[str, Any]) -> Iterator[tuple[ir.Value, str, Any]]:
    known = {str(v.name): v for v in all_values(model.graph) if v.name}
    for name, said in entries.items():
        if name not in known:
            raise unknown_tensor(name, known)
        if not isinstance(said, Mapping) or not set(said) <= set(_STATEMENTS):
            raise UsageError("statements", node=f"tensor '{name}'", got=said, expected=", ".join(_STATEMENTS))
        yield from ((known[name], kind, _READ[kind](name, entry)) for kind, entry in said.items())


def _number_format(name: str, entry: Any) -> Any:
    if not isinstance(entry, str):
        raise UsageError("number_format", node=f"tensor '{name}'", got=entry, expected="such as INT4")
    return parse_number_format(entry)


def _layout(name: str, entry: Any) -> Any:
    if not isinstance(entry, list | tuple) or not all(isinstance(a, str) for a in entry):
        raise UsageError("layout", node=f"tensor '{name}'", got=entry, expected="one name an axis")
    return tuple(entry)


def _sparsity(name: str, entry: Any) -> Any:
    if not isinstance(entry, Mapping):
        raise UsageError("sparsity", node=f"tensor '{name}'", got=entry, expected="values by name, or indices by axis")
    axes = all(k.lstrip("-").isdecimal() and isinstance(v, list) for k, v in entry.items())
    return {int(k): set(v) for k, v in entry.items()} if axes else dict(entry)


_READ = {"number_format": _number_format, "layout": _layout, "sparsity": _sparsity}
_STATE = {"number_format": annotate_number_format, "layout": annotate_layout, "sparsity": annotate_sparsity}
