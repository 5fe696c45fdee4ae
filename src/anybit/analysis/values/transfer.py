"""Rule: how an operator's bounds follow from those of its inputs; `NodeContext` is what a rule sees of a node."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.accumulator import Accumulator
from anybit.analysis.values.tensor_values import Shape, TensorValues
from anybit.arrays import Array
from anybit.ops.evaluate import evaluate_node


@dataclass(frozen=True, kw_only=True)
class NodeContext:
    """One node, as its rule sees it.

    Attributes:
        node: The node.
        opsets: Version by domain.
        inputs: What each input can hold; None where an optional one is left out.
        shapes: Shapes of the inputs, None where the rank is not known.
        output_shapes: Shapes of the outputs.
        accumulators: Where a rule states how a product is accumulated, by node.
    """

    node: ir.Node
    opsets: Mapping[str, int]
    inputs: tuple[TensorValues | None, ...]
    shapes: tuple[Shape | None, ...]
    output_shapes: tuple[Shape | None, ...]
    accumulators: dict[ir.Node, Accumulator] = field(default_factory=dict[ir.Node, Accumulator])

    @property
    def opset(self) -> int:
        """Version of the standard domain."""
        return self.opsets[""]

    def evaluate(self, inputs: Sequence[Array | None], *, most: int | None = None) -> tuple[Array, ...]:
        """The node's outputs for known inputs, by its reference.

        Args:
            inputs: None where one is left out.
            most: Elements that an output may have.

        Raises:
            NotFollowed: It has none, or the outputs would be larger than that or than the limits allow.
            EVALUATION_ERRORS: The inputs do not fit the operator.
        """
        arrays = evaluate_node(self.node, inputs, self.opsets, most=most)
        if arrays is None:
            raise NotFollowed("the operator has no reference, or its result is too large")
        return arrays

    def values(self, index: int) -> TensorValues:
        """What an input can hold that must be there.

        Raises:
            NotFollowed: It is not.
        """
        values = self.optional(index)
        if values is None:
            raise NotFollowed(f"input {index} is missing")
        return values

    def optional(self, index: int) -> TensorValues | None:
        """What an input can hold, None where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def constant(self, index: int) -> Array | None:
        """An input that is known, None where it is left out or computed."""
        values = self.optional(index)
        return None if values is None else values.constant

    def required_constant(self, index: int) -> Array:
        """An input that must be known.

        Raises:
            NotFollowed: It is computed from the model's inputs, or left out.
        """
        array = self.constant(index)
        if array is None:
            raise NotFollowed(f"input {index} is not constant")
        return array

    def shape(self, index: int = 0) -> Shape:
        """The shape of an input whose rank must be known.

        Raises:
            NotFollowed: It is not.
        """
        shape = self.shapes[index] if index < len(self.shapes) else None
        if shape is None:
            raise NotFollowed(f"the rank of input {index} is not known")
        return shape

    def attribute(self, name: str, default: Any = None) -> Any:
        """The value of an attribute, `default` where it is left out."""
        attribute = self.node.attributes.get(name)
        if attribute is None:
            return default
        if attribute.is_ref():
            raise NotFollowed(f"attribute '{name}' is a parameter of a function")
        return attribute.value

    def dtype(self, output: int = 0) -> np.dtype[Any]:
        """Element type of an output, float32 where it is not known."""
        dtype = self.node.outputs[output].dtype
        return np.dtype(np.float32) if dtype is None or dtype == ir.DataType.STRING else dtype.numpy()


Rule = Callable[[NodeContext], TensorValues | Sequence[TensorValues]]
"""What each output can hold; one value alone stands for the only output."""

Rules = Mapping[str, Rule]
"""Rules by operator of one domain."""


class NotFollowed(Exception):  # noqa: N818  (not an error of the model: the analysis gives the widest answer)
    """A rule cannot follow this use of its operator; its outputs get the widest sound answer, and the reason."""
