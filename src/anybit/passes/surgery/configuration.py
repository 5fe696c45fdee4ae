"""configuration: attributes of nodes and what the file says of tensors, by name, as JSON can hold it."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import onnx_ir as ir

from anybit.arguments import checked
from anybit.errors import InputError
from anybit.graph.annotations import annotated_layout, annotated_number_format, annotated_sparsity
from anybit.graph.attributes import KINDS
from anybit.graph.names import all_values
from anybit.graph.walk import all_nodes
from anybit.io.files.regular import open_regular
from anybit.io.load import ModelSource, load

DEFAULTS, ANNOTATIONS = "Defaults", "Annotations"
"""Keys beside the names of nodes: attributes of all nodes of some operators, and what is said of tensors."""
_PLAIN = frozenset(kind.type for kind in KINDS.values() if kind.type != ir.AttributeType.TENSOR)


@checked
def configuration(
    model: ModelSource, *, attributes: Sequence[str] = ("*",), annotations: bool = True
) -> dict[str, Any]:
    """By name of a node its attributes, and by name of a tensor what the file says of it; `ApplyConfiguration` is back.

    Names of nodes and tensors survive `clean`, but for those that it removes. A node without a name has that of its
    first output. Tensors and graphs among attributes are left out.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``.
        attributes: Names of the attributes, or shell patterns.
        annotations: Also number formats, layouts and sparsity of tensors, under "Annotations".

    Raises:
        ModelFileError: The model cannot be read.
        AnybitError: A statement of the file about a tensor is none.
    """
    read = load(model)
    found: dict[str, Any] = {DEFAULTS: {}}
    for node in all_nodes(read.graph):
        chosen = {a.name: _plain(a) for a in node.attributes.values() if _is_wanted(a, attributes)}
        if chosen:
            found[name_of(node)] = chosen
    stated = {str(v.name): said for v in all_values(read.graph) if (said := _said(v))} if annotations else {}
    return found | ({ANNOTATIONS: stated} if stated else {})


def name_of(node: ir.Node) -> str:
    """The name by which a configuration knows a node."""
    return str(node.name or node.outputs[0].name)


def read_configuration(path: Path) -> Mapping[str, Any]:
    """The configuration of a JSON file.

    Raises:
        InputError: The file cannot be read, or holds something else.
    """
    try:
        with open_regular(path) as file:
            return msgspec.json.decode(file.read(), type=dict[str, dict[str, Any]])
    except OSError as error:
        raise InputError("the configuration cannot be read", node=str(path), got=error.strerror or error) from error
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InputError("the file is no configuration", node=str(path), got=error, expected="JSON by names") from error


def _is_wanted(attribute: ir.Attr, patterns: Iterable[str]) -> bool:
    plain = not attribute.is_ref() and attribute.type in _PLAIN
    return plain and any(fnmatch.fnmatchcase(attribute.name, p) for p in patterns)


def _plain(attribute: ir.Attr) -> Any:
    value = attribute.value
    return list(value) if isinstance(value, tuple | list) else value


def _said(value: ir.Value) -> dict[str, Any]:
    number_format, layout, sparsity = annotated_number_format(value), annotated_layout(value), annotated_sparsity(value)
    said = {
        "number_format": None if number_format is None else str(number_format),
        "layout": None if layout is None else list(layout),
        "sparsity": None if not sparsity else {str(k): _listed(v) for k, v in sparsity.items()},
    }
    return {key: entry for key, entry in said.items() if entry is not None}


def _listed(entry: Any) -> Any:
    return sorted(entry) if isinstance(entry, set | frozenset) else entry
