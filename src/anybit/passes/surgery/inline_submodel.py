"""inline_submodel: another model in the place of the part between given tensors."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from anybit.arguments import checked
from anybit.errors import InvalidModelError, UsageError
from anybit.graph.names import Names, all_values
from anybit.graph.walk import all_nodes, subgraphs
from anybit.io.checks.model import sound_copy
from anybit.io.load import ModelSource
from anybit.passes.surgery.extract_submodel import Region, find_region
from anybit.passes.surgery.merge_models import add_functions, check_seam, move_nodes, require_same_opsets


@checked
def inline_submodel(
    model: ModelSource,
    replacement: ModelSource,
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    prefix: str = "inner_",
) -> ir.Model:
    """A model in which `replacement` computes the tensors `outputs` from the tensors `inputs`.

    Before: ``a = f(x); b = g(a); y = h(b)``; after ``inline_submodel(model, r, inputs=["a"], outputs=["b"])``:
    ``a = f(x); b = r(a); y = h(b)``. It undoes `extract_submodel`. Nodes of the old part stay where something else
    reads what they compute. Both models stay as they are.

    Args:
        model: Model to replace a part of: path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``.
        replacement: The model that takes the part's place; its inputs and outputs are matched by position.
        inputs: Names of tensors of the outermost graph.
        outputs: Names of tensors that depend on nothing but `inputs` and constants. They keep their names.
        prefix: What names of the replacement begin with where the model has the same name.

    Raises:
        UsageError: Names, numbers of inputs and outputs, or opsets do not fit.
        InvalidModelError: A model is broken, the part is not bounded by these tensors, types or shapes contradict each
            other, functions of one name differ, or an input depends on an output.
    """
    result, other = sound_copy(model), sound_copy(replacement)
    region = find_region(result.graph, inputs=inputs, outputs=outputs)
    _require_fit(region, other.graph)
    require_same_opsets(result, other)
    add_functions(result, other)
    for outer, inner in zip(region.inputs, other.graph.inputs, strict=True):
        check_seam(outer, inner)
    for outer, inner in zip(region.outputs, other.graph.outputs, strict=True):
        check_seam(inner, outer)
    _replace(result, other.graph, region, prefix)
    try:
        result.graph.sort()
    except ValueError as error:
        raise InvalidModelError(
            "an input depends on an output", node=", ".join(map(repr, inputs)), got=", ".join(map(repr, outputs))
        ) from error
    result.ir_version = max(result.ir_version, other.ir_version)
    return result


def _require_fit(region: Region, other: ir.Graph) -> None:
    pairs = (("inputs", region.inputs, other.inputs), ("outputs", region.outputs, other.outputs))
    for what, outer, inner in pairs:
        if len(outer) != len(inner):
            raise UsageError(f"{what} of the replacement", got=len(inner), expected=f"{len(outer)}, as many as named")
    both = [v for v in region.outputs if v in region.inputs]
    if both:
        raise UsageError("a tensor is input and output", got=repr(both[0].name), expected="nothing to replace there")


def _replace(result: ir.Model, other: ir.Graph, region: Region, prefix: str) -> None:
    graph = result.graph
    made = own_outputs(other)
    _rename_outputs(result, region, other, made, prefix)
    other.outputs.clear()
    for old, new in zip(region.outputs, made, strict=True):
        old.replace_all_uses_with(new, replace_graph_outputs=True)
    _remove_dead(graph, region)
    replaced = dict(zip(other.inputs, region.inputs, strict=True))
    move_nodes(graph, other, replaced | _shared_constants(graph, other), prefix)


def _shared_constants(graph: ir.Graph, other: ir.Graph) -> dict[ir.Value, ir.Value]:
    """Constants that both graphs hold under one name, as after `extract_submodel`: one is enough."""
    shared: dict[ir.Value, ir.Value] = {}
    for name, value in list(other.initializers.items()):
        known = graph.initializers.get(name)
        if known is None or known.is_graph_input() or known.const_value is not value.const_value:
            continue
        if dict(known.meta) != dict(value.meta):
            continue
        shared[value] = known
        del other.initializers[name]
    return shared


def own_outputs(other: ir.Graph) -> list[ir.Value]:
    """The outputs, each made by a node of its own: an output that is an input, a constant or listed twice is copied."""
    seen: set[ir.Value] = set()
    for position, value in enumerate(list(other.outputs)):
        if value.producer() is None or value in seen:
            copy = ir.node("Identity", [value], name=f"Identity_{value.name}")
            copy.outputs[0].type, copy.outputs[0].shape = value.type, value.shape
            copy.outputs[0].meta.update(value.meta)
            other.append(copy)
            other.outputs[position] = copy.outputs[0]
        seen.add(value)
    return list(other.outputs)


def _rename_outputs(result: ir.Model, region: Region, other: ir.Graph, made: Sequence[ir.Value], prefix: str) -> None:
    """Gives the new tensors the names of the old ones, and other names to whatever has these names."""
    names = [str(v.name) for v in region.outputs]
    outer = Names.of_tensors(result)
    for old, name in zip(region.outputs, names, strict=True):
        old.name = outer.fresh(f"{name}_replaced")
    values = list(all_values(other))
    inner = Names({str(v.name) for v in values} | set(names))
    for value in values:
        if value.name in names:
            value.name = inner.fresh(prefix + value.name)
    for new, name in zip(made, names, strict=True):
        new.name = name


def _remove_dead(graph: ir.Graph, region: Region) -> None:
    """Removes the nodes of the old part that nothing reads any more, and the constants that only they read."""
    for node in reversed(region.nodes):
        if any(o.uses() or o.is_graph_output() for o in node.outputs):
            continue
        for inner in (n for g in subgraphs(node) for n in all_nodes(g)):
            for index in range(len(inner.inputs)):
                inner.replace_input_with(index, None)  # onnx-ir leaves the captures of a removed node as uses
        graph.remove(node, safe=True)
    for value in region.initializers:
        if not (value.uses() or value.is_graph_output() or value.is_graph_input()):
            del graph.initializers[str(value.name)]
