"""quantizer_kinds: what a node quantises, and to which numbers, read off the node, its types and its constants."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from anybit.analysis.types import format_of_element
from anybit.analysis.values.tensor_values import smallest_format
from anybit.graph.constants import constant
from anybit.graph.walk import numbered_type
from anybit.number_formats import IntFormat
from anybit.ops.calls import call_of, operator_of
from anybit.ops.traits import MOVING

_RUNTIME = "com.microsoft"
_PAIRS = frozenset(("", _RUNTIME))  # domains whose QuantizeLinear and DequantizeLinear are these


@dataclass(frozen=True)
class _Form:
    """How a standard or contributed operator holds what it quantises.

    Attributes:
        weights: Inputs that are quantised weights where they are constant.
        result: Input whose type is that of the quantised output: its zero point.
        bits: Attribute that says how many bits weights have, which are packed into bytes; 4 where it is left out.
        dynamic: Whether it makes bytes of its first input by a scale that it finds itself.
    """

    weights: tuple[int, ...] = ()
    result: int | None = None
    bits: str = ""
    dynamic: bool = False


_FORMS: Mapping[tuple[str, str], _Form] = {
    ("", "DynamicQuantizeLinear"): _Form(dynamic=True),
    ("", "QLinearConv"): _Form((3,), 7),
    ("", "QLinearMatMul"): _Form((0, 3), 7),
    ("", "ConvInteger"): _Form((1,)),
    ("", "MatMulInteger"): _Form((0, 1)),
    **{
        (_RUNTIME, name): form
        for name, form in {
            "QLinearAdd": _Form((0, 3), 7),
            "QLinearMul": _Form((0, 3), 7),
            "QLinearAveragePool": _Form((), 4),
            "QLinearGlobalAveragePool": _Form((), 4),
            "QLinearLeakyRelu": _Form((), 4),
            "QLinearSigmoid": _Form((), 4),
            "QLinearSoftmax": _Form((), 4),
            "QLinearReduceMean": _Form((), 4),
            "QLinearConcat": _Form((), 1),
            "QLinearWhere": _Form((1, 4), 8),
            "QLinearConv": _Form((3,), 7),
            "QLinearMatMul": _Form((0, 3), 7),
            "QGemm": _Form((0, 3), 8),
            "QAttention": _Form((1,)),
            "QEmbedLayerNormalization": _Form((2, 3, 4)),
            "ConvInteger": _Form((1,)),
            "MatMulInteger16": _Form((0, 1)),
            "MatMulIntegerToFloat": _Form((0, 1)),
            "DynamicQuantizeMatMul": _Form((1,), dynamic=True),
            "DynamicQuantizeLSTM": _Form((1, 2), dynamic=True),
            "MatMulNBits": _Form((1,), bits="bits"),
            "GatherBlockQuantized": _Form((0,), bits="bits"),
            "QMoE": _Form((2, 5, 8), bits="expert_weight_bits"),
        }.items()
    },
}
_NAMED_WEIGHTS = {0: "FP4", 1: "NF4"}  # by quant_type of MatMulBnb4

Kind = tuple[str, bool]
"""Number format, and whether these are weights."""


def quantizer_kinds(node: ir.Node, opset_imports: dict[str, int], is_weight: Callable[[ir.Value], bool]) -> list[Kind]:
    """What a node quantises; nothing for one that only moves or unpacks what another has quantised.

    Args:
        node: Node of a model whose types are inferred.
        opset_imports: Version by domain.
        is_weight: Whether a tensor depends on no input.
    """
    operator = operator_of(node, opset_imports)
    if operator is not None:
        stated = operator.number_format(call_of(node, operator))
        first = node.inputs[0] if node.inputs else None
        return [(str(stated or "mixed"), first is not None and is_weight(first))]
    if node.domain in _PAIRS and node.op_type in ("QuantizeLinear", "DequantizeLinear") and node.inputs:
        return _of_pair(node, is_weight)
    if (node.domain, node.op_type) == (_RUNTIME, "MatMulBnb4"):
        return [(_NAMED_WEIGHTS.get(node.attributes.get_int("quant_type", 1), "mixed"), True)]
    form = _FORMS.get((node.domain, node.op_type))
    return [] if form is None else list(_of_form(node, form, is_weight))


def weight_inputs(node: ir.Node) -> tuple[int, ...]:
    """The inputs of a standard or contributed operator that hold weights as plain integers."""
    form = _FORMS.get((node.domain, node.op_type))
    return () if form is None or form.bits else form.weights


def makes_integers(node: ir.Node) -> bool:
    """Whether a standard or contributed operator quantises its output by constants."""
    form = _FORMS.get((node.domain, node.op_type))
    return form is not None and form.result is not None


def packed_elements(node: ir.Node) -> Iterator[tuple[ir.Value, int]]:
    """The weights that a contributed operator holds packed in bytes, and how many elements these are."""
    form = _FORMS.get((node.domain, node.op_type))
    for place in () if form is None or not form.bits else form.weights:
        value = _input(node, place)
        if value is None or value.shape is None or _dtype(value) != ir.DataType.UINT8:
            continue
        rows, columns = node.attributes.get_int("N", 0), node.attributes.get_int("K", 0)
        stored = math.prod(d for d in value.shape if isinstance(d, int))
        bits = node.attributes.get_int(form.bits, 4) if form is not None else 8
        yield value, rows * columns or stored * 8 // max(bits, 1)


def _of_pair(node: ir.Node, is_weight: Callable[[ir.Value], bool]) -> list[Kind]:
    value = node.inputs[0]
    if value is None:
        return []
    if node.op_type == "QuantizeLinear":
        dtype = _dtype(_input(node, 2)) or node.outputs[0].dtype
        stated = numbered_type(node.attributes.get_int("output_dtype", 0) or ir.DataType.UINT8)
        dtype = dtype or stated or ir.DataType.UNDEFINED
        return [(_clipped(dtype, list(_clips_behind(node.outputs[0]))), is_weight(value))]
    clips: list[ir.Node] = []
    while (
        (producer := value.producer()) is not None and producer.domain == "" and producer.op_type in MOVING | {"Clip"}
    ):
        clips += [producer] if producer.op_type == "Clip" else []
        if producer.inputs[0] is None:
            break
        value = producer.inputs[0]
    if producer is not None and (producer.op_type == "QuantizeLinear" or _makes_bytes(producer)):
        return []
    dtype = _dtype(value)
    return [] if dtype is None else [(_clipped(dtype, clips), is_weight(value))]


def _makes_bytes(node: ir.Node) -> bool:
    form = _FORMS.get((node.domain, node.op_type))
    return form is not None and (form.result is not None or form.dynamic)


def _of_form(node: ir.Node, form: _Form, is_weight: Callable[[ir.Value], bool]) -> Iterator[Kind]:
    for place in form.weights:
        value = _input(node, place)
        dtype = _dtype(value)
        if value is None or dtype is None or not is_weight(value):
            continue
        packed = bool(form.bits) and dtype == ir.DataType.UINT8
        bits = node.attributes.get_int(form.bits, 4) if packed else 0
        yield (str(IntFormat(bits, signed=False)) if packed else _text(dtype)), True
    zero_point = None if form.result is None else _input(node, form.result)
    dtype = _dtype(zero_point) or (None if form.result is None else node.outputs[0].dtype)
    if form.dynamic:
        yield str(IntFormat(8, signed=False)), False
    elif dtype is not None and dtype.is_integer():
        yield _text(dtype), False


def _input(node: ir.Node, place: int) -> ir.Value | None:
    return node.inputs[place] if place < len(node.inputs) else None


def _dtype(value: ir.Value | None) -> ir.DataType | None:
    """The element type of a tensor, of its constant where no type is stated."""
    if value is None or value.dtype is not None:
        return None if value is None else value.dtype
    if value.const_value is not None:
        return value.const_value.dtype
    array = constant(value)
    return None if array is None else ir.DataType.from_numpy(array.dtype)


def _clips_behind(value: ir.Value) -> Iterator[ir.Node]:
    """The Clip nodes through which alone a tensor is read."""
    while True:
        readers = {user for user, _ in value.uses()}
        reader = readers.pop() if len(readers) == 1 and not value.is_graph_output() else None
        if reader is None or reader.domain != "" or reader.op_type != "Clip":
            return
        yield reader
        value = reader.outputs[0]


def _clipped(dtype: ir.DataType, clips: list[ir.Node]) -> str:
    """The integers of a type, or the fewest bits that hold those that constant Clip nodes leave of them."""
    own = format_of_element(dtype)
    if not isinstance(own, IntFormat):
        return _text(dtype)
    lo, hi = int(own.min), int(own.max)
    for clip in clips:
        for place, narrow in ((1, max), (2, min)):
            array = constant(_input(clip, place))
            bound = None if array is None or array.size != 1 else int(array.reshape(()))
            if bound is not None:
                lo, hi = (narrow(lo, bound), hi) if place == 1 else (lo, narrow(hi, bound))
    if clips and lo <= hi:
        return str(smallest_format(lo, hi))
    return str(own)


def _text(dtype: ir.DataType) -> str:
    return str(format_of_element(dtype) or dtype.name)
