"""What a file states about its tensors: number format, layout and sparsity.

A statement is an annotation of the file; it changes nothing that the model computes. `anybit.types` gives the formats
that follow from the operators, and `anybit.check` lists statements that contradict a tensor.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir as ir

from anybit.arguments import checked
from anybit.errors import UsageError
from anybit.graph import annotations
from anybit.graph.names import all_values, unknown_tensor
from anybit.io.load import ModelSource, load
from anybit.number_formats import NumberFormat, parse_number_format

__all__ = [
    "layout",
    "number_format",
    "set_layout",
    "set_number_format",
    "set_sparsity",
    "sparsity",
]


@checked
def number_format(model: ModelSource, tensor: str) -> NumberFormat | None:
    """The number format that the file states for a tensor, None if it states none.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``.
        tensor: Name of a tensor of the outermost graph.

    Raises:
        UsageError: There is no such tensor, or the text of the file is no number format.
    """
    return annotations.annotated_number_format(_find(load(model), tensor))


@checked
def set_number_format(model: ModelSource, tensor: str, number_format: NumberFormat | str | None) -> ir.Model:
    """A copy of the model that states the number format of a tensor; None takes the statement away.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``.
        tensor: Name of a tensor of the outermost graph.
        number_format: The format, or its text, such as ``"INT4"``.

    Raises:
        UsageError: There is no such tensor, or the text is no number format.
    """
    stated = parse_number_format(number_format) if isinstance(number_format, str) else number_format
    changed = load(model)
    annotations.annotate_number_format(_find(changed, tensor), stated)
    return changed


@checked
def layout(model: ModelSource, tensor: str) -> tuple[str, ...] | None:
    """The axes that the file names for a tensor, such as ``("N", "C", "H", "W")``; None if it names none.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``.
        tensor: Name of a tensor of the outermost graph.

    Raises:
        InvalidModelError: The text of the file is no list of names.
        UsageError: There is no such tensor.
    """
    return annotations.annotated_layout(_find(load(model), tensor))


@checked
def set_layout(model: ModelSource, tensor: str, axes: Sequence[str] | None) -> ir.Model:
    """A copy of the model that names the axes of a tensor; None takes the names away.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``.
        tensor: Name of a tensor of the outermost graph.
        axes: One name an axis.

    Raises:
        UsageError: There is no such tensor, or the tensor has another number of axes.
    """
    changed = load(model)
    value = _find(changed, tensor)
    if axes is not None and value.shape is not None and len(axes) != value.shape.rank():
        raise UsageError("axes", got=f"{len(axes)} names", expected=f"{value.shape.rank()}, one an axis of '{tensor}'")
    annotations.annotate_layout(value, None if axes is None else tuple(axes))
    return changed


@checked
def sparsity(model: ModelSource, tensor: str) -> Mapping[str, Any] | None:
    """What the file says of the zeros of a tensor, None if it says nothing.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``.
        tensor: Name of a tensor of the outermost graph.

    Raises:
        InvalidModelError: The text of the file is no dictionary.
        UsageError: There is no such tensor.
    """
    return annotations.annotated_sparsity(_find(load(model), tensor))


@checked
def set_sparsity(model: ModelSource, tensor: str, sparsity: Mapping[str | int, Any] | None) -> ir.Model:
    """A copy of the model that describes the zeros of a tensor; None takes the description away.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``.
        tensor: Name of a tensor of the outermost graph.
        sparsity: Names and values, as the tool that reads them expects; the values are Python literals. Masks of
            `anybit.passes.PruneChannels` are sets of indices by axis.

    Raises:
        UsageError: There is no such tensor, or a value is no literal that a file can hold.
    """
    if sparsity is not None:
        _require_literals(sparsity)
    changed = load(model)
    annotations.annotate_sparsity(_find(changed, tensor), sparsity)
    return changed


def _require_literals(sparsity: Mapping[str | int, Any]) -> None:
    text = repr(dict(sparsity))
    try:
        same = ast.literal_eval(text) == dict(sparsity)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        same = False
    if not same:
        raise UsageError("sparsity", got=text, expected="names with numbers, texts, lists or dictionaries of them")


def _find(model: ir.Model, tensor: str) -> ir.Value:
    values = {str(v.name): v for v in all_values(model.graph) if v.name}
    found = values.get(tensor)
    if found is None:
        raise unknown_tensor(tensor, values)
    return found
