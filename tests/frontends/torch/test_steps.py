"""anybit::steps: a body for each element of a sequence, and what becomes of it in a model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

import anybit
from anybit.errors import FrontEndError
from anybit.frontends.torch import quant
from anybit.frontends.torch.convert import hub_model
from anybit.frontends.torch.steps import known_bodies, steps

pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{kind}") for kind in ("DeprecationWarning", "UserWarning", "FutureWarning")
]


class Sums(nn.Module):
    """Quantised sums of what came before, and how many steps there were."""

    def forward(self, total, count, element, weight):
        return quant(total + element * weight, 0.25, 0.0, 6), count + 1


class Loop(nn.Module):
    def __init__(self, axis, *, reverse):
        super().__init__()
        self.axis, self.reverse = axis, reverse
        self.weight = nn.Parameter(torch.tensor([0.5, 1.5, -1.0]))

    def forward(self, x):
        first, count = torch.zeros_like(x.select(self.axis, 0)), torch.zeros(1)
        weight = quant(self.weight, 0.5, 0.0, 4)
        return tuple(steps([first, count], x, [weight], "sums", axis=self.axis, reverse=self.reverse))


def looped(x, axis, *, reverse):
    total, rows = torch.zeros_like(x.select(axis, 0)), []
    for element in reversed(x.unbind(axis)) if reverse else x.unbind(axis):
        total = quant(total + element * torch.tensor([0.5, 1.5, -1.0]), 0.25, 0.0, 6)
        rows.append(total)
    return total, torch.tensor([float(len(rows))]), torch.stack(rows[::-1] if reverse else rows, dim=axis)


@pytest.mark.parametrize(("axis", "reverse"), [(0, False), (1, True)])
def test_the_operator_and_its_scan_are_the_loop(axis, reverse):
    x = torch.randn(2, 4, 3)
    module = Loop(axis, reverse=reverse)
    wanted = [t.numpy() for t in looped(x, axis, reverse=reverse)]
    with known_bodies({"sums": Sums()}), torch.no_grad():
        assert all(np.array_equal(a, b) for a, b in zip(module(x), wanted, strict=True))
        traced = hub_model(module, (x,), None, approximate=False)
        recording, results = traced.record([x])
    assert all(np.array_equal(a, b) for a, b in zip(results, wanted, strict=True))
    assert [len(rows) for rows in recording.steps.values()] == [x.shape[axis]]
    (scan,) = (n for n in traced.model.graph if n.op_type == "Scan")
    body = scan.attributes["body"].as_graph()
    assert sorted(n.op_type for n in body if n.op_type != "Identity") == ["Add", "Add", "Mul", "Quant"]
    for engine in ("reference", "onnxruntime"):
        given = anybit.run(traced.model, x.numpy(), engine=engine)
        assert all(np.array_equal(a, b) for a, b in zip(given.values(), wanted, strict=True))


def test_shapes_are_known_without_the_body():
    with FakeTensorMode():
        total, count, rows = Loop(1, reverse=False)(torch.empty(2, 4, 3))
    assert [tuple(t.shape) for t in (total, count, rows)] == [(2, 3), (1,), (2, 4, 3)]


def test_a_body_that_is_not_known():
    with pytest.raises(FrontEndError, match="body is not known: got sums"):
        Loop(0, reverse=False)(torch.randn(2, 4, 3))
