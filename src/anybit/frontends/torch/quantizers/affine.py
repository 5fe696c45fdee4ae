"""Affine: what torch's quantisers compute, and the ways to say it with Quant.

    Y = (clip(round(X * (1/scale)) + zero_point, lo, hi) - zero_point) * scale

torch multiplies by the reciprocal, Quant divides: the two part where X is within a rounding error of half a step. So a
quantiser of constants is computed by torch, and its results, which lie on the grid, are what Quant reads. One of
activations becomes a single Quant where the two give equal results for every float32, which its thresholds tell; else
Mul, a Quant of scale 1, and Mul, which compute what torch does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import fx

from anybit.arrays import Array
from anybit.errors import FrontEndError
from anybit.formats.fake_quant.same_function import division_agrees
from anybit.frontends.torch.captured import Captured, where
from anybit.quantizers.quantizer import Quantizer, compact, enclosing_grid


@dataclass(frozen=True)
class Affine:
    """A quantiser of torch.

    Attributes:
        quantizer: Its numbers; scale and zero point broadcast to X.
        reciprocal: What torch multiplies X by, float32, of the shape of the scale.
    """

    quantizer: Quantizer
    reciprocal: Array


def affine(
    node: fx.Node, scale: torch.Tensor, zero_point: torch.Tensor, lo: int, hi: int, *, reciprocal: torch.Tensor
) -> Affine:
    """The quantiser that a node's arguments say.

    Raises:
        FrontEndError: The scale is not positive and finite, or the zero point no integer.
    """
    s, z = (p.detach().cpu().double().numpy() for p in (scale, zero_point))
    if not (np.isfinite(s) & (s > 0)).all():
        raise FrontEndError("scale of a quantiser", node=where(node), got=s.min(), expected="positive finite numbers")
    if not (z == np.floor(z)).all():
        raise FrontEndError("zero point of a quantiser", node=where(node), got=z.flat[0], expected="integers")
    whole = Quantizer(s.astype(np.float32), compact(z), np.asarray(float(lo)), np.asarray(float(hi))).between(lo, hi)
    return Affine(whole, reciprocal.detach().cpu().float().numpy())


def write_constant(captured: Captured, node: fx.Node, values: torch.Tensor, quantizer: Quantizer) -> fx.Node:
    """Quant of constants that are on its grid, as torch computed them, before `node`.

    Raises:
        FrontEndError: Quant does not give them back.
    """
    numbers = values.detach().cpu().numpy()
    if not np.array_equal(quantizer(numbers), numbers):
        raise FrontEndError(
            "Quant does not give the constants of this quantiser back",
            node=where(node),
            got=f"integers {quantizer.lo.min():g} .. {quantizer.hi.max():g} of scale {quantizer.scale.flat[0]:g}",
            hint="use a smaller zero point, or fewer bits",
        )
    return _quant(captured, captured.constant_input(node, values), quantizer, node.name)


def write_activation(captured: Captured, x: fx.Node, meaning: Affine, name: str, *, approximate: bool) -> fx.Node:
    """The quantiser of a tensor that depends on the inputs, as the module's docstring says."""
    centred = meaning.quantizer.centred()
    agrees = division_agrees(centred, meaning.reciprocal)
    if approximate or agrees:
        y = _quant(captured, x, centred, name)
        captured.divided.update([] if agrees else _names_of_quantizers(y))
        return y
    factor = captured.new_constant(f"{name}_reciprocal", meaning.reciprocal)
    unit = Quantizer(np.ones((), np.float32), centred.zero_point, centred.lo, centred.hi, grid=centred.grid)
    scaled = captured.call(torch.ops.aten.mul.Tensor, x, factor)
    integers = _quant(captured, scaled, unit, name)
    scale = captured.new_constant(f"{name}_scale", centred.scale)
    return captured.call(torch.ops.aten.mul.Tensor, integers, scale)


def _names_of_quantizers(y: fx.Node) -> list[str]:
    """The Quant that a node is, or that it clips."""
    while y.target is not torch.ops.anybit.quant.default:
        y = y.all_input_nodes[0]
    return [y.name]


def _quant(captured: Captured, x: fx.Node, quantizer: Quantizer, name: str) -> fx.Node:
    grid = quantizer.grid or enclosing_grid(quantizer.lo, quantizer.hi)
    parameters = (
        captured.new_constant(f"{name}_step", quantizer.scale),
        captured.new_constant(f"{name}_zero_point", quantizer.zero_point.astype(np.float32)),
        captured.new_constant(f"{name}_bits", np.asarray(grid.bits, np.float32)),
    )
    mode = quantizer.rounding.value
    y = captured.call(torch.ops.anybit.quant.default, x, *parameters, grid.signed, grid.narrow, mode)
    if quantizer.grid is not None:
        return y
    lower, upper = (np.asarray(quantizer.dequantized(b)) for b in (quantizer.lo, quantizer.hi))
    y = captured.call(torch.ops.aten.maximum.default, y, captured.new_constant(f"{name}_min", lower))
    return captured.call(torch.ops.aten.minimum.default, y, captured.new_constant(f"{name}_max", upper))
