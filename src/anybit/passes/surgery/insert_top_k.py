"""InsertTopK: the indices of the largest elements as the model's output."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.cleanup.infer_shapes import InferShapes
from anybit.errors import InvalidModelError, UsageError
from anybit.graph.constants import new_initializer
from anybit.graph.names import Names, unknown_tensor
from anybit.graph.walk import shape_of

_K_IS_AN_INPUT = 10  # since this opset
_HAS_ORDER = 11  # ... and the attributes largest and sorted since this one


@dataclass(frozen=True)
class InsertTopK(ir.passes.InPlacePass):
    """Ends the model with a TopK: its output becomes the int64 indices of the `k` largest elements.

    Before: ``y = Gemm(h, w)``, output ``float[N,10] y``; after ``InsertTopK(1)``:
    ``_, y_indices = TopK(y, 1)``, output ``int64[N,1] y_indices``. The tensor ``y`` keeps its name and its other uses.

    Attributes:
        k: How many elements.
        axis: Along which axis.
        largest: The largest ones, or the smallest.
        sorted: In falling (or rising) order.
        output: Which graph output; may be left out where there is one only.
        values: Keep the elements too, as the output ``y_values`` before the indices.
    """

    k: int = 1
    axis: int = -1
    largest: bool = True
    sorted: bool = True
    output: str | None = None
    values: bool = False

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Applies the pass.

        Raises:
            UsageError: An option makes no sense for any model, or no output has the name.
            InvalidModelError: The output has no such axis, or fewer than `k` elements along it.
        """
        if self.k < 1:
            raise UsageError("k", got=self.k, expected="a positive number")
        value = self._output(model.graph)
        InferShapes()(model)
        shape = self._shape(value)
        names = Names.of_tensors(model)
        node = self._node(model, value, names)
        for made, suffix, dtype in zip(
            node.outputs, ("values", "indices"), (value.dtype, ir.DataType.INT64), strict=True
        ):
            made.name = names.fresh(f"{value.name}_{suffix}")
            made.type = None if dtype is None else ir.TensorType(dtype)
            made.shape = None if shape is None else shape.copy()
        model.graph.append(node)
        place = model.graph.outputs.index(value)
        model.graph.outputs[place] = node.outputs[1]
        if self.values:
            model.graph.outputs.insert(place, node.outputs[0])
        return ir.passes.PassResult(model, modified=True)

    def _output(self, graph: ir.Graph) -> ir.Value:
        known = {str(v.name): v for v in graph.outputs}
        if self.output is None and len(known) != 1:
            raise UsageError("which output is not stated", got=", ".join(map(repr, known)), expected="output=<name>")
        name = next(iter(known)) if self.output is None else self.output
        if name not in known:
            raise unknown_tensor(name, known)
        return known[name]

    def _shape(self, value: ir.Value) -> ir.Shape | None:
        where = f"output '{value.name}'"
        if value.dtype is not None and not (value.dtype.is_floating_point() or value.dtype.is_integer()):
            raise InvalidModelError("element type", node=where, got=value.dtype.name, expected="numbers")
        sizes = shape_of(value)
        if sizes is None or value.shape is None:
            return None
        if not -len(sizes) <= self.axis < len(sizes):
            raise InvalidModelError("axis", node=where, got=self.axis, expected=f"an axis of {list(sizes)}")
        size = sizes[self.axis]
        if size is not None and self.k > size:
            raise InvalidModelError(
                "k", node=where, got=self.k, expected=f"at most {size}, the size of axis {self.axis}"
            )
        dimensions = list(value.shape)
        dimensions[self.axis] = self.k
        return ir.Shape(dimensions)

    def _node(self, model: ir.Model, value: ir.Value, names: Names) -> ir.Node:
        opset = model.opset_imports.get("", 1)
        attributes: dict[str, int] = {"axis": self.axis}
        if opset >= _HAS_ORDER:
            attributes |= {"largest": int(self.largest), "sorted": int(self.sorted)}
        elif not self.largest:
            raise InvalidModelError(
                "TopK of the smallest", got=f"opset {opset}", expected=f"opset {_HAS_ORDER}", hint="convert the opset"
            )
        name = f"TopK_{value.name}"
        if opset < _K_IS_AN_INPUT:
            return ir.node("TopK", [value], attributes | {"k": self.k}, num_outputs=2, name=name)
        count = new_initializer(model.graph, names.fresh(f"{value.name}_k"), np.array([self.k], np.int64))
        return ir.node("TopK", [value, count], attributes, num_outputs=2, name=name)
