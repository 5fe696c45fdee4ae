"""tensor_findings: how the data of a tensor of a file departs from its element type and its dimensions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import onnx
import onnx_ir as ir

from anybit.errors import Finding

_LARGEST = 1 << 60  # elements of a tensor, its empty dimensions apart, that numpy can address
_FIELDS = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")
_DIMS, _TYPE, _NAME, _RAW = map(
    onnx.TensorProto.DESCRIPTOR.fields_by_name.get, ("dims", "data_type", "name", "raw_data")
)
_FIELD = {
    ir.DataType.FLOAT: "float_data",
    ir.DataType.COMPLEX64: "float_data",
    ir.DataType.DOUBLE: "double_data",
    ir.DataType.COMPLEX128: "double_data",
    ir.DataType.INT64: "int64_data",
    ir.DataType.UINT32: "uint64_data",
    ir.DataType.UINT64: "uint64_data",
    ir.DataType.STRING: "string_data",
}  # all others: int32_data
_BITS = {d.value: 0 if d == ir.DataType.STRING else round(d.itemsize * 8) for d in ir.DataType if d.value}
"""Bits of an element, by the number of its type; 0 of text."""


def is_sound(tensor: onnx.TensorProto, size: int | None = None) -> bool:
    """Whether a tensor is of the usual form, with nothing wrong: a name, and raw data of the right length.

    Args:
        tensor: As it was parsed.
        size: Bytes of its data where that was left in the file.
    """
    dims: Sequence[int] = ()
    bits, stored = 0, 0 if size is None else size
    for field, value in tensor.ListFields():
        if field is _DIMS:
            dims = value
        elif field is _TYPE:
            bits = _BITS.get(value, 0)
        elif field is _RAW and size is None:
            stored = len(value)
        elif field is not _NAME:
            return False
    return bits > 0 and stored * 8 == math.prod(dims) * bits and (not dims or min(dims) >= 0)


def tensor_findings(tensor: onnx.TensorProto, size: int | None = None) -> Iterator[Finding]:
    """Findings about one tensor, of which the first one says why it cannot be read.

    Args:
        tensor: As it was parsed.
        size: Bytes of its data where that was left in the file.
    """
    where = f"tensor '{tensor.name}'"
    bits = _BITS.get(tensor.data_type)
    if bits is None:
        yield Finding(rule="tensor", problem="unknown element type", node=where, got=str(tensor.data_type))
    elif any(d < 0 for d in tensor.dims):
        yield Finding(rule="tensor", problem="a tensor of negative size", node=where, got=str(list(tensor.dims)))
    elif math.prod(max(d, 1) for d in tensor.dims) > _LARGEST:
        yield Finding(rule="tensor", problem="a tensor is too large", node=where, got=str(list(tensor.dims)))
    elif tensor.data_location == onnx.TensorProto.EXTERNAL:
        yield from _place(tensor, where, bits)
    else:
        yield from _data(tensor, where, bits, size)


def _data(tensor: onnx.TensorProto, where: str, bits: int, size: int | None) -> Iterator[Finding]:
    dtype, elements = ir.DataType(tensor.data_type), math.prod(tensor.dims)
    own = _FIELD.get(dtype, "int32_data")
    raw = size is not None or (bits > 0 and tensor.HasField("raw_data"))
    if raw:
        actual, wanted, unit = len(tensor.raw_data) if size is None else size, (elements * bits + 7) // 8, "bytes"
    else:
        per_entry = 8 // bits if 0 < bits < 8 else 1
        per_element = 2 if dtype in (ir.DataType.COMPLEX64, ir.DataType.COMPLEX128) else 1
        actual, wanted, unit = len(getattr(tensor, own)), math.ceil(elements * per_element / per_entry), "values"
    for field in _FIELDS:
        if (raw or field != own) and len(getattr(tensor, field)):
            expected = "raw_data" if raw else own
            text = "data in a field of another type" if not raw else "data in two fields"
            yield Finding(rule="tensor", problem=text, node=where, got=field, expected=f"{expected} for {dtype.name}")
            return
    if actual != wanted:
        yield Finding(
            rule="tensor",
            problem="data does not fill the shape",
            node=where,
            got=f"{actual} {unit}",
            expected=f"{wanted} for {list(tensor.dims)}",
        )
    elif bits == 6 and not raw and not all(0 <= v < 64 for v in tensor.int32_data):
        yield Finding(rule="tensor", problem="values of more than 6 bits", node=where, expected=dtype.name)


def _place(tensor: onnx.TensorProto, where: str, bits: int) -> Iterator[Finding]:
    """A place in another file that is none; whether the file has it is seen when it is opened."""
    entries = {e.key: e.value for e in tensor.external_data}
    if not bits:
        expected = "strings in the model itself"
        yield Finding(rule="tensor", problem="text in another file", node=where, expected=expected)
        return
    try:
        numbers = [int(entries.get(key, 0)) for key in ("offset", "length")]
    except ValueError:
        numbers = [-1]
    if not 0 <= min(numbers) <= max(numbers) < 1 << 63:
        problem = "external data has a broken offset or length"
        yield Finding(rule="tensor", problem=problem, node=where, got=str(entries))
