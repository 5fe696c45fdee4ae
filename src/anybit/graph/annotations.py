"""Quantisation annotations of a file: number format, layout and sparsity of a tensor, by name in the graph."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

import onnx_ir as ir

from anybit.errors import InvalidModelError
from anybit.number_formats import NumberFormat, parse_number_format

ANNOTATIONS = "quant_parameter_tensor_names"
"""Where onnx-ir keeps the quantisation annotations of a tensor: a dictionary in its `meta`."""
_DATATYPE = "finn_datatype"
_LAYOUT = "tensor_layout"
_SPARSITY = "tensor_sparsity"


def annotated_number_format(value: ir.Value) -> NumberFormat | None:
    """The number format that the file states for a tensor, None if it states none.

    Raises:
        UsageError: The file's text is no number format.
    """
    text = _entries(value).get(_DATATYPE)
    return None if text is None else parse_number_format(text)


def has_number_format(value: ir.Value) -> bool:
    """Whether the file says anything of the number format of a tensor, be it right or wrong."""
    return _DATATYPE in _entries(value)


def annotate_number_format(value: ir.Value, datatype: NumberFormat | None) -> None:
    """States the number format of a tensor, or takes the statement away."""
    _set(value, _DATATYPE, None if datatype is None else str(datatype))


def annotated_layout(value: ir.Value) -> tuple[str, ...] | None:
    """The axes that the file names for a tensor, such as ("N", "C", "H", "W"); None if it names none.

    Raises:
        InvalidModelError: The text is no list of names.
    """
    text = _entries(value).get(_LAYOUT)
    return None if text is None else parse_layout(text, str(value.name))


def parse_layout(text: str, tensor: str) -> tuple[str, ...] | None:
    """The axes that an annotation names; the text is read as data, never evaluated.

    Raises:
        InvalidModelError: The text is no list of names.
    """
    layout = _literal(text, _LAYOUT, tensor)
    if layout is None:
        return None
    if not isinstance(layout, list | tuple) or not all(isinstance(axis, str) for axis in layout):
        raise InvalidModelError(_LAYOUT, node=f"tensor '{tensor}'", got=layout, expected="a list of axis names")
    return tuple(layout)


def has_layout(value: ir.Value) -> bool:
    """Whether the file says anything of the axes of a tensor, be it right or wrong."""
    return _LAYOUT in _entries(value)


def annotate_layout(value: ir.Value, layout: tuple[str, ...] | None) -> None:
    """Names the axes of a tensor, or takes the names away."""
    _set(value, _LAYOUT, None if layout is None else repr(list(layout)))


def annotated_sparsity(value: ir.Value) -> Mapping[str, Any] | None:
    """The sparsity that the file describes for a tensor, None if it describes none.

    Raises:
        InvalidModelError: The text is no dictionary.
    """
    text = _entries(value).get(_SPARSITY)
    return None if text is None else parse_sparsity(text, str(value.name))


def parse_sparsity(text: str, tensor: str) -> Mapping[str, Any] | None:
    """What an annotation says of zeros; the text is read as data, never evaluated.

    Raises:
        InvalidModelError: The text is no dictionary.
    """
    sparsity = _literal(text, _SPARSITY, tensor)
    if sparsity is not None and not isinstance(sparsity, dict):
        raise InvalidModelError(_SPARSITY, node=f"tensor '{tensor}'", got=sparsity, expected="a dictionary")
    return sparsity


def annotate_sparsity(value: ir.Value, sparsity: Mapping[Any, Any] | None) -> None:
    """Describes the sparsity of a tensor, or takes the description away."""
    _set(value, _SPARSITY, None if sparsity is None else repr(dict(sparsity)))


def _entries(value: ir.Value) -> dict[str, str]:
    return value.meta.get(ANNOTATIONS) or {}


def _set(value: ir.Value, key: str, text: str | None) -> None:
    entries = {k: v for k, v in _entries(value).items() if k != key}
    if text is not None:
        entries[key] = text
    value.meta[ANNOTATIONS] = entries


def _literal(text: str, key: str, tensor: str) -> Any:
    """The Python literal that an annotation holds."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise InvalidModelError(key, node=f"tensor '{tensor}'", got=repr(text), expected="a Python literal") from None
