"""quantize/dequantize pairs of PT2E, and integer weights of PT2E and torchao, as operators of the hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from anybit.errors import FrontEndError
from anybit.frontends.torch.captured import Captured, where
from anybit.frontends.torch.quantizers.affine import Affine, affine, write_activation, write_constant

# Packages register these operators when they are imported: names do not need that.
_QUANTIZE = "quantized_decomposed.quantize_per_tensor", "quantized_decomposed.quantize_per_channel"
_DEQUANTIZE = "quantized_decomposed.dequantize_per_tensor", "quantized_decomposed.dequantize_per_channel"
_GROUPS = "quantized_decomposed.dequantize_per_channel_group"
_BLOCKS = "torchao.dequantize_affine"


@dataclass(frozen=True)
class _Parameters:
    """Arguments of a quantize or dequantize; `reciprocal` and `scale` broadcast to X."""

    scale: torch.Tensor
    zero_point: torch.Tensor
    lo: int
    hi: int
    reciprocal: torch.Tensor

    def equals(self, other: _Parameters) -> bool:
        """Whether both mean one grid."""
        return (
            (self.lo, self.hi) == (other.lo, other.hi)
            and torch.equal(self.scale, other.scale)
            and torch.equal(self.zero_point, other.zero_point)
        )

    def affine(self, node: fx.Node) -> Affine:
        """As what they mean."""
        return affine(node, self.scale, self.zero_point, self.lo, self.hi, reciprocal=self.reciprocal)


def rewrite_decomposed(captured: Captured, *, approximate: bool) -> None:
    """Replaces every dequantisation, and the quantisation before it; results are equal unless `approximate`.

    Raises:
        FrontEndError: A scale depends on the data, integers are used otherwise, or a pair does not fit together.
    """
    _check_static(captured)
    made: dict[fx.Node, fx.Node] = {}
    for node in [n for n in captured.module.graph.nodes if n.op == "call_function"]:
        name = _name(node)
        if name not in (*_DEQUANTIZE, _GROUPS, _BLOCKS):
            continue
        with captured.module.graph.inserting_before(node):
            if node in captured.varying:
                new = _activation(captured, node, made, approximate=approximate)
            else:
                new = _weights(captured, node, name)
        captured.replace(node, new)
    for node in captured.module.graph.nodes:
        if _name(node) in _QUANTIZE and node in captured.varying and node.users:
            user = next(iter(node.users))
            raise FrontEndError(
                "integers that are not dequantised", node=where(user), got=f"those of '{node.name}'", expected="a pair"
            )


def _check_static(captured: Captured) -> None:
    for node in captured.module.graph.nodes:
        if "choose_qparams" in _name(node) and node in captured.varying:
            raise FrontEndError(
                "the scale of a quantiser depends on the data",
                node=where(node),
                got=str(node.target),
                hint="use static quantisation of activations, or of weights only",
            )


def _name(node: fx.Node) -> str:
    return str(node.target).rsplit(".", 1)[0]


def _activation(captured: Captured, node: fx.Node, made: dict[fx.Node, fx.Node], *, approximate: bool) -> fx.Node:
    quantize: Any = node.args[0]
    if _name(quantize) not in _QUANTIZE:
        raise FrontEndError(
            "a dequantisation without its quantisation",
            node=where(node),
            got=where(quantize),
            expected="a quantize of the same parameters",
        )
    ours, theirs = _parameters(captured, node), _parameters(captured, quantize)
    if not ours.equals(theirs):
        raise FrontEndError(
            "a quantisation and a dequantisation of different parameters",
            node=where(node),
            got=f"{theirs.lo} .. {theirs.hi} and {ours.lo} .. {ours.hi}",
            expected="equal ranges, scales and zero points",
        )
    if quantize not in made:
        x: Any = quantize.args[0]
        made[quantize] = write_activation(captured, x, ours.affine(node), quantize.name, approximate=approximate)
    return made[quantize]


def _parameters(captured: Captured, node: fx.Node) -> _Parameters:
    x: Any = node.args[0]
    dtypes = {n.meta["val"].dtype for n in (x, node)} - {torch.uint8, torch.int8, torch.int16, torch.int32}
    if dtypes != {torch.float32}:
        got = ", ".join(map(str, dtypes))
        raise FrontEndError("element types of a quantiser", node=where(node), got=got, expected="torch.float32")
    values = [captured.constant(a, node, "scale of this quantiser") for a in node.args[1:]]
    scale, zero_point = torch.as_tensor(values[0], dtype=torch.float64), torch.as_tensor(values[1])
    if _name(node).endswith("_per_channel"):
        shape = [1] * x.meta["val"].ndim
        shape[values[2]] = -1
        scale, zero_point, limits = scale.reshape(shape), zero_point.reshape(shape), values[3:5]
        reciprocal = (1.0 / torch.as_tensor(values[0])).reshape(shape)
    else:
        scale, zero_point, limits = scale.reshape(()), zero_point.reshape(()), values[2:4]
        reciprocal = 1.0 / scale
    return _Parameters(scale, zero_point, int(limits[0]), int(limits[1]), reciprocal)


def _weights(captured: Captured, node: fx.Node, name: str) -> fx.Node:
    values = captured.constant(node, node, "value")
    if values.dtype != torch.float32:
        raise FrontEndError(
            "element type of quantised weights", node=where(node), got=values.dtype, expected="torch.float32"
        )
    if name in _DEQUANTIZE:
        return write_constant(captured, node, values, _parameters(captured, node).affine(node).quantizer)
    arguments = [captured.constant(a, node, "scale of these weights") for a in node.args]
    if name == _GROUPS:
        scale, zero_point, lo, hi, _, size = arguments[1:7]
        block: Sequence[int] = [1] * (values.ndim - 1) + [size]
    else:
        block, scale, zero_point, kind = arguments[1:5]
        lo, hi = arguments[5:7] if len(arguments) > 6 and arguments[5] is not None else _range(kind)
    zero_point = torch.zeros_like(scale) if zero_point is None else zero_point
    split, per_block = _split(tuple(values.shape), block)
    scale, zero_point = (p.reshape(per_block) for p in (scale, zero_point))
    meaning = affine(node, scale, zero_point, int(lo), int(hi), reciprocal=1.0 / scale)
    quantized = write_constant(captured, node, values.reshape(split), meaning.quantizer)
    if split == values.shape:
        return quantized
    return captured.call(torch.ops.aten.reshape.default, quantized, list(values.shape))


def _range(kind: torch.dtype) -> tuple[int, int]:
    """Lowest and highest integer of a type, of those too that torch has no arithmetic for."""
    name = str(kind).removeprefix("torch.")
    bits = int(name.lstrip("uint"))
    return (0, 2**bits - 1) if name.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _split(shape: tuple[int, ...], block: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Weights with an axis for the blocks of each axis that has several, and the shape of what is one a block.

    (8, 64) in blocks of (1, 32) is (8, 2, 32), its scales (8, 2, 1).
    """
    split: list[int] = []
    per_block: list[int] = []
    for size, width in zip(shape, block, strict=True):
        count = size // int(width)
        parts = [size] if count in (1, size) else [count, int(width)]
        split += parts
        per_block += [count, 1] if len(parts) > 1 else [count]
    return tuple(split), tuple(per_block)
