"""merge_models: two models as one, outputs of the first feeding inputs of the second."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import onnx_ir as ir

from anybit.arguments import checked
from anybit.errors import InvalidModelError, UsageError
from anybit.graph.annotations import ANNOTATIONS
from anybit.graph.constants import fed_inputs
from anybit.graph.names import Names, all_values, unknown_tensor
from anybit.graph.walk import all_nodes
from anybit.io.checks.model import sound_copy
from anybit.io.load import ModelSource
from anybit.ops.operator import DOMAIN
from anybit.ops.registry import find_operator


@checked
def merge_models(
    first: ModelSource, second: ModelSource, *, connect: Mapping[str, str] | None = None, prefix: str = "second_"
) -> ir.Model:
    """A model that computes the second model on what the first one puts out.

    Before: ``y = f(x)`` and ``z = g(y)``; after: ``z = g(f(x))``. Inputs of the second model that are not connected
    become inputs, outputs of the first that are not connected stay outputs, before those of the second. Where a free
    dimension meets a fixed one, the result computes inputs of that size only.

    Args:
        first: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``; it stays as it is.
        second: The model that computes on what the first one puts out; it stays as it is.
        connect: Inputs of the second model by outputs of the first; by position where left out.
        prefix: What names of the second model begin with where the first model has the same name.

    Raises:
        UsageError: Names, numbers of inputs and outputs, or opsets do not fit.
        InvalidModelError: A model is broken, types or shapes of connected tensors contradict each other, or functions
            of one name differ.
    """
    merged, other = sound_copy(first), sound_copy(second)
    seams = _seams(merged.graph, other.graph, connect)
    require_same_opsets(merged, other)
    add_functions(merged, other)
    for made, wanted in seams:
        check_seam(made, wanted)
    replaced = {wanted: made for made, wanted in seams}
    for made, wanted in seams:
        entries = {**(wanted.meta.get(ANNOTATIONS) or {}), **(made.meta.get(ANNOTATIONS) or {})}
        if entries:
            made.meta[ANNOTATIONS] = entries
    inputs = [v for v in other.graph.inputs if v not in replaced]
    outputs = move_nodes(merged.graph, other.graph, replaced, prefix)
    connected = set(replaced.values())
    kept = [v for v in merged.graph.outputs if v not in connected]
    merged.graph.inputs.extend(inputs)
    merged.graph.outputs.clear()
    merged.graph.outputs.extend([*kept, *outputs])
    merged.ir_version = max(merged.ir_version, other.ir_version)
    for key, text in other.metadata_props.items():
        known = merged.metadata_props.setdefault(key, text)
        if known != text:
            merged.metadata_props.setdefault(prefix + key, text)
    return merged


def _seams(first: ir.Graph, second: ir.Graph, connect: Mapping[str, str] | None) -> list[tuple[ir.Value, ir.Value]]:
    outputs, inputs = ({str(v.name): v for v in values} for values in (first.outputs, second.inputs))
    if connect is None:
        if len(outputs) != len(inputs):  # those that have a default need not be connected
            inputs = {str(v.name): v for v in fed_inputs(second)}
        if len(outputs) != len(inputs):
            got = f"{len(outputs)} outputs, {len(inputs)} inputs"
            raise UsageError("models of different width", got=got, expected="a mapping of outputs to inputs")
        connect = dict(zip(outputs, inputs, strict=True))
    if not connect or len(set(connect.values())) < len(connect):
        raise UsageError("connect", got=dict(connect), expected="one or more outputs, each to an input of its own")
    for name, known in ((n, k) for pair in connect.items() for n, k in zip(pair, (outputs, inputs), strict=True)):
        if name not in known:
            raise unknown_tensor(name, known)
    return [(outputs[made], inputs[wanted]) for made, wanted in connect.items()]


def require_same_opsets(first: ir.Model, second: ir.Model) -> None:
    """Raises where an operator of the second model means something else in the first; its imports are added.

    Domains that one of the models does not use, and our own operators that are the same in both versions, do not count.

    Raises:
        UsageError: Versions of a domain that both use differ.
    """
    used = {node.domain for node in all_nodes(first.graph)}
    for domain, version in second.opset_imports.items():
        known = first.opset_imports.get(domain, version)
        nodes = [n for n in all_nodes(second.graph) if n.domain == domain]
        if known != version and domain in used and not all(_is_same(n, known, version) for n in nodes):
            name = domain or "the standard operators"
            hint = "convert one of the models to the opset of the other" if domain == "" else ""
            raise UsageError(f"versions of {name}", got=f"{known} and {version}", expected="the same", hint=hint)
        first.opset_imports[domain] = known if domain in used or not nodes else version


def _is_same(node: ir.Node, one: int, other: int) -> bool:
    return node.domain == DOMAIN and find_operator(DOMAIN, node.op_type, one) is find_operator(
        DOMAIN, node.op_type, other
    )


def add_functions(first: ir.Model, second: ir.Model) -> None:
    """Adds the functions of the second model to the first; raises where one of the same name differs."""
    for identifier, function in second.functions.items():
        known = first.functions.get(identifier)
        if known is not None and _text(known) != _text(function):
            name = "::".join(part for part in identifier if part)
            raise InvalidModelError("two functions have this name", node=name, hint="rename one, or inline it")
    for identifier, function in second.functions.items():
        first.functions.setdefault(identifier, function)


def _text(function: ir.Function) -> bytes:
    return ir.to_proto(function).SerializeToString(deterministic=True)


def check_seam(made: ir.Value, wanted: ir.Value) -> None:
    """Raises where a tensor cannot stand for another one, whatever its free dimensions are."""
    where = f"'{made.name}' for '{wanted.name}'"
    if made.dtype is not None and wanted.dtype is not None and made.dtype != wanted.dtype:
        raise InvalidModelError("element type", node=where, got=made.dtype.name, expected=wanted.dtype.name)
    if made.shape is None or wanted.shape is None:
        return
    got, expected = (str([d if isinstance(d, int) else str(d) for d in v.shape or ()]) for v in (made, wanted))
    pairs = list(zip(made.shape, wanted.shape, strict=False))
    apart = any(isinstance(a, int) and isinstance(b, int) and a != b for a, b in pairs)
    if len(made.shape) != len(wanted.shape) or apart:
        raise InvalidModelError("shape", node=where, got=got, expected=expected)


def move_nodes(graph: ir.Graph, other: ir.Graph, replaced: Mapping[ir.Value, ir.Value], prefix: str) -> list[ir.Value]:
    """Moves nodes and initializers of another graph to the end of `graph`.

    Args:
        graph: Where to.
        other: Graph to empty; its remaining inputs and its outputs are released.
        replaced: By input of the other graph, the tensor of `graph` that takes its place.
        prefix: What a moved name that is taken already is made to begin with.

    Returns:
        The tensors that were the outputs of the other graph.
    """
    outputs = [replaced.get(v, v) for v in other.outputs]
    _rename_clashes(graph, other, replaced, prefix)
    other.outputs.clear()
    other.inputs.clear()
    for wanted, made in replaced.items():
        wanted.replace_all_uses_with(made)
    for name in list(other.initializers):
        value = other.initializers.pop(name)
        if value not in replaced:  # a default that is fed now
            graph.register_initializer(value)
    nodes = list(other)
    other.remove(nodes)
    graph.extend(nodes)
    return outputs


def _rename_clashes(graph: ir.Graph, other: ir.Graph, replaced: Iterable[ir.Value], prefix: str) -> None:
    gone = set(replaced)
    moved = [v for v in all_values(other) if v not in gone and v.name]
    _rename(moved, {v.name for v in all_values(graph) if v.name}, prefix)
    _rename(list(all_nodes(other)), {n.name for n in all_nodes(graph) if n.name}, prefix)


def _rename(things: Sequence[ir.Value] | Sequence[ir.Node], taken: set[str], prefix: str) -> None:
    names = Names(taken | {t.name for t in things if t.name})
    for thing in things:
        if thing.name in taken:
            thing.name = names.fresh(prefix + thing.name)
