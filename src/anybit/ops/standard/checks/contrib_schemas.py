"""Schemas of the quantised operators of ONNX Runtime's domain, com.microsoft version 1.

onnx does not know them. Source: the operators' documents in ONNX Runtime 1.32; a test compares each with what the
installed ONNX Runtime says. Attributes and types of a later release are unknown here, and so is what they mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

from anybit.ops.standard.checks.signature import Formal, FormalAttribute, Signature

DOMAIN = "com.microsoft"

_BYTES = ("int8", "uint8")
_FLOATS = ("float", "float16")
_WIDE_FLOATS = (*_FLOATS, "bfloat16")
_SMALL = ("int8", "uint8", "int16", "uint16", "int4", "uint4")
_FLOAT8 = ("float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz")
_POOL = {
    "auto_pad": "NOTSET",
    "ceil_mode": 0,
    "channels_last": 0,
    "count_include_pad": 0,
    "kernel_shape!": (),
    "pads": (),
    "strides": (),
}
_BINARY = "A:T A_scale:F A_zero_point:T? B:T B_scale:F B_zero_point:T? C_scale:F C_zero_point:T?"
_UNARY = "X:T X_scale:F X_zero_point:T? Y_scale:F Y_zero_point:T?"


@dataclass(frozen=True)
class _Operator:
    """One operator: `name:parameter`, with `?` where it may be left out and `*` where it repeats."""

    inputs: str
    outputs: str
    types: Mapping[str, tuple[str, ...]]
    attributes: Mapping[str, int | float | str | tuple[int, ...] | type] = field(
        default_factory=dict[str, int | float | str | tuple[int, ...] | type]
    )


_OPERATORS: Mapping[str, _Operator] = {
    "QuantizeLinear": _Operator(
        "x:T1 y_scale:T1 y_zero_point:T2?", "y:T2", {"T1": _FLOATS, "T2": _SMALL}, {"axis": int}
    ),
    "DequantizeLinear": _Operator(
        "x:T1 x_scale:T2 x_zero_point:T1?", "y:T2", {"T1": (*_SMALL, "int32"), "T2": _FLOATS}, {"axis": int}
    ),
    "QLinearConv": _Operator(
        "x:T1 x_scale:F x_zero_point:T1 w:T2 w_scale:F w_zero_point:T2 y_scale:F y_zero_point:T3 B:T4?",
        "y:T3",
        {"T1": _BYTES, "T2": _BYTES, "T3": _BYTES, "T4": ("int32",)},
        {
            "auto_pad": "NOTSET",
            "channels_last": 0,
            "dilations": (),
            "group": 1,
            "kernel_shape": (),
            "pads": (),
            "strides": (),
        },
    ),
    "QLinearAdd": _Operator(_BINARY, "C:T", {"T": _BYTES}),
    "QLinearMul": _Operator(_BINARY, "C:T", {"T": _BYTES}),
    "MulInteger": _Operator("A:T A_zero_point:T? B:T B_zero_point:T?", "C:T1", {"T": _BYTES, "T1": ("int32",)}),
    "QLinearLeakyRelu": _Operator(_UNARY, "Y:T", {"T": _BYTES}, {"alpha": 0.01}),
    "QLinearSigmoid": _Operator(_UNARY, "Y:T", {"T": _BYTES}),
    "QLinearSoftmax": _Operator(
        "X:T X_scale:F x_zero_point:T? y_scale:F y_zero_point:T", "Y:T", {"T": _BYTES}, {"axis": -1, "opset!": int}
    ),
    "QLinearAveragePool": _Operator(
        "X:T x_scale:F x_zero_point:T? y_scale:F y_zero_point:T?", "Y:T", {"T": _BYTES}, _POOL
    ),
    "QLinearGlobalAveragePool": _Operator(
        "X:T x_scale:F x_zero_point:T y_scale:F y_zero_point:T", "Y:T", {"T": _BYTES}, {"channels_last": 0}
    ),
    "QLinearReduceMean": _Operator(
        "data:T data_scale:F data_zero_point:T? reduced_scale:F reduced_zero_point:T?",
        "reduced:T",
        {"T": _BYTES},
        {"axes!": (), "keepdims!": int},
    ),
    "ReduceSumInteger": _Operator(
        "data:T1", "reduced:T2", {"T1": _BYTES, "T2": ("int32", "uint32")}, {"axes!": (), "keepdims!": int}
    ),
    "QLinearConcat": _Operator(
        "Y_scale:F Y_zero_point:T8 inputs:*TV",
        "Y:T8",
        {"T8": _BYTES, "TV": (*_BYTES, "float")},
        {"axis!": int},
    ),
    "QLinearWhere": _Operator(
        "condition:B X:T x_scale:F x_zero_point:T Y:T y_scale:F y_zero_point:T z_scale:F z_zero_point:T",
        "Z:T",
        {"B": ("bool",), "T": _BYTES},
    ),
    "QGemm": _Operator(
        "A:TA a_scale:F a_zero_point:TA B:TB b_scale:F b_zero_point:TB C:TC? y_scale:F? y_zero_point:TYZ?",
        "Y:TY",
        {"TA": _BYTES, "TB": _BYTES, "TC": ("int32",), "TYZ": _BYTES, "TY": ("float", *_BYTES)},
        {"alpha": 1.0, "transA": 0, "transB": 0},
    ),
    "MatMulInteger16": _Operator(
        "A:T1 B:T2",
        "Y:T3",
        {"T1": ("int16", "uint16"), "T2": ("int16", "uint16"), "T3": ("int32", "uint32")},
    ),
    "DynamicQuantizeMatMul": _Operator(
        "A:T1 B:T2 b_scale:T1 b_zero_point:T2? bias:T1?", "Y:T1", {"T1": ("float",), "T2": _BYTES}
    ),
    "MatMulIntegerToFloat": _Operator(
        "A:T1 B:T2 a_scale:T3 b_scale:T3 a_zero_point:T1? b_zero_point:T2? bias:T3?",
        "Y:T3",
        {"T1": _BYTES, "T2": _BYTES, "T3": _FLOATS},
    ),
    "MatMulNBits": _Operator(
        "A:T1 B:T2 scales:T1 zero_points:T3? g_idx:T4? bias:T1?",
        "Y:T1",
        {"T1": _WIDE_FLOATS, "T2": ("uint8",), "T3": ("uint8", *_WIDE_FLOATS), "T4": ("int32",)},
        {"K!": int, "N!": int, "accuracy_level": 0, "bits": 4, "block_size!": int, "weight_prepacked": 0},
    ),
    "MatMulBnb4": _Operator(
        "A:T1 B:T2 absmax:T1",
        "Y:T1",
        {"T1": _WIDE_FLOATS, "T2": ("uint8",)},
        {"K!": int, "N!": int, "block_size!": int, "quant_type!": int, "training_mode": 0, "transB": 1},
    ),
    "GatherBlockQuantized": _Operator(
        "data:T1 indices:Tind scales:T2 zero_points:T1?",
        "output:T2",
        {
            "T1": ("int4", "uint4", "uint8", *_FLOAT8, "float4e2m1"),
            "T2": _WIDE_FLOATS,
            "Tind": ("int32", "int64"),
        },
        {"bits": 4, "block_size": 128, "gather_axis": 0, "quantize_axis": 1},
    ),
    "QAttention": _Operator(
        "input:T1 weight:T2 bias:T3 input_scale:T3 weight_scale:T3 mask_index:T4? input_zero_point:T1? "
        "weight_zero_point:T2? past:T3?",
        "output:T3 present:T3?",
        {"T1": _BYTES, "T2": _BYTES, "T3": _FLOATS, "T4": ("int32",)},
        {
            "do_rotary": int,
            "mask_filter_value": float,
            "num_heads!": int,
            "past_present_share_buffer": int,
            "scale": float,
            "unidirectional": 0,
        },
    ),
    "DynamicQuantizeLSTM": _Operator(
        "X:T W:T2 R:T2 B:T? sequence_lens:T1? initial_h:T? initial_c:T? P:T? W_scale:T W_zero_point:T2 R_scale:T "
        "R_zero_point:T2",
        "Y:T? Y_h:T? Y_c:T?",
        {"T": ("float",), "T1": ("int32",), "T2": _BYTES},
        {
            "activation_alpha": list,
            "activation_beta": list,
            "activations": set,
            "clip": float,
            "direction": "forward",
            "hidden_size": int,
            "input_forget": 0,
        },
    ),
}

_KINDS: Mapping[type, str] = {
    int: "INT",
    float: "FLOAT",
    str: "STRING",
    tuple: "INTS",
    list: "FLOATS",
    set: "STRINGS",
}
_MANY = 2**31 - 1


@cache
def contrib_signature(op_type: str) -> Signature | None:
    """The signature of an operator of ONNX Runtime's domain, None for one that is not described here."""
    operator = _OPERATORS.get(op_type)
    if operator is None:
        return None
    types = {**operator.types, "F": ("float",)}
    inputs, outputs = (tuple(_formals(text, types)) for text in (operator.inputs, operator.outputs))
    repeats = "*" in operator.inputs
    return Signature(
        version=f"version 1 of {DOMAIN}",
        inputs=inputs,
        outputs=outputs,
        input_counts=(_fewest(inputs, repeats), _MANY if repeats else len(inputs)),
        output_counts=(_fewest(outputs, repeats=False), len(outputs)),
        attributes=dict(_attributes(operator)),
    )


def _formals(text: str, types: Mapping[str, tuple[str, ...]]) -> Iterator[Formal]:
    for formal in text.split():
        name, parameter = formal.split(":")
        kind = parameter.strip("?*")
        mixed = "*" in parameter
        yield Formal(
            name, frozenset(types[kind]), "" if mixed or kind == "F" else kind, not {"?", "*"} & set(parameter)
        )


def _fewest(formals: tuple[Formal, ...], repeats: bool) -> int:  # noqa: FBT001  private
    """As many as up to the last that may not be left out; one of those that repeat is needed."""
    needed = [k for k, f in enumerate(formals, 1) if f.required]
    return len(formals) if repeats else max(needed, default=0)


def _attributes(operator: _Operator) -> Iterator[tuple[str, FormalAttribute]]:
    for name, default in operator.attributes.items():
        stated = default if not isinstance(default, type) and default != () else None
        kind = default if isinstance(default, type) else type(default)
        yield name.removesuffix("!"), FormalAttribute(_KINDS[kind], name.endswith("!"), stated)
