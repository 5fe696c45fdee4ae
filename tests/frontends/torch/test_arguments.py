"""from_torch: arguments and results of any shape and nesting, free axes, and what is said where they do not fit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import anybit
from anybit.errors import FrontEndError, UsageError
from anybit.frontends.torch import from_torch, quant
from tests.frontends.unseen import departing

# torch warns about its own code, and the corners of its exporter.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{kind}") for kind in ("DeprecationWarning", "UserWarning", "FutureWarning")
]

R = torch.randn


def q(x):
    return quant(x, 0.1, bit_width=4)


def module(forward, **children):
    """A module with this forward."""

    class Made(nn.Module):
        def __init__(self):
            super().__init__()
            for name, child in children.items():
                setattr(self, name, child)

    Made.forward = staticmethod(forward)
    return Made().eval()


def shapes(export):
    return {v.name: [str(s) for s in v.shape] for v in export.model.graph.inputs}


def test_nested_arguments_and_results():
    def forward(x, pair, *, options, mask=None, flag=False):
        y = q(x + pair[0] - pair[1][0]) if flag else x
        return {"y": y, "none": mask, "more": (None, y * options["by"])}

    net = module(forward)

    def arguments(n):
        return (R(n, 3), (R(n, 3), [R(n, 3), True])), {"options": {"by": R(n, 3), "how": "fast"}, "flag": True}

    args, kwargs = arguments(2)
    export = from_torch(net, args, kwargs=kwargs, quiet=True)
    assert list(shapes(export)) == ["x", "pair_0", "pair_1_0", "options_by"]
    assert len(export.model.graph.outputs) == 2
    args, kwargs = arguments(5)
    assert departing(export, net, *args, **kwargs) == 0
    by_name = from_torch(module(lambda x, t: q(x * t)), {"t": R(2, 3), "x": R(2, 3)}, quiet=True)
    assert list(shapes(by_name)) == ["t", "x"]


def test_inputs_and_outputs_without_a_batch():
    net = module(lambda x, t, i, h: (q(x[:, i] * t), (h + x.mean(0, keepdim=True)), x.sum()))
    example = (R(4, 6), torch.tensor(2.0), torch.tensor([0, 3, 1]), R(1, 6))
    export = from_torch(net, example, dynamic_batch=False, quiet=True)
    fresh = (R(4, 6), torch.tensor(0.3), torch.tensor([5, 0, 0]), R(1, 6))
    assert departing(export, net, *fresh) == 0
    scaled = from_torch(module(lambda x, t: q(x * t)), (R(4, 6), torch.tensor(2.0)), quiet=True)
    assert shapes(scaled) == {"x": ["N", "6"], "t": []}
    with pytest.raises(FrontEndError, match=r"no common batch: got 'x' \[4, 6\].*'h' \[1, 6\].*dynamic_shapes"):
        from_torch(module(lambda x, h: x + h), (R(4, 6), R(1, 6)))


def test_a_recurrent_layer_with_its_states():
    gru = nn.GRU(3, 4, batch_first=True)
    net = module(lambda x, h=None: gru(q(x), h), gru=gru)
    export = from_torch(net, R(2, 5, 3), dynamic_batch=False, quiet=True)
    assert departing(export, net, R(2, 5, 3)) == 0
    export = from_torch(net, (R(2, 5, 3), R(1, 2, 4)), dynamic_batch=False, quiet=True)
    assert departing(export, net, R(2, 5, 3), R(1, 2, 4)) == 0


def test_free_axes_as_torch_export_takes_them():
    net = module(lambda x, mask: (q(x) * mask[:, :, None]).mean(1))
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", max=64)
    free = {"x": {0: batch, 1: length}, "mask": (batch, length)}
    export = from_torch(net, (R(1, 5, 3), R(1, 5)), dynamic_shapes=free, quiet=True)
    assert shapes(export) == {"x": ["batch", "length", "3"], "mask": ["batch", "length"]}
    assert departing(export, net, R(3, 9, 3), R(3, 9)) == 0
    conv = nn.Conv2d(2, 3, 3, padding=1)
    net = nn.Sequential(conv, module(q))
    export = from_torch(net, R(1, 2, 8, 8), dynamic_shapes=({2: "height", 3: torch.export.Dim.DYNAMIC},), quiet=True)
    assert shapes(export) == {"input": ["1", "2", "height", "input_3"]}
    assert departing(export, net, R(1, 2, 5, 11)) == 0


@pytest.mark.parametrize(
    ("free", "text"),
    [
        ({"y": {0: "batch"}}, r"argument 'dynamic_shapes': got 'y', expected one of 'x'"),
        (({7: "batch"},), r"got arguments\[0\]: axis 7, expected one of the 2 axes"),
        (({0: "batch"}, None), r"expected the nesting of the arguments"),
        ((("batch",),), r"expected a dict of axes, or 2 entries"),
    ],
)
def test_free_axes_that_do_not_fit(free, text):
    with pytest.raises(UsageError, match=text):
        from_torch(module(q), R(2, 3), dynamic_shapes=free)


@pytest.mark.parametrize(
    ("forward", "example", "text"),
    [
        (lambda x, y: x + y, (R(2, 3),), r"missing a required argument: 'y'"),
        (
            lambda x: x,
            ({"x": R(2, 3).numpy()},),
            r"'x_x': argument 'example_inputs': got ndarray.*torch.from_numpy",
        ),
        (lambda x: x * 1, R(2, 3, dtype=torch.complex64), r"input 'x': an input that ONNX has no type for"),
        (lambda x: x[:, 9], R(2, 3), r"module '\(root\)': the module fails on its example: got IndexError"),
        (lambda x: (x, 3), R(2, 3), r"output 1: a result is no tensor: got int"),
        (lambda x: torch.from_numpy(x.numpy()) * 2, R(2, 3), r"use torch's operators.*numpy"),
        (
            lambda x: torch.cond(x.sum() > 0, q, lambda x: q(-x), (x,)),
            R(2, 3),
            r"module '\(root\)', cond 'cond': a quantiser inside torch.cond.*choose by torch.where",
        ),
    ],
)
def test_what_does_not_fit_is_named(forward, example, text):
    with pytest.raises(anybit.AnybitError, match=text):
        from_torch(module(forward), example, quiet=True)


def test_scripted_modules_and_those_without_numbers_are_named():
    net = nn.Sequential(torch.jit.script(nn.Linear(3, 3)))
    with pytest.raises(FrontEndError, match=r"module '0': a module that TorchScript has compiled.*was scripted"):
        from_torch(net, R(2, 3))
    with pytest.raises(FrontEndError, match=r"tensor '0.weight': a tensor without numbers: got the meta device"):
        from_torch(nn.Sequential(nn.Linear(3, 3, device="meta")), R(2, 3))


class Odd(nn.Sequential):
    def eval(self):
        super().eval()


def test_modules_that_are_no_plain_ones(capsys):
    pruned = nn.Linear(3, 3)
    torch.nn.utils.prune.l1_unstructured(pruned, "weight", 0.5)
    pruned(R(2, 3))  # leaves a weight that was computed with gradients
    net = Odd(pruned, torch.compile(nn.Linear(3, 3)), nn.Dropout()).train()
    export = from_torch(torch.compile(net), R(2, 3), quiet=True)
    assert {"0.weight", "1.bias"} <= set(export.model.graph.initializers)
    plain = Odd(pruned, net[1]._orig_mod)
    assert departing(export, plain, R(5, 3)) == 0
    assert "weight_mask" in dict(pruned.named_buffers())  # the module is not changed
    half = nn.Sequential(nn.Linear(3, 3)).to(torch.bfloat16)
    export = from_torch(half, R(2, 3, dtype=torch.bfloat16))
    assert "bfloat16 numbers are exported, and compared, in float32" in capsys.readouterr().err
    assert half[0].weight.dtype == torch.bfloat16
    assert departing(export, nn.Sequential(nn.Linear(3, 3)).requires_grad_(False), R(2, 3)) > 0
    assert departing(export, half.float(), R(2, 3)) == 0
