"""Rules of Attention, and of QAttention and DynamicQuantizeLSTM of ONNX Runtime's domain.

Attention            Q, K, V, past_key, past_value and nonpad_kv_seqlen begin with one batch
QAttention           input (batch, time, I), weight (I, 3H), bias (3H); H a multiple of num_heads
DynamicQuantizeLSTM  X (time, batch, I), W (D, I, 4H), R (D, H, 4H), B (D, 8H); scales (D) or (D, 4H); D directions
"""

from __future__ import annotations

from collections.abc import Iterator

from anybit.errors import Finding
from anybit.ops.standard.checks.call import StandardCall
from anybit.ops.standard.checks.parameters import (
    check_pair,
    check_shape,
    check_single,
    check_vector,
    dimension,
    fits,
    written,
)

_PROJECTIONS = 3  # query, key, value
_GATES = 4


def attention(call: StandardCall) -> Iterator[Finding]:
    """All inputs of Attention but the mask have the batch of Q."""
    batch = dimension(call.shapes.get("Q"), 0)
    for name in ("K", "V", "past_key", "past_value", "nonpad_kv_seqlen"):
        shape = call.shapes.get(name)
        if shape is not None and not fits(shape[:1], (batch,)):
            expected = f"a batch of {'one size' if batch is None else batch}, as Q has"
            yield call.finding("operand-shape", f"shape of {name}", got=written(shape), expected=expected)


def qattention(call: StandardCall) -> Iterator[Finding]:
    """Rules of QAttention."""
    batch = dimension(call.shapes.get("input"), 0)
    yield from check_shape(call, "input", (None, None, None), hint="(batch, time, features)")
    features = dimension(call.shapes.get("input"), 2)
    yield from check_shape(call, "weight", (features, None), hint="a row for each feature of the input")
    columns = dimension(call.shapes.get("weight"), 1)
    yield from check_shape(call, "bias", (columns,), hint="one number for each column of the weights")
    yield from check_single(call, "input_scale", "input_zero_point")
    for name in ("weight_scale", "weight_zero_point"):
        yield from check_vector(call, name, columns, "columns of the weights")
    mask = call.shapes.get("mask_index")
    if batch is not None and mask is not None and len(mask) == 1:
        hint = "one length, two ends, or three of them and 2, for each sample"
        yield from check_shape(call, "mask_index", (batch,), (2 * batch,), (3 * batch + 2,), hint=hint)
    heads = call.integer("num_heads")
    if "num_heads" in call.attributes and heads < 1:
        yield call.finding("attribute", "attribute 'num_heads'", got=heads, expected="a positive integer")
        return
    if columns is None or not heads:
        return
    if columns % (_PROJECTIONS * heads):
        expected = f"a multiple of {_PROJECTIONS} x {heads} heads"
        yield call.finding("operand-shape", "columns of the weights", got=columns, expected=expected)
        return
    past = (2, batch, heads, None, columns // _PROJECTIONS // heads)
    yield from check_shape(call, "past", past, hint="(2, batch, heads, time, size of a head)")


def dynamic_quantize_lstm(call: StandardCall) -> Iterator[Finding]:
    """Rules of DynamicQuantizeLSTM."""
    yield from check_shape(call, "X", (None, None, None), hint="(time, batch, features)")
    hidden = call.integer("hidden_size") or dimension(call.shapes.get("R"), 1)
    directions = 2 if call.text("direction") == "bidirectional" else 1
    features, batch = dimension(call.shapes.get("X"), 2), dimension(call.shapes.get("X"), 1)
    gates = None if hidden is None else _GATES * hidden
    yield from check_shape(call, "W", (directions, features, gates), hint="(directions, features, 4 * hidden)")
    yield from check_shape(call, "R", (directions, hidden, gates), hint="(directions, hidden, 4 * hidden)")
    yield from check_shape(call, "B", (directions, None if gates is None else 2 * gates))
    for name in ("initial_h", "initial_c"):
        yield from check_shape(call, name, (directions, batch, hidden))
    yield from check_shape(call, "sequence_lens", (batch,))
    for weights in "WR":
        for kind in ("scale", "zero_point"):
            yield from check_shape(call, f"{weights}_{kind}", (directions,), (directions, gates))
        yield from check_pair(call, f"{weights}_scale", f"{weights}_zero_point")
