"""extract_submodel: the part of a model between given tensors, as a model of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from anybit.arguments import checked
from anybit.errors import InvalidModelError, UsageError
from anybit.graph.names import unknown_tensor
from anybit.graph.walk import inner_graphs, subgraphs
from anybit.io.checks.model import sound_copy
from anybit.io.load import ModelSource


@dataclass(frozen=True)
class Region:
    """The part of a graph that computes some of its tensors from others.

    Attributes:
        inputs: Tensors that it begins with.
        outputs: Tensors that it computes.
        nodes: Its nodes in the order of the graph.
        initializers: The constants that it reads, in the order of the graph.
    """

    inputs: tuple[ir.Value, ...]
    outputs: tuple[ir.Value, ...]
    nodes: tuple[ir.Node, ...]
    initializers: tuple[ir.Value, ...]


@checked
def extract_submodel(model: ModelSource, *, inputs: Sequence[str], outputs: Sequence[str]) -> ir.Model:
    """A model that computes the tensors `outputs` from the tensors `inputs`; weights are shared, nothing is changed.

    Before: ``a = f(x); b = g(a); y = h(b)``; after ``extract_submodel(model, inputs=["a"], outputs=["b"])``:
    ``b = g(a)``. Annotations, metadata and functions are kept.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``.
        inputs: Names of tensors of the outermost graph, in the order that the new model's inputs get.
        outputs: Names of tensors that depend on nothing but `inputs` and constants.

    Raises:
        UsageError: A name is missing, given twice or not in the model.
        InvalidModelError: The model is broken, an output depends on a graph input that is not listed, or the type of an
            input is not known.
    """
    source = sound_copy(model)
    return submodel(source, find_region(source.graph, inputs=inputs, outputs=outputs))


def submodel(source: ir.Model, region: Region) -> ir.Model:
    """A region of a model whose types and shapes were inferred, as a model; weights are shared, nothing is changed.

    Raises:
        InvalidModelError: The type of an input is not known.
    """
    for value in (*region.inputs, *region.outputs):
        if value.type is None:
            raise InvalidModelError("its type is not known, and an input or output needs one", node=f"'{value.name}'")
    view = ir.GraphView(
        region.inputs,
        region.outputs,
        nodes=region.nodes,
        initializers=region.initializers,
        doc_string=source.graph.doc_string,
        opset_imports=source.graph.opset_imports,
        name=source.graph.name,
        metadata_props=source.graph.metadata_props,
    )
    graph = view.clone()
    for value in graph.inputs:
        if not value.is_initializer():
            value.const_value = None  # an input that was a weight is none any more
    return ir.Model(
        graph,
        ir_version=source.ir_version,
        producer_name=source.producer_name,
        producer_version=source.producer_version,
        domain=source.domain,
        model_version=source.model_version,
        doc_string=source.doc_string,
        functions=tuple(source.functions.values()),
        metadata_props=dict(source.metadata_props),
    )


def find_region(graph: ir.Graph, *, inputs: Sequence[str], outputs: Sequence[str]) -> Region:
    """What computes `outputs` from `inputs`.

    Raises:
        UsageError: A name is missing, given twice or not in the graph.
        InvalidModelError: An output depends on a graph input that is not listed.
    """
    starts, ends = _named(graph, inputs, "inputs"), _named(graph, outputs, "outputs")
    if not ends:
        raise UsageError("no outputs given", expected="one or more names of tensors")
    given = set(starts)
    values: set[ir.Value] = set(starts)
    nodes: set[ir.Node] = set()
    pending = [v for v in ends if v not in values]
    while pending:
        value = pending.pop()
        producer = value.producer()
        if value in values:
            continue
        values.add(value)
        if producer is not None and producer not in nodes:
            nodes.add(producer)
            pending += reads(producer)
    missing = [str(v.name) for v in graph.inputs if v in values and v not in given]
    if missing:
        raise InvalidModelError(
            "the outputs depend on graph inputs that are not listed",
            node=", ".join(map(repr, outputs)),
            got=", ".join(map(repr, missing)),
            hint="list them, or tensors between them and the outputs",
        )
    initializers = tuple(
        v for v in graph.initializers.values() if v in values and (v not in given or v.is_graph_input())
    )
    return Region(tuple(starts), tuple(ends), tuple(n for n in graph if n in nodes), initializers)


def _named(graph: ir.Graph, names: Sequence[str], what: str) -> list[ir.Value]:
    known = {str(v.name): v for v in (*graph.inputs, *graph.initializers.values())}
    known |= {str(o.name): o for node in graph for o in node.outputs if o.name}
    if isinstance(names, str) or len(set(names)) < len(names):
        raise UsageError(what, got=repr(names), expected="a list of names, each once")
    for name in names:
        if name not in known:
            raise unknown_tensor(name, known, (str(o.name) for g in inner_graphs(graph) for n in g for o in n.outputs))
    return [known[name] for name in names]


def reads(node: ir.Node) -> Iterator[ir.Value]:
    """The tensors of the node's own graph that it reads, captures of its subgraphs included."""
    yield from (v for v in node.inputs if v is not None)
    for graph in subgraphs(node):
        inside = {*graph.inputs, *graph.initializers.values(), *(o for n in graph for o in n.outputs)}
        captured = (v for inner in graph for v in reads(inner))
        yield from (v for v in (*captured, *graph.outputs) if v not in inside)
