"""use_plain_products: integer products in the forms that ONNX Runtime computes, and computes right.

It has one zero point for the first factor and, for the second, one a column in some shapes only; others it refuses
when it runs. Kernels for x86 without VNNI saturate sums of two products of uint8 and int8 at 16 bits; int8 times uint8
they lack, or, in ConvInteger, compute wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.engines.onnxruntime.saturation import saturates
from anybit.errors import UnsupportedError
from anybit.graph.constants import constant, new_initializer
from anybit.graph.names import Names
from anybit.graph.walk import all_nodes, label, shape_of

_FACTORS = {"ConvInteger": (0, 1, 3), "MatMulInteger": (0, 1, 3), "QLinearConv": (0, 3, 5), "QLinearMatMul": (0, 3, 5)}
"""Positions of the factors and of the zero point of the second."""
_HALF = 128  # between the codes of int8 and of uint8 for the same distance from the zero point
_SAFE = 64  # of weights: 2 * 255 * 64 is below 2^15
_BYTES = frozenset((ir.DataType.INT8, ir.DataType.UINT8))
_ROUND_SINCE = 11


def use_plain_products(model: ir.Model) -> None:
    """Rewrites MatMulInteger, ConvInteger, QLinearMatMul and QLinearConv where they need it, exactly, in place.

    ``(A - a) B = A B - a' B``, with a' = a expanded to the shape of A, in 32 bits that wrap around: several zero points
    become a difference of products. A second factor of the other type is moved by 128, and its zero point with it.

    Before: ``MatMulInteger(A, B, a, b)``;
    after: ``Sub(MatMulInteger(A, B, , b), MatMulInteger(Expand(a, Shape(A)), B, , b))``.

    Args:
        model: Model of known types.

    Raises:
        UnsupportedError: A product has no such form.
    """
    nodes = [n for n in all_nodes(model.graph) if n.domain == "" and n.op_type in _FACTORS]
    names = Names.of_tensors(model) if nodes else Names(set())
    for node in nodes:
        _Rewrite(model, node, names).run()


@dataclass(frozen=True)
class _Rewrite:
    model: ir.Model
    node: ir.Node
    names: Names

    def run(self) -> None:
        if self.node.op_type == "QLinearMatMul" and self._has_parameters_by_row():
            self._requantize()
            return
        self._match_types()
        match self.node.op_type:
            case "ConvInteger":
                self._split_convolution()
            case "MatMulInteger":
                self._split_matmul()
            case _:
                pass

    def _split_convolution(self) -> None:
        weights, zero_point = self.node.inputs[1], _input(self.node, 3)
        shape = None if weights is None else shape_of(weights)
        if weights is None or shape is None or _is_single(zero_point):
            return
        sides = self._emit("Reshape", [zero_point, self._constant(np.array([-1, *(1,) * (len(shape) - 1)]))])
        subtracted = self._expanded(sides, weights)
        data, _, data_zero = self.node.inputs[:3]
        terms = [self._again([data, w, data_zero]) for w in (weights, subtracted)]
        self._replace(ir.node("Sub", terms))

    def _match_types(self) -> None:
        """Gives the second factor the type of the first, where the kernel for both types is none or wrong."""
        node = self.node
        first, second, zero = _FACTORS[node.op_type]
        a, b = node.inputs[first], node.inputs[second]
        if a is None or b is None or a.dtype == b.dtype or not {a.dtype, b.dtype} <= _BYTES:
            return
        if a.dtype is ir.DataType.UINT8 and (_is_safe(b) or not saturates()):
            return
        node.replace_input_with(second, self._moved(b, b.dtype))
        node.resize_inputs(max(len(node.inputs), zero + 1))
        node.replace_input_with(zero, self._moved(node.inputs[zero], b.dtype))

    def _split_matmul(self) -> None:
        """MatMulInteger without the zero points that ONNX Runtime does not take."""
        a, b = self.node.inputs[:2]
        a_zero, b_zero = _input(self.node, 2), _input(self.node, 3)
        if a is None or b is None:
            return
        by_row = not _is_single(a_zero)
        by_column = not _is_single(b_zero) and not _is_column(b_zero, b)
        if not by_row and not by_column:
            return
        rows: list[ir.Value] = [a]
        if by_row:
            rows.append(self._expanded(self._by_row(a_zero), a))
        columns: list[ir.Value] = [b]
        if by_column:
            columns.append(self._expanded(b_zero, b))
        kept = [None if by_row else a_zero, None if by_column else b_zero]
        differences = [[self._again([r, c, *kept]) for c in columns] for r in rows]
        parts = [p[0] if len(p) == 1 else self._emit("Sub", p) for p in differences]
        self._replace(ir.node("Sub", parts) if len(parts) > 1 else ir.node("Identity", parts))

    def _has_parameters_by_row(self) -> bool:
        """Whether QLinearMatMul has parameters in a shape that ONNX Runtime does not take."""
        second = self.node.inputs[3]
        of_first = all(_is_single(self.node.inputs[k]) for k in (1, 2))
        of_second = all(_is_single(v) or (second is not None and _is_column(v, second)) for v in self.node.inputs[4:6])
        return not (of_first and of_second)

    def _requantize(self) -> None:
        """QLinearMatMul as MatMulInteger and what its formula does with the sums, operation by operation."""
        if self.model.opset_imports[""] < _ROUND_SINCE:
            raise UnsupportedError(
                "ONNX Runtime takes no scales and zero points by row",
                node=label(self.node),
                got=f"opset {self.model.opset_imports['']}",
                expected=f"opset {_ROUND_SINCE} or newer",
                hint='convert it, or use engine="reference"',
            )
        a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = self.node.inputs
        dtype = None if y_zero is None else y_zero.dtype
        if dtype is None or dtype not in _BYTES:
            return
        made = ir.node("MatMulInteger", [a, b, a_zero, b_zero])
        self._keep(made, ir.DataType.INT32)
        scales = [self._float(v) for v in (self._by_row(a_scale), b_scale, y_scale)]
        multiplier = self._emit("Div", [self._emit("Mul", scales[:2]), scales[2]])
        levels = self._emit("Round", [self._emit("Mul", [self._float(made.outputs[0]), multiplier])])
        shifted = self._emit("Add", [levels, self._float(y_zero)])
        limits = np.iinfo(dtype.numpy())
        low, high = (self._constant(np.asarray(n, np.float32)) for n in (limits.min, limits.max))
        clipped = self._emit("Min", [self._emit("Max", [shifted, low]), high])
        self._replace(ir.node("Cast", [clipped], {"to": dtype.value}))
        _Rewrite(self.model, made, self.names).run()

    def _by_row(self, parameter: ir.Value | None) -> ir.Value | None:
        """A parameter of the rows of the first factor, with an axis for its columns."""
        shape = None if parameter is None else shape_of(parameter)
        if shape is None or len(shape) != 1:
            return parameter
        return self._emit("Reshape", [parameter, self._constant(np.array([-1, 1]))], like=parameter)

    def _expanded(self, parameter: ir.Value | None, like: ir.Value) -> ir.Value:
        return self._emit("Expand", [parameter, self._emit("Shape", [like])], like=like)

    def _moved(self, value: ir.Value | None, dtype: ir.DataType | None) -> ir.Value:
        """The codes of a byte in the other of the two types; those of a zero point that is left out are 0."""
        target = ir.DataType.UINT8 if dtype is ir.DataType.INT8 else ir.DataType.INT8
        shift = _HALF if target is ir.DataType.UINT8 else -_HALF
        array: Array | None = np.zeros((), np.int64) if value is None else constant(value)
        if array is not None:
            return self._constant((array.astype(np.int64) + shift).astype(target.numpy()))
        wide = self._emit("Cast", [value], {"to": ir.DataType.INT32.value})
        moved = self._emit("Add", [wide, self._constant(np.asarray(shift, np.int32))])
        return self._keep(ir.node("Cast", [moved], {"to": target.value}), target, like=value)

    def _float(self, value: ir.Value | None) -> ir.Value:
        if value is not None and value.dtype is ir.DataType.FLOAT:
            return value
        return self._emit("Cast", [value], {"to": ir.DataType.FLOAT.value})

    def _again(self, inputs: Sequence[ir.Value | None]) -> ir.Value:
        """Another product with the attributes of the node."""
        attributes = list(self.node.attributes.values())
        made = ir.Node("", self.node.op_type, list(inputs), attributes, num_outputs=1)
        return self._keep(made, ir.DataType.INT32)

    def _emit(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: dict[str, Any] | None = None,
        *,
        like: ir.Value | None = None,
    ) -> ir.Value:
        return self._keep(ir.node(op_type, list(inputs), attributes), None if like is None else like.dtype, like=like)

    def _keep(self, made: ir.Node, dtype: ir.DataType | None, *, like: ir.Value | None = None) -> ir.Value:
        """Puts a new node ahead of the old one."""
        output = made.outputs[0]
        output.name = self.names.fresh(f"{self.node.outputs[0].name}/product")
        output.type = None if dtype is None else ir.TensorType(dtype)
        output.shape = None if like is None or made.op_type == "Reshape" else like.shape
        self.node.prepend(made)
        return output

    def _constant(self, array: Array) -> ir.Value:
        return new_initializer(self.model.graph, self.names.fresh(f"{self.node.outputs[0].name}/constant"), array)

    def _replace(self, made: ir.Node) -> None:
        """Puts a new node in the place of the old one, under the name of its output."""
        old, new = self.node.outputs[0], made.outputs[0]
        self.node.prepend(made)
        new.type, new.shape, new.name = old.type, old.shape, old.name
        new.meta.update(old.meta)
        old.name = self.names.fresh(f"{old.name}/replaced")
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        graph = self.node.graph
        if graph is not None:
            graph.remove(self.node, safe=True)


def _input(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _is_single(parameter: ir.Value | None) -> bool:
    """Whether a parameter is one number in a form that ONNX Runtime takes; one of unknown rank is taken for one."""
    shape = None if parameter is None else shape_of(parameter)
    return shape is None or shape in ((), (1,))


def _is_column(parameter: ir.Value | None, factor: ir.Value) -> bool:
    """Whether a parameter of the second factor is one a column in a form that ONNX Runtime takes."""
    given, shape = None if parameter is None else shape_of(parameter), shape_of(factor)
    if given is None or shape is None or len(shape) < 2:
        return True
    return len(given) == 1 if len(shape) == 2 and len(given) == 1 else given == (*shape[:-2], 1, shape[-1])


def _is_safe(weights: ir.Value) -> bool:
    """Whether no sum of two products with uint8 leaves 16 bits."""
    array = constant(weights)
    return array is not None and not (np.abs(array.astype(np.int64)) > _SAFE).any()
