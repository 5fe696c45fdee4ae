"""Python's numbers beside tensors of any type: what torch makes of them, bit for bit or by a rounding of float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import anybit
from anybit.errors import FrontEndError

F64, F32, I64, I32, U8, BOOL = torch.float64, torch.float32, torch.int64, torch.int32, torch.uint8, torch.bool
CASES = {
    "sum": (F64, lambda x: x + 0.1),
    "difference": (F64, lambda x: x - 0.1),
    "difference from a number": (F64, lambda x: 0.1 - x),
    "quotient of a number": (F64, lambda x: 0.1 / (x + 3)),
    "power": (F64, lambda x: x.abs() ** 0.7),
    "factor of a summand": (F64, lambda x: torch.add(x, x, alpha=0.3)),
    "factor of what is subtracted": (F64, lambda x: torch.sub(x * 0.1, x, alpha=0.3)),
    "clip": (F64, lambda x: x.clamp(-0.1, 0.7)),
    "clip on one side": (F64, lambda x: x.clamp(max=0.7)),
    "choice": (F64, lambda x: torch.where(x > 0.1, x, 0.1)),
    "mask": (F64, lambda x: x.masked_fill(x > 0.1, 0.3)),
    "weighted mean": (F64, lambda x: torch.lerp(x, x * 2, 0.3)),
    "float64 on the way": (F32, lambda x: (x.double() * 0.1).float()),
    "an integer that float32 does not hold": (F64, lambda x: x + (2**24 + 1)),
    "a number that float32 holds": (F64, lambda x: x * 2.5),
    "float32 and a number": (F32, lambda x: x * 0.1),
    "float32 and a float64 scalar": (F32, lambda x: x * torch.tensor(0.1, dtype=F64)),
    "integers and a number": (I32, lambda x: x * 0.1),
    "integers of 64 bits and a large one": (I64, lambda x: x + 2**40),
    "quotient of integers": (I32, lambda x: x / 3),
    "whole quotient": (I32, lambda x: x // 3),
    "bytes": (U8, lambda x: x + 30),
    "truth and an integer": (BOOL, lambda x: x * 2),
    "truth and a number": (BOOL, lambda x: x * 0.5),
}


class Module(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def drawn(dtype):
    generator = torch.Generator().manual_seed(0)
    if dtype.is_floating_point:
        return torch.randn(4, 3, dtype=dtype, generator=generator)
    return torch.randint(0, 2 if dtype == BOOL else 50, (4, 3), generator=generator).to(dtype)


@pytest.mark.parametrize(("dtype", "function"), CASES.values(), ids=CASES)
def test_a_number_beside_a_tensor(dtype, function):
    x = drawn(dtype)
    model = anybit.from_torch(Module(function), (x,), quiet=True).model
    (given,) = anybit.run(model, {"x": x.numpy()}).values()
    wanted = function(x).numpy()
    assert given.dtype == wanted.dtype
    np.testing.assert_allclose(given, wanted, rtol=2.0**-51 if wanted.dtype == np.float64 else 2.0**-23)


def test_numbers_that_the_exporter_rounds_are_told():
    x = drawn(F64)
    with pytest.raises(FrontEndError, match="compute it in float32"):
        anybit.from_torch(Module(lambda x: torch.nn.functional.leaky_relu(x, 0.1)), (x,), quiet=True)


def test_complex_numbers_are_refused_by_their_name():
    with pytest.raises(FrontEndError, match="complex numbers"):
        anybit.from_torch(Module(lambda x: torch.view_as_real(x * 1j)), (drawn(F32),), quiet=True)
