"""What onnx has to know of the operators of domain `com.microsoft`: with it, types and shapes go through them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx
from onnx.defs import OpSchema
from onnx.shape_inference import InferenceContext

from anybit.ops.contributed import DOMAIN
from anybit.ops.standard.windows import Windows

_Dimensions = list[onnx.TensorShapeProto.Dimension]
_Attributes = dict[str, Any]

_KINDS = OpSchema.AttrType
_TYPES = [
    "tensor(float)", "tensor(float16)", "tensor(bfloat16)", "tensor(double)", "tensor(bool)",
    *(f"tensor({kind}{bits})" for kind in ("int", "uint") for bits in (2, 4, 8, 16, 32, 64)),
]  # fmt: skip
_WINDOWS = {
    "auto_pad": _KINDS.STRING, "ceil_mode": _KINDS.INT, "channels_last": _KINDS.INT, "count_include_pad": _KINDS.INT,
    "dilations": _KINDS.INTS, "kernel_shape": _KINDS.INTS, "pads": _KINDS.INTS, "storage_order": _KINDS.INT,
    "strides": _KINDS.INTS,
}  # fmt: skip


class _Node:
    """A node as shape inference sees it; what is not known is None."""

    def __init__(self, context: InferenceContext) -> None:
        self._context = context
        self.count = context.get_num_inputs()

    def dims(self, place: int) -> _Dimensions | None:
        """The dimensions of an input."""
        given = self._type(place)
        return None if given is None or not given.HasField("shape") else list(given.shape.dim)

    def dtype(self, place: int) -> int | None:
        """The element type of an input."""
        given = self._type(place)
        return None if given is None or not given.elem_type else given.elem_type

    def _type(self, place: int) -> onnx.TypeProto.Tensor | None:
        given = (
            self._context.get_input_type(place) if 0 <= place < self.count and self._context.has_input(place) else None
        )
        return None if given is None else given.tensor_type

    def attributes(self, names: Sequence[str]) -> _Attributes:
        """Those attributes that are given."""
        found: dict[str, Any] = {name: self._context.get_attribute(name) for name in names}
        values = {n: onnx.helper.get_attribute_value(a) for n, a in found.items() if a is not None}
        return {n: v.decode() if isinstance(v, bytes) else v for n, v in values.items()}

    def set(self, dtype: int | None, dims: _Dimensions | None) -> None:
        """The type of the output."""
        if dtype is None:
            return
        made = onnx.TypeProto()
        made.tensor_type.elem_type = dtype
        if dims is not None:
            made.tensor_type.shape.SetInParent()
            made.tensor_type.shape.dim.extend(dims)
        self._context.set_output_type(0, made)


def _dimension(size: int | None = None) -> onnx.TensorShapeProto.Dimension:
    return onnx.TensorShapeProto.Dimension() if size is None else onnx.TensorShapeProto.Dimension(dim_value=size)


def _size(dimension: onnx.TensorShapeProto.Dimension) -> int | None:
    return dimension.dim_value if dimension.HasField("dim_value") else None


def _broadcast(shapes: Sequence[_Dimensions | None]) -> _Dimensions | None:
    known = [s for s in shapes if s is not None]
    if len(known) < len(shapes):
        return None
    rank = max(len(s) for s in known)
    padded = [[_dimension(1)] * (rank - len(s)) + s for s in known]
    return [_together(column) for column in zip(*padded, strict=True)]


def _together(column: Sequence[onnx.TensorShapeProto.Dimension]) -> onnx.TensorShapeProto.Dimension:
    wide = [d for d in column if _size(d) != 1]
    fixed = [d for d in wide if _size(d) is not None]
    if not wide or fixed:
        return fixed[0] if fixed else column[0]
    same = all(d.dim_param and d.dim_param == wide[0].dim_param for d in wide)
    return wide[0] if same or len(wide) == 1 == len(column) else _dimension()


def _unary(node: _Node) -> None:
    node.set(node.dtype(0), node.dims(0))


def _pair(node: _Node) -> None:
    node.set(node.dtype(0), _broadcast([node.dims(0), node.dims(3)]))


def _where(node: _Node) -> None:
    node.set(node.dtype(1), _broadcast([node.dims(0), node.dims(1), node.dims(4)]))


def _concat(node: _Node) -> None:
    shapes = [node.dims(place) for place in range(2, node.count, 3)]
    known = [s for s in shapes if s is not None]
    axis = node.attributes(["axis"]).get("axis", 0)
    fits = known and len(known) == len(shapes) and all(-len(s) <= axis < len(s) == len(known[0]) for s in known)
    if not fits:
        node.set(node.dtype(2), None)
        return
    dims = list(known[0])
    sizes = [_size(s[axis]) for s in known]
    fixed = [s for s in sizes if s is not None]
    dims[axis] = _dimension(sum(fixed) if len(fixed) == len(sizes) else None)
    node.set(node.dtype(2), dims)


def _pool(node: _Node, *, is_last: bool | None = None) -> None:
    attributes = node.attributes(tuple(_WINDOWS))
    last = bool(attributes.get("channels_last", 0)) if is_last is None else is_last
    dims = node.dims(0)
    node.set(node.dtype(0), None if dims is None else _windowed(dims, attributes.get("kernel_shape"), attributes, last))


def _windowed(
    dims: _Dimensions,
    kernel: Sequence[int | None] | None,
    attributes: _Attributes,
    is_last: bool,  # noqa: FBT001
) -> _Dimensions | None:
    """The shape of X with the number of windows along its spatial axes in their place."""
    spatial = slice(1, -1) if is_last else slice(2, None)
    sizes = [_size(d) for d in dims[spatial]]
    if not kernel or None in kernel or len(kernel) != len(sizes):
        return None
    taps = [k for k in kernel if k is not None]
    try:
        output = Windows.of([1 if s is None else s for s in sizes], taps, attributes).output
    except (ValueError, IndexError, ZeroDivisionError):
        return None  # ONNX Runtime refuses it
    made = list(dims)
    made[spatial] = [_dimension(None if s is None else o) for s, o in zip(sizes, output, strict=True)]
    return made


def _global_pool(node: _Node) -> None:
    dims = node.dims(0)
    is_last = bool(node.attributes(["channels_last"]).get("channels_last", 0))
    if dims is not None and len(dims) > 1:
        spatial = slice(1, -1) if is_last else slice(2, None)
        dims[spatial] = [_dimension(1) for _ in dims[spatial]]
    node.set(node.dtype(0), dims)


def _conv(node: _Node) -> None:
    attributes = node.attributes((*_WINDOWS, "group"))
    is_last, dims, weights = bool(attributes.get("channels_last", 0)), node.dims(0), node.dims(3)
    dtype = node.dtype(7) or node.dtype(0)
    if dims is None or weights is None or len(dims) != len(weights) or len(dims) < 3:
        node.set(dtype, None)
        return
    kernel = attributes.get("kernel_shape") or [_size(d) for d in weights[2:]]
    made = _windowed(dims, kernel, attributes, is_last)
    if made is not None:
        made[-1 if is_last else 1] = weights[0]
    node.set(dtype, made)


def _gemm(node: _Node) -> None:
    attributes = node.attributes(["transA", "transB"])
    a, b = node.dims(0), node.dims(3)
    dtype = onnx.TensorProto.FLOAT if node.dtype(7) is None else node.dtype(8) or node.dtype(0)
    if a is None or b is None or len(a) != 2 or len(b) != 2:
        node.set(dtype, None)
        return
    node.set(dtype, [a[1 if attributes.get("transA", 0) else 0], b[0 if attributes.get("transB", 0) else 1]])


def _matmul(node: _Node) -> None:
    a, b = node.dims(0), node.dims(1)
    if a is None or b is None or len(a) < 2 or len(b) < 2:
        node.set(onnx.TensorProto.FLOAT, None)
        return
    leading = _broadcast([a[:-2], b[:-2]])
    node.set(onnx.TensorProto.FLOAT, None if leading is None else [*leading, a[-2], b[-1]])


def _nbits(node: _Node) -> None:
    a, rows = node.dims(0), node.attributes(["N"]).get("N")
    node.set(node.dtype(0), None if not a or rows is None else [*a[:-1], _dimension(rows)])


def _gather(node: _Node) -> None:
    attributes = node.attributes(["gather_axis", "bits"])
    data, indices = node.dims(0), node.dims(1)
    axis = attributes.get("gather_axis", 0)
    if data is None or indices is None or not -len(data) <= axis < len(data):
        node.set(node.dtype(2), None)
        return
    if node.dtype(0) == onnx.TensorProto.UINT8:
        packed = _size(data[-1])
        data[-1] = _dimension(None if packed is None else packed * (8 // max(attributes.get("bits", 4), 1)))
    axis %= len(data)
    node.set(node.dtype(2), [*data[:axis], *indices, *data[axis + 1 :]])


def _quantize(node: _Node) -> None:
    node.set(node.dtype(2) or onnx.TensorProto.UINT8, node.dims(0))


def _dequantize(node: _Node) -> None:
    node.set(node.dtype(1), node.dims(0))


@dataclass(frozen=True)
class _Contributed:
    """An operator: how many inputs it has, from the fewest to the most, its attributes, and how it is inferred."""

    least: int
    most: int
    infer: Callable[[_Node], None]
    attributes: dict[str, OpSchema.AttrType] = field(default_factory=dict[str, OpSchema.AttrType])

    def schema(self, name: str) -> OpSchema:
        """What onnx registers."""
        options = OpSchema.FormalParameterOption
        formals = [
            OpSchema.FormalParameter(
                f"I{k}", f"T{k}", param_option=options.Single if k < self.least else options.Optional
            )
            for k in range(self.most)
        ]
        count = self.most
        if name == "QLinearConcat":
            variadic = OpSchema.FormalParameter("I", "T0", param_option=options.Variadic, is_homogeneous=False)
            formals, count = [variadic], 1
        schema = OpSchema(
            name,
            DOMAIN,
            1,
            inputs=formals,
            outputs=[OpSchema.FormalParameter("Y", "T")],
            type_constraints=[(t, _TYPES, "") for t in ("T", *(f"T{k}" for k in range(count)))],
            attributes=[OpSchema.Attribute(n, kind, "", required=False) for n, kind in self.attributes.items()],
        )
        schema.set_type_and_shape_inference_function(lambda context: self.infer(_Node(context)))
        return schema


def _integers(*names: str) -> dict[str, OpSchema.AttrType]:
    return dict.fromkeys(names, _KINDS.INT)


_CONTRIBUTED: dict[str, _Contributed] = {
    "DequantizeLinear": _Contributed(2, 3, _dequantize, _integers("axis", "block_size")),
    "DynamicQuantizeMatMul": _Contributed(3, 5, _matmul),
    "GatherBlockQuantized": _Contributed(
        3, 4, _gather, _integers("bits", "block_size", "gather_axis", "quantize_axis")
    ),
    "MatMulIntegerToFloat": _Contributed(4, 7, _matmul),
    "MatMulNBits": _Contributed(
        3, 6, _nbits, _integers("bits", "block_size", "K", "N", "accuracy_level", "weight_prepacked")
    ),
    "NhwcMaxPool": _Contributed(1, 1, lambda node: _pool(node, is_last=True), _WINDOWS),
    "QGemm": _Contributed(6, 9, _gemm, {"alpha": _KINDS.FLOAT, "transA": _KINDS.INT, "transB": _KINDS.INT}),
    "QLinearAdd": _Contributed(7, 8, _pair),
    "QLinearAveragePool": _Contributed(4, 5, _pool, _WINDOWS),
    "QLinearConcat": _Contributed(0, 0, _concat, {"axis": _KINDS.INT}),
    "QLinearConv": _Contributed(8, 9, _conv, _WINDOWS | {"group": _KINDS.INT}),
    "QLinearGlobalAveragePool": _Contributed(4, 5, _global_pool, {"channels_last": _KINDS.INT}),
    "QLinearLeakyRelu": _Contributed(4, 5, _unary, {"alpha": _KINDS.FLOAT}),
    "QLinearMul": _Contributed(7, 8, _pair),
    "QLinearSigmoid": _Contributed(4, 5, _unary),
    "QLinearSoftmax": _Contributed(4, 5, _unary, {"axis": _KINDS.INT, "opset": _KINDS.INT}),
    "QLinearWhere": _Contributed(9, 9, _where),
    "QuantizeLinear": _Contributed(2, 3, _quantize, _integers("axis", "block_size", "output_dtype", "saturate")),
}


CONTRIBUTED = tuple(_CONTRIBUTED)
"""Names of the operators."""


def contributed_schema(name: str) -> OpSchema:
    """The schema of one of them."""
    return _CONTRIBUTED[name].schema(name)
