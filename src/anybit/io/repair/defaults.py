"""Initializers that are listed as inputs: defaults that a caller may override, or weights that an exporter listed too.

From version 4 of the format on, an initializer of an input's name is its default. Before, every initializer had to be
listed, and is a constant. Exporters that kept the habit list their weights still, and mean constants; a file does not
say which it is. It is taken for a habit where every initializer is listed, two or more of them; of a file of PyTorch,
whose exporters write no defaults, also where the others have names that it gives to constants it makes itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import onnx_ir as ir

from anybit.errors import InvalidModelError
from anybit.graph.constants import has_default
from anybit.graph.walk import inner_graphs

_FIRST_DEFAULTS = 4  # version of the format from which on initializers need not be inputs
_PYTORCH = "pytorch"
_MADE_BY_PYTORCH = re.compile(r"(.*/)?Constant(_\d+)?_output_\d+|.*::\w+_\d+|\d+")
OVERRIDABLE = "anybit/overridable"
"""Key of a model's metadata that says: initializers listed as inputs are defaults. Fewer of them may be left later."""


def read_defaults(model: ir.Model, record: Callable[[str, str], None], *, overridable: bool | None) -> None:
    """Makes constants of initializers listed as inputs that are no defaults, in place.

    Args:
        model: Any model.
        record: Notes what was repaired.
        overridable: Whether they are defaults; None decides by the rule of this module.

    Raises:
        InvalidModelError: A default does not fit its input.
    """
    _drop_shadowed(model, record)
    graph = model.graph
    listed = [v for v in graph.inputs if has_default(v)]
    old = model.ir_version < _FIRST_DEFAULTS
    model.ir_version = max(model.ir_version, _FIRST_DEFAULTS)
    if overridable is None:
        overridable = not old and (OVERRIDABLE in model.metadata_props or not _is_habit(model, listed))
    if listed and overridable:
        model.metadata_props[OVERRIDABLE] = "true"
        for value in listed:
            _check(value)
        return
    model.metadata_props.pop(OVERRIDABLE, None)
    if listed:
        kept = [v for v in graph.inputs if not has_default(v)]
        graph.inputs.clear()
        graph.inputs.extend(kept)
        hint = "" if old else " (load with overridable=True keeps them inputs)"
        record("initializer-inputs", f"{len(listed)} initializers listed as graph inputs: made constants{hint}")


def _is_habit(model: ir.Model, listed: list[ir.Value]) -> bool:
    others = [name for name, value in model.graph.initializers.items() if not value.is_graph_input()]
    if model.producer_name == _PYTORCH:
        return all(_MADE_BY_PYTORCH.fullmatch(name) for name in others)
    return not others and len(listed) > 1


def _check(value: ir.Value) -> None:
    """Refuses a default of another type or shape than its input; states the type where the file does not."""
    tensor = value.const_value
    if tensor is None:
        return
    if value.type is None:
        value.type = ir.TensorType(tensor.dtype)
    stated, actual = value.shape, tensor.shape.numpy()
    pairs = () if stated is None else zip(stated, actual, strict=False)
    fits = stated is None or len(stated) == len(actual)
    if value.dtype != tensor.dtype or not fits or any(isinstance(d, int) and d != a for d, a in pairs):
        raise InvalidModelError(
            "the default does not fit its input",
            node=f"input '{value.name}'",
            got=f"{tensor.dtype} {list(actual)}",
            expected=f"{value.dtype} {'of any shape' if stated is None else stated}",
        )


def _drop_shadowed(model: ir.Model, record: Callable[[str, str], None]) -> None:
    """Drops initializers of subgraphs that are inputs too: the operator feeds these each time."""
    for root in (model.graph, *(f.graph for f in model.functions.values())):
        for graph in inner_graphs(root):
            for value in [v for v in graph.inputs if has_default(v)]:
                del graph.initializers[str(value.name)]
                value.const_value = None
                record("fed-initializer", "initializers of subgraphs that are always fed: dropped")
