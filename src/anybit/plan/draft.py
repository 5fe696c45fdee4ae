"""Draft: a plan while it is made, and what is known of the tensors of its model."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.interpreter import Values
from anybit.errors import InvalidModelError, Refusal
from anybit.exact.chain import chain_of
from anybit.exact.numbers import Floats
from anybit.graph.walk import label
from anybit.ops.zero_sign import tensors_of_told_zeros
from anybit.plan.geometry import Layout, layout_of
from anybit.plan.held import Held
from anybit.plan.plan import Int32s, Move, Port, Step, Tensor

BYTE_VALUES = 256
"""Numbers that a byte holds."""


@dataclass
class Draft:
    """The plan so far, as the walk over a model follows integers from quantiser to quantiser.

    Attributes:
        model: Hub model.
        values: Its analysis.
        tensors: Tensors of the plan.
        steps: Steps of the plan.
        held: Tensors of the model that the plan holds.
        inputs: Reals that the plan reads, by tensor of the model.
        outputs: Reals that it makes, likewise.
        refusals: Why nodes are no part of it.
        behind: Tensors that depend on integers by way of nodes that are no part of it.
        clipped: Tensors of more levels than a byte holds, which a Clip alone reads.
        varying: Tensors that depend on an input of the model.
    """

    model: ir.Model
    values: Values
    tensors: list[Tensor] = field(default_factory=list[Tensor])
    steps: list[Step] = field(default_factory=list[Step])
    held: dict[ir.Value, Held] = field(default_factory=dict[ir.Value, Held])
    inputs: dict[ir.Value, Port] = field(default_factory=dict[ir.Value, Port])
    outputs: dict[ir.Value, Port] = field(default_factory=dict[ir.Value, Port])
    refusals: dict[ir.Node, Refusal] = field(default_factory=dict[ir.Node, Refusal])
    behind: set[ir.Value] = field(default_factory=set[ir.Value])
    clipped: set[ir.Value] = field(default_factory=set[ir.Value])
    varying: set[ir.Value] = field(default_factory=set[ir.Value])

    def __post_init__(self) -> None:
        self.opsets = self.model.opset_imports
        self.told = tensors_of_told_zeros(self.model)
        self.varying.update(self.model.graph.inputs)

    def is_integer(self, value: ir.Value) -> bool:
        """Whether the plan holds integers for a tensor of the model."""
        held = self.held.get(value)
        return held is not None and held.tensor >= 0

    def held_or_real(self, value: ir.Value | None) -> Held | Refusal:
        """What the plan holds for a tensor of the model; its own real elements where nothing else is known of it."""
        known = None if value is None else self.held.get(value)
        if known is not None:
            return known
        layout = None if value is None else layout_of(value)
        if value is None or layout is None or value.dtype != ir.DataType.FLOAT:
            return Refusal(problem="a tensor of unknown shape, or not of float32", node=named(value))
        return Held((chain_of(Floats(value)),), -1, layout)

    def keep(self, node: ir.Node, found: Held | Refusal) -> Refusal | None:
        """Makes what was found the only output of a node, or hands the refusal on."""
        if isinstance(found, Refusal):
            return found
        self.held[node.outputs[0]] = found
        return None

    def gathered(self, tensor: int, index: Int32s, name: str) -> int:
        """The tensor of the elements at these indices; the tensor itself where they are all of them, in order."""
        source = self.tensors[tensor]
        if len(index) == source.elements and (index == np.arange(len(index))).all():
            return tensor
        y = self.add(replace(source, name=name, elements=len(index)))
        self.steps.append(Move(tensor, y, index))
        return y

    def relaid(self, held: Held, layout: Layout, node: ir.Node) -> Held | Refusal:
        """The same numbers in another layout."""
        if held.layout.channels_last == layout.channels_last or held.layout.shape[:1] == held.layout.shape:
            return replace(held, layout=layout)
        numbers = np.arange(held.layout.elements)[None]
        index = layout.stored(held.layout.hub(numbers))[0].astype(np.int32)
        tensor = self.gathered(held.tensor, index, self.tensors[held.tensor].name)
        relaid = replace(held, layout=layout, tensor=tensor)
        return relaid if relaid.is_aligned else Refusal(problem="channels along another axis", node=label(node))

    def add(self, tensor: Tensor) -> int:
        """Appends a tensor of the plan, and returns its place among them, by which steps name it."""
        self.tensors.append(tensor)
        return len(self.tensors) - 1


def source_of(held: Held) -> ir.Value:
    """The real tensor that a function starts from."""
    root = held.chains[0].root
    if not isinstance(root, Floats):
        raise InvalidModelError("no real numbers", node="")
    return root.value


def named(value: ir.Value | None) -> str:
    """The tensor as error messages write it; nothing for an input that is left out."""
    return "" if value is None else f"tensor '{value.name}'"
