"""Quantisers that do not quantise yet are named, with the cure, before anything else is said."""

from __future__ import annotations

import brevitas.nn as qnn
import pytest
import torch
from brevitas.graph.calibrate import calibration_mode
from torch import nn

from anybit.errors import FrontEndError
from anybit.frontends.brevitas import from_brevitas

KINDS = ("DeprecationWarning", "UserWarning", "FutureWarning", "ImportWarning")
pytestmark = [pytest.mark.filterwarnings(f"ignore::{kind}") for kind in KINDS]


class Shared(nn.Module):
    """What brevitas.graph.quantize makes where the signs of two inputs of a sum are aligned."""

    def __init__(self):
        super().__init__()
        self.enter = qnn.QuantIdentity(bit_width=8)
        shared = self.enter.act_quant.fused_activation_quant_proxy.tensor_quant
        injector = qnn.QuantReLU(bit_width=8).act_quant.quant_injector
        self.relu = qnn.QuantReLU(act_quant=injector.let(signed=True, tensor_quant=shared))

    def forward(self, x):
        return self.relu(x) + self.enter(x)


def test_an_observer_that_calibration_leaves_on_is_refused_by_its_path():
    module, x = Shared().eval(), torch.randn(4, 6)
    with torch.no_grad(), calibration_mode(module):
        module(x)
    with pytest.raises(FrontEndError, match=r"module 'enter\.act_quant.*only observes.*observer_only = False"):
        from_brevitas(module, x)
    for child in module.modules():
        if hasattr(child, "observer_only"):
            child.observer_only = False
    assert from_brevitas(module, x, quiet=True).agreement.holds


def test_a_quantiser_that_waits_is_refused_by_its_path():
    net = nn.Sequential(qnn.QuantIdentity(bit_width=4, quant_delay_steps=3)).eval()
    with pytest.raises(FrontEndError, match=r"module '0\.act_quant.*waits.*quant_delay_steps = 3"):
        from_brevitas(net, torch.randn(2, 3))
