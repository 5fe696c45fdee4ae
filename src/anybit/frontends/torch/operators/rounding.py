"""rounded, widened and the bounds of grids, on torch tensors: as `anybit.rounding` and `anybit.ops` have them."""

from __future__ import annotations

import torch

from anybit.errors import UsageError
from anybit.ops.quantizer_parameters import EXACT_FLOAT32_BITS
from anybit.rounding import Rounding

Number = float | torch.Tensor
"""A parameter of a quantiser: one number, or a tensor that broadcasts to X."""


def rounded(x: torch.Tensor, mode: Rounding) -> torch.Tensor:
    """Rounds each element; right for every float, NaN and infinities stay.

    Example:
        >>> rounded(torch.tensor([2.5, -1.6, 0.49999997]), Rounding.HALF_DOWN).tolist()
        [2.0, -2.0, 0.0]
    """
    match mode:
        case Rounding.ROUND:
            return torch.round(x)
        case Rounding.CEIL:
            return torch.ceil(x)
        case Rounding.FLOOR:
            return torch.floor(x)
        case Rounding.UP:
            return torch.copysign(torch.ceil(x.abs()), x)
        case Rounding.DOWN:
            return torch.trunc(x)
        case Rounding.HALF_UP | Rounding.HALF_DOWN:
            whole = torch.floor(x.abs())
            rest = x.abs() - whole  # exact, where adding a half is not
            step = rest >= 0.5 if mode is Rounding.HALF_UP else rest > 0.5
            return torch.copysign(whole + step.to(x.dtype), x)


def widened(x: torch.Tensor) -> torch.Tensor:
    """X in the type that operators compute in: float16 as float32, float32 and float64 as they are.

    Raises:
        UsageError: X is of another type.
    """
    if x.dtype == torch.float16:
        return x.float()
    if x.dtype not in (torch.float32, torch.float64):
        raise UsageError("element type of X", got=x.dtype, expected="float16, float32 or float64")
    return x


def parameter(value: Number, x: torch.Tensor, name: str) -> torch.Tensor:
    """A parameter as a tensor beside X.

    Raises:
        UsageError: It would make the result larger than X.
    """
    widened(x)
    tensor = value if isinstance(value, torch.Tensor) else torch.tensor(value, dtype=torch.float32, device=x.device)
    fits = tensor.ndim <= x.ndim and all(
        p in (1, n) for p, n in zip(reversed(tensor.shape), reversed(x.shape), strict=False)
    )
    if not fits:
        raise UsageError(
            f"shape of {name}", got=list(tensor.shape), expected=f"one that broadcasts to X, {list(x.shape)}"
        )
    return tensor


def checked_bits(bit_width: torch.Tensor) -> torch.Tensor:
    """The bit width in float64.

    Raises:
        UsageError: An element is not a positive integer.
    """
    bits = bit_width.double()
    bad = ~((bits >= 1) & (bits == bits.floor()) & bits.isfinite())
    if bool(bad.any()):
        raise UsageError("bit width", got=bits[bad][0].item(), expected="a positive integer")
    return bits


def integer_bounds(bits: torch.Tensor, *, signed: bool, narrow: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """lo, hi = -2^(b-1) + narrow, 2^(b-1) - 1 if signed, else 0, 2^b - 1 - narrow; in float64."""
    if signed:
        half = torch.exp2(bits - 1)
        return int(narrow) - half, half - 1
    return torch.zeros_like(bits), torch.exp2(bits) - 1 - int(narrow)


def clipped_and_scaled(
    r: torch.Tensor, bounds: tuple[torch.Tensor, torch.Tensor], bits: torch.Tensor, z: torch.Tensor, s: torch.Tensor
) -> torch.Tensor:
    """(clip(r, lo, hi) - z) * s in the type of r; in float64, rounded once, where float32 does not hold lo .. hi."""
    lo, hi = bounds
    y = (torch.minimum(torch.maximum(r, lo.to(r.dtype)), hi.to(r.dtype)) - z) * s
    is_wide = bits > EXACT_FLOAT32_BITS
    if not bool(is_wide.any()):
        return y
    wide = (torch.minimum(torch.maximum(r.double(), lo), hi) - z.double()) * s.double()
    return torch.where(is_wide, wide.to(r.dtype), y)
