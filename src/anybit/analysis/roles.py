"""roles_of: what each tensor is in its model: fed, stored, computed from what is stored, or from what is fed."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping

import onnx_ir as ir

from anybit.graph.walk import reads, subgraphs
from anybit.ops.traits import NO_TRAITS, STANDARD


class Role(enum.Enum):
    """What a tensor is in its model."""

    INPUT = "input"
    OUTPUT = "output"
    INITIALIZER = "initializer"
    CONSTANT = "constant"
    """Computed from initializers alone, as weights behind their quantiser are."""
    SHAPE = "shape"
    """Computed from shapes, and from initializers."""
    ACTIVATION = "activation"

    @property
    def depends_on_data(self) -> bool:
        """Whether other values of the inputs make other values of the tensor."""
        return self in (Role.INPUT, Role.OUTPUT, Role.ACTIVATION)


def roles_of(model: ir.Model) -> Mapping[ir.Value, Role]:
    """Every tensor in the order of the graph, those of subgraphs included, and what it is."""
    roles: dict[ir.Value, Role] = dict.fromkeys(model.graph.inputs, Role.INPUT)
    for value in _in_order(model.graph):
        if value not in roles:
            roles[value] = Role.INITIALIZER if value.is_initializer() else _role(value, roles)
    outputs = {v for v in model.graph.outputs if not v.is_initializer() and not v.is_graph_input()}
    return {v: Role.OUTPUT if v in outputs else role for v, role in roles.items()}


def _in_order(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    for node in graph:
        yield from (v for v in node.inputs if v is not None and v.is_initializer())
        for body in subgraphs(node):
            yield from _in_order(body)
        yield from node.outputs
    yield from graph.initializers.values()


def _role(value: ir.Value, roles: Mapping[ir.Value, Role]) -> Role:
    node = value.producer()
    if node is None or (node.domain == "" and STANDARD.get(node.op_type, NO_TRAITS).random):
        return Role.ACTIVATION
    if node.domain == "" and node.op_type in ("Shape", "Size"):
        return Role.SHAPE
    read = {roles.get(v, Role.INITIALIZER) for v in reads(node)}  # a subgraph's own initializers come later
    if any(role.depends_on_data for role in read):
        return Role.ACTIVATION
    return Role.SHAPE if Role.SHAPE in read else Role.CONSTANT
