"""SetBatch: another batch size, or a free one, where no operator mixes samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.cleanup.fold_shapes import fold_shapes
from anybit.cleanup.independent_samples import plan_batch
from anybit.errors import InvalidModelError, Refusal, UsageError
from anybit.graph.constants import constant, new_initializer
from anybit.graph.names import Names
from anybit.io.shapes import Inference


@dataclass(frozen=True)
class SetBatch(ir.passes.InPlacePass):
    """Makes `batch` the first dimension of all inputs, and repairs the Reshape targets that encode the old one.

    Before: ``float[1,784] x``, ``Reshape(x, [1, -1])``; after ``SetBatch("N")``: ``float[N,784] x``,
    ``Reshape(x, [0, -1])``. It is proven first that samples stay apart (see `anybit.cleanup.independent_samples`).

    Attributes:
        batch: Number of samples, or the name of a dimension that is free.
    """

    batch: int | str = "N"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Applies the pass.

        Raises:
            UsageError: The batch is no positive number and no name.
            InvalidModelError: A node stands in the way; the model means what it meant, with known shapes folded.
        """
        if self.batch == "" or (isinstance(self.batch, int) and self.batch < 1):
            raise UsageError("batch", got=repr(self.batch), expected="a positive number, or a name")
        set_batch(model, self.batch)
        return ir.passes.PassResult(model, modified=True)


def set_batch(model: ir.Model, batch: int | str, inference: Inference | None = None) -> None:
    """Does what `SetBatch` does.

    Args:
        model: The model.
        batch: Number of samples, or the name of a dimension that is free.
        inference: What inference gave of the model as it is, where that is known.

    Raises:
        InvalidModelError: A node stands in the way; the model means what it meant, with known shapes folded.
    """
    fold_shapes(model, inference)
    plan = plan_batch(model)
    if isinstance(plan, Refusal):
        raise InvalidModelError(
            f"the batch cannot be changed: {plan.problem}", node=plan.node, got=plan.got, expected=plan.expected
        )
    names = Names.of_tensors(model)
    for node in plan.reshapes:
        target = constant(node.inputs[1])
        if target is not None:
            free = np.concatenate([[0], target[1:]]).astype(target.dtype)
            node.attributes.pop("allowzero", None)  # no other entry is 0, and this one now copies the batch
            node.replace_input_with(1, new_initializer(model.graph, names.fresh(f"{node.outputs[0].name}_shape"), free))
    for value in plan.batched:
        if value.shape is not None and value.shape.rank():
            value.shape = ir.Shape([batch, *list(value.shape)[1:]])
