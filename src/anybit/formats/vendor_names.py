"""Vendor names: QuantizeLinear and DequantizeLinear under the names that vendors give them.

    integer = saturate(round_half_even(x / scale) + zero point),  real = (integer - zero point) * scale

`com.microsoft` is what ONNX Runtime's quantiser writes for 16 and 4 bits below opset 21, `com.amd.quark` (before:
`com.vai.quantize`) what AMD Quark writes, `trt` what NVIDIA's exporters write for TensorRT. They have the attributes
of the standard operators. While the readers of formats work, these nodes are standard ones; what is left then gets its
own name back. Sources: the documents of ONNX Runtime's contributed operators, of Quark's operators, and TensorRT's ONNX
parser.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.errors import Refusal
from anybit.graph.constants import new_initializer
from anybit.graph.walk import all_nodes, label, name_in_messages

_WITH_ZERO_POINT = 3  # inputs
_INTEGERS = frozenset(
    (
        ir.DataType.INT4,
        ir.DataType.UINT4,
        ir.DataType.INT8,
        ir.DataType.UINT8,
        ir.DataType.INT16,
        ir.DataType.UINT16,
    )
)


@dataclass(frozen=True)
class _Spelling:
    """What a vendor's operator is.

    Attributes:
        standard: Name of the standard operator with this meaning.
        types: Element types of the integers with which it has this meaning.
        default: Element type of the integers where no zero point says it.
    """

    standard: str
    types: frozenset[ir.DataType]
    default: ir.DataType = ir.DataType.UINT8


def _pair(
    domain: str, quantize: str, dequantize: str, types: frozenset[ir.DataType], default: ir.DataType
) -> dict[tuple[str, str], _Spelling]:
    stored = types | {ir.DataType.INT32} if ir.DataType.INT8 in types else types  # a bias
    return {
        (domain, quantize): _Spelling("QuantizeLinear", types, default),
        (domain, dequantize): _Spelling("DequantizeLinear", stored, default),
    }


def _of_one_type(name: str, dtype: ir.DataType) -> dict[tuple[str, str], _Spelling]:
    return _pair("trt", f"TRT_{name}QuantizeLinear", f"TRT_{name}DequantizeLinear", frozenset((dtype,)), dtype)


SPELLINGS: dict[tuple[str, str], _Spelling] = {
    **_pair("com.microsoft", "QuantizeLinear", "DequantizeLinear", _INTEGERS, ir.DataType.UINT8),
    **_pair("com.amd.quark", "ExtendedQuantizeLinear", "ExtendedDequantizeLinear", _INTEGERS, ir.DataType.UINT8),
    **_pair("com.vai.quantize", "VitisQuantizeLinear", "VitisDequantizeLinear", _INTEGERS, ir.DataType.UINT8),
    **_of_one_type("INT4", ir.DataType.INT4),
    **_of_one_type("FP8", ir.DataType.FLOAT8E4M3FN),
}
"""What the operators are, by domain and name."""


@dataclass(frozen=True)
class _Name:
    """What a node, the type of its output and the number of its inputs were."""

    node: ir.Node
    domain: str
    op_type: str
    output_type: ir.TypeProtocol | None
    inputs: int


@contextmanager
def standard_names(model: ir.Model) -> Generator[tuple[Refusal, ...]]:
    """Inside the block, vendors' QuantizeLinear and DequantizeLinear are standard nodes, in place.

    Messages call them what the file calls them; what is left of them when the block ends has its name back.

    Yields:
        Why some of them cannot be standard ones; they stay as they are.
    """
    names: list[_Name] = []
    refusals: list[Refusal] = []
    for node in list(all_nodes(model.graph)):
        spelling = SPELLINGS.get((node.domain, node.op_type))
        dtype = None if spelling is None else _integers_of(node, spelling)
        if isinstance(dtype, Refusal):
            refusals.append(dtype)
        elif spelling is not None and dtype is not None:
            names.append(_Name(node, node.domain, node.op_type, node.outputs[0].type, len(node.inputs)))
            _rename(node, spelling, dtype, model.graph)
    yield tuple(refusals)
    for name in names:
        _restore(name)
    used = {n.domain for n in all_nodes(model.graph)} if names else set[str]()
    for domain in {n.domain for n in names} - used:
        model.opset_imports.pop(domain, None)


def _rename(node: ir.Node, spelling: _Spelling, dtype: ir.DataType, graph: ir.Graph) -> None:
    """Makes a standard node of a vendor's, which messages go on to call what it was."""
    name_in_messages(node, node.op_type)
    output = node.outputs[0]
    node.domain, node.op_type = "", spelling.standard
    is_quantize = spelling.standard == "QuantizeLinear"
    if is_quantize and len(node.inputs) < _WITH_ZERO_POINT and dtype != ir.DataType.UINT8:
        # The operator's name says the type, of the standard one its zero point.
        zero = new_initializer(graph, f"{output.name}_zero", np.zeros((), dtype.numpy()))
        node.resize_inputs(_WITH_ZERO_POINT)
        node.replace_input_with(2, zero)
    output.type = ir.TensorType(dtype if is_quantize else ir.DataType.FLOAT)
    x = node.inputs[0]
    if output.shape is None and x is not None and x.shape is not None:
        output.shape = x.shape.copy()


def _restore(name: _Name) -> None:
    node = name.node
    name_in_messages(node, None)
    if node.graph is not None:
        node.domain, node.op_type, node.outputs[0].type = name.domain, name.op_type, name.output_type
        node.resize_inputs(name.inputs)


def _integers_of(node: ir.Node, spelling: _Spelling) -> ir.DataType | Refusal:
    """The element type of the integers that a node makes or reads."""
    where = label(node)
    if not 2 <= len(node.inputs) <= 3 or None in node.inputs[:2] or len(node.outputs) != 1:
        return Refusal(problem="number of inputs or outputs", node=where, expected="x, scale, zero point; one output")
    zero_point = node.inputs[2] if len(node.inputs) > 2 else None
    dtype = spelling.default if zero_point is None else zero_point.dtype
    x = node.inputs[0]
    if spelling.standard == "DequantizeLinear" and x is not None:
        dtype = x.dtype or dtype
    if dtype is None or dtype not in spelling.types:
        return Refusal(
            problem="type of its integers",
            node=where,
            got="unknown" if dtype is None else dtype.name,
            expected=", ".join(sorted(t.name for t in spelling.types)),
        )
    return dtype
