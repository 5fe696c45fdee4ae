"""ReplacementNodes: the standard nodes that are put in the place of a vendor's operator on bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.arrays import Array
from anybit.formats.integer.region import Region
from anybit.formats.ort_contrib.kernels import Scaled
from anybit.graph.editor import Editor

_AXES_AS_INPUT = {"ReduceSum": 13, "ReduceMax": 18}
"""First opset of these operators with their axes as an input."""


@dataclass
class ReplacementNodes:
    """Collects nodes; the last one's output takes the place of the node's.

    Attributes:
        edit: Adds nodes and constants.
        node: What is replaced.
    """

    edit: Editor
    node: ir.Node
    _nodes: list[ir.Node] = field(default_factory=list[ir.Node])
    _bare: list[ir.Value] = field(default_factory=list[ir.Value])

    @property
    def output(self) -> ir.Value:
        """The output of the operator."""
        return self.node.outputs[0]

    @property
    def opset(self) -> int:
        """Version of the standard operators."""
        return self.edit.model.opset_imports.get("", 1)

    def constant(self, name: str, array: npt.ArrayLike) -> ir.Value:
        """A constant, named after the output."""
        return self.edit.constant(f"{self.output.name}/{name}", np.asarray(array))

    def add(
        self,
        op_type: str,
        inputs: list[ir.Value | None],
        name: str,
        dtype: ir.DataType = ir.DataType.FLOAT,
        *,
        like: ir.Value | None = None,
        **attributes: Any,
    ) -> ir.Value:
        """The output of a further node, of the type, and of the shape of `like`."""
        given = {k: ir.convenience.convert_attribute(k, v) for k, v in attributes.items()}
        made = self.edit.node(op_type, inputs, f"{self.output.name}/{name}", like=like, attributes=given)
        made.outputs[0].type = ir.TensorType(dtype)
        self._nodes.append(made)
        return made.outputs[0]

    def real(self, x: Scaled, name: str) -> ir.Value:
        """What bytes stand for."""
        return self._linear("DequantizeLinear", x.value, x, np.asarray(x.scale), name)

    def centred(self, x: Scaled, name: str) -> ir.Value:
        """Bytes without their zero point."""
        self._bare.append(x.value)
        return self._linear("DequantizeLinear", x.value, x, np.ones((), np.float32), name)

    def times(self, x: ir.Value, factor: npt.ArrayLike, name: str) -> ir.Value:
        """A product with a constant."""
        return self.add("Mul", [x, self.constant(f"{name}/factor", np.asarray(factor))], name, like=x)

    def wide(self, x: ir.Value, name: str) -> ir.Value:
        """The number in float64."""
        return self.add("Cast", [x], name, ir.DataType.DOUBLE, like=x, to=ir.DataType.DOUBLE.value)

    def narrow(self, x: ir.Value, name: str) -> ir.Value:
        """The number in float32."""
        return self.add("Cast", [x], name, like=x, to=ir.DataType.FLOAT.value)

    def reduced(self, op_type: str, x: ir.Value, axes: Sequence[int], name: str) -> ir.Value:
        """A reduction that keeps its axes."""
        if self.opset < _AXES_AS_INPUT[op_type]:
            return self.add(op_type, [x], name, axes=list(axes), keepdims=1)
        return self.add(op_type, [x, self.constant(f"{name}/axes", np.array(axes, np.int64))], name, keepdims=1)

    def cut(self, x: ir.Value, spans: dict[int, slice], name: str) -> ir.Value:
        """A Slice along some axes."""
        columns = zip(*((s.start, s.stop, axis, s.step or 1) for axis, s in spans.items()), strict=True)
        keys = ("starts", "ends", "axes", "steps")
        bounds = [self.constant(f"{name}/{k}", np.array(c, np.int64)) for k, c in zip(keys, columns, strict=True)]
        return self.add("Slice", [x, *bounds], name)

    def total(self, parts: Sequence[ir.Value], name: str) -> ir.Value:
        """A sum of tensors, one after the other: each rounds to float32."""
        made = parts[0]
        for k, part in enumerate(parts[1:], 1):
            made = self.add("Add", [made, part], f"{name}/{k}")
        return made

    def quantized(self, x: ir.Value, y: Scaled) -> None:
        """Ends in the bytes of real numbers."""
        self._linear("QuantizeLinear", x, y, np.asarray(y.scale), "bytes")

    def rounded(self, x: ir.Value, y: Scaled) -> None:
        """Ends in the bytes of numbers that are multiples of the scale already."""
        self._bare.append(self._linear("QuantizeLinear", x, y, np.ones((), np.float32), "bytes"))

    def nearest(self, x: ir.Value, y: Scaled) -> None:
        """Ends in the bytes that are nearest to numbers from which the zero point was not taken off."""
        integers = self.add("Round", [x], "integers", like=x)
        zero = self.constant("zero", np.asarray(y.zero))
        self.rounded(self.add("Sub", [integers, zero], "levels", like=x), y)

    def shifted(self, x: ir.Value, y: Scaled) -> None:
        """Ends in the bytes of numbers in steps, to which the zero point is added before they are rounded."""
        self.nearest(self.add("Add", [x, self.constant("shift", np.asarray(y.zero))], "shifted", like=x), y)

    def put(self) -> None:
        """Puts the nodes in the place of the operator."""
        self.edit.replace(self.output, self._nodes)

    def join(self, region: Region) -> None:
        """Takes the bytes that have scale 1 here into a region, in which they have it everywhere."""
        for value in self._bare:
            region.grow(value)

    def _linear(self, op_type: str, x: ir.Value, scaled: Scaled, scale: Array, name: str) -> ir.Value:
        inputs = [x, self.constant(f"{name}/scale", scale), self.constant(f"{name}/zero_point", scaled.zero_point)]
        is_last = op_type == "QuantizeLinear"
        dtype = ir.DataType.from_numpy(scaled.zero_point.dtype) if is_last else ir.DataType.FLOAT
        return self.add(op_type, [*inputs], name, dtype, like=self.output if is_last else x)
