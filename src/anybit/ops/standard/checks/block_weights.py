"""Rules of the operators of ONNX Runtime whose weights are packed in blocks.

MatMulNBits         A (.., K), B (N, ceil(K/b), b*bits/8), scales (N, ceil(K/b)), zero points packed or as the scales
MatMulBnb4          B (ceil(N*K/2)), absmax (ceil(N*K/b))
GatherBlockQuantized  scales as data, but ceil(D/b) along `quantize_axis`

b is `block_size`, a power of two from 16 up. Scales and zero points may be flattened. Source: the operators' documents
in ONNX Runtime 1.32, which takes 2, 4 and 8 bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from anybit.errors import Finding
from anybit.ops.standard.checks.call import Shape, StandardCall
from anybit.ops.standard.checks.parameters import (
    check_axis,
    check_choice,
    check_shape,
    dimension,
    fits,
    rule_of,
    written,
)

_WIDTHS = (2, 4, 8)
_LEAST_BLOCK = 16
_ACCURACY_LEVELS = range(5)
_BYTE = 8


def matmul_nbits(call: StandardCall) -> Iterator[Finding]:
    """Rules of MatMulNBits."""
    bits, block = call.integer("bits"), call.integer("block_size")
    rows, terms = call.integer("N"), call.integer("K")
    wrong = [*check_choice(call, "bits", *_WIDTHS), *_block_size(call, block), *_positive(call, "N", "K")]
    yield from wrong
    yield from check_choice(call, "accuracy_level", *_ACCURACY_LEVELS)
    if wrong:
        return
    yield from _last_axis(call, terms)
    blocks = -(-terms // block)
    if not call.integer("weight_prepacked"):
        yield from _packed(call, (rows, blocks, block * bits // _BYTE))
    yield from _flat_or(call, "scales", (rows, blocks))
    packed = call.types.get("zero_points") == "uint8"
    if packed or "zero_points" in call.types:
        yield from _flat_or(call, "zero_points", (rows, -(-blocks * bits // _BYTE)) if packed else (rows, blocks))
    kind, scaled = call.types.get("zero_points", "uint8"), call.types.get("scales")
    if kind != "uint8" and scaled is not None and kind != scaled:
        expected = f"uint8, or {scaled} as the scales"
        yield call.finding("element-type", "type of zero_points", got=kind, expected=expected)
    yield from _groups(call, terms, blocks, block)
    yield from check_shape(call, "bias", (rows,), hint="one number for each of the N columns")


def matmul_bnb4(call: StandardCall) -> Iterator[Finding]:
    """Rules of MatMulBnb4."""
    block, rows, terms = call.integer("block_size"), call.integer("N"), call.integer("K")
    wrong = [*_block_size(call, block), *_positive(call, "N", "K"), *check_choice(call, "quant_type", 0, 1)]
    yield from wrong
    if wrong:
        return
    yield from _last_axis(call, terms if call.integer("transB", 1) else rows)
    yield from _flat_or(call, "B", (-(-rows * terms // 2),))
    yield from _flat_or(call, "absmax", (-(-rows * terms // block),))


def gather_block_quantized(call: StandardCall) -> Iterator[Finding]:
    """Rules of GatherBlockQuantized."""
    block, data = call.integer("block_size", 128), call.shapes.get("data")
    wrong = [*_gathered_data(call, block)]
    yield from wrong
    if data is None:
        return
    for name in ("gather_axis", "quantize_axis"):
        found = [*check_axis(call, name, call.integer(name), len(data), "data")]
        yield from found
        wrong += found
    if not wrong:
        yield from _gathered_scales(call, data, call.integer("quantize_axis") % len(data), block)


def _gathered_data(call: StandardCall, block: int) -> Iterator[Finding]:
    """What the type of the data allows: one block a row for floats alone, other widths and axes than the rest."""
    kind = call.types.get("data", "")
    is_float = kind.startswith("float")
    if not (is_float and block == 0):
        yield from _block_size(call, block)
    if is_float and "zero_points" in call.given:
        yield call.finding("inputs", "zero_points beside data of a float type", got=kind, expected="no zero_points")
    if kind in ("int4", "uint4"):
        yield from check_choice(call, "bits", 4)
    if kind != "uint8":
        return
    yield from check_choice(call, "bits", *_WIDTHS)
    axis = call.integer("gather_axis")
    if axis:
        yield call.finding("axis", "attribute 'gather_axis' for data of uint8", got=axis, expected="0")
    if call.integer("bits") < _BYTE and axis == call.integer("quantize_axis"):
        hint = "bytes that hold several numbers are packed along the last axis"
        yield call.finding("axis", "gather_axis and quantize_axis", got=axis, expected="two axes", hint=hint)


def _gathered_scales(call: StandardCall, data: Shape, axis: int, block: int) -> Iterator[Finding]:
    kind, bits = call.types.get("data", ""), call.integer("bits", 4)
    if not kind:
        return
    packing = _BYTE // bits if kind == "uint8" else 1
    if packing > 1 and axis != len(data) - 1:
        return  # the document does not say whether the packed axis counts bytes or numbers here
    wanted = list(data)
    length = wanted[axis]
    wanted[axis] = None if length is None else -(-length * packing // block) if block else 1
    scales = call.shapes.get("scales")
    broadcast = tuple(
        1 if s == 1 and k != axis else d for k, (s, d) in enumerate(zip(scales or (), wanted, strict=False))
    )
    expected = broadcast if kind.startswith("float") and len(broadcast) == len(wanted) else tuple(wanted)
    yield from check_shape(call, "scales", expected, hint=f"data has shape {written(data)}, in blocks of {block}")
    blocks = wanted[axis]
    if packing > 1:
        wanted[axis] = None if blocks is None else -(-blocks // packing)
    yield from check_shape(call, "zero_points", tuple(wanted), hint="one for each scale, packed as the data")


def _block_size(call: StandardCall, block: int) -> Iterator[Finding]:
    if block < _LEAST_BLOCK or block & (block - 1):
        expected = f"a power of two from {_LEAST_BLOCK} up"
        yield call.finding("block-size", "attribute 'block_size'", got=block, expected=expected)


def _positive(call: StandardCall, *names: str) -> Iterator[Finding]:
    for name in names:
        if name in call.attributes and call.integer(name) < 1:
            yield call.finding(
                "attribute", f"attribute '{name}'", got=call.integer(name), expected="a positive integer"
            )


def _last_axis(call: StandardCall, terms: int) -> Iterator[Finding]:
    length = dimension(call.shapes.get("A"), -1)
    if length is not None and length != terms:
        yield call.finding("operand-shape", "last axis of A", got=length, expected=str(terms), hint="K says so")


def _packed(call: StandardCall, wanted: Shape) -> Iterator[Finding]:
    """The packed weights; a dimension of 0 stands for a product that is left out."""
    shape = call.shapes.get("B")
    if shape is None or (len(shape) == len(wanted) and 0 in shape):
        return
    hint = "(N, blocks, bytes of a block) by the attributes N, K, block_size and bits"
    yield from check_shape(call, "B", wanted, hint=hint)


def _flat_or(call: StandardCall, name: str, wanted: tuple[int, ...]) -> Iterator[Finding]:
    shape = call.shapes.get(name)
    if shape is None or fits(shape, wanted) or fits(shape, (prod(wanted),)):
        return
    if 0 in (call.shapes.get("B") or ()):
        return
    hint = "by the attributes N, K and block_size"
    yield call.finding(rule_of(name), f"shape of {name}", got=written(shape), expected=written(wanted), hint=hint)


def _groups(call: StandardCall, terms: int, blocks: int, block: int) -> Iterator[Finding]:
    """The block of each term, where the terms are not in the order of the blocks."""
    yield from check_shape(call, "g_idx", (terms,), (blocks * block,), hint="one block for each term")
    groups = call.constants.get("g_idx")
    if groups is None or not groups.size:
        return
    if groups.min() < 0 or groups.max() >= blocks:
        got, expected = f"{groups.min()} .. {groups.max()}", f"0 .. {blocks - 1}"
        yield call.finding("operand-shape", "blocks in g_idx", got=got, expected=expected)
