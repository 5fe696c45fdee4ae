"""flows: how a net of floats becomes one that is quantised, as the packages' own examples do it."""

from __future__ import annotations

import copy
import sys
import types

import torch

# torchvision's wheel is built for another torch than the one of processors alone: of its own operators, which no
# architecture here uses, there are none to register shapes for.
sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations"))

_GROUP = 32


def images(size, batch=2, channels=3):
    return (torch.randn(batch, channels, size, size),)


def tokens(length=12, vocabulary=64, batch=2):
    return (torch.randint(0, vocabulary, (batch, length)),)


def signals(channels=2, length=64, batch=2):
    return (torch.randn(batch, channels, length),)


def brevitas_example(name, channels, size):
    """A net of brevitas_examples, its quantisers calibrated."""
    from brevitas_examples.bnn_pynq.models import model_with_cfg

    net, _ = model_with_cfg(name, pretrained=False)
    inputs = images(size, channels=channels)
    return _run(net.train(), inputs), inputs


def brevitas_layers(net, inputs):
    """Every layer in the place of which Brevitas has one, 8 bits, calibrated."""
    from brevitas.graph.calibrate import calibration_mode
    from brevitas.graph.quantize import layerwise_quantize

    quantized = layerwise_quantize(copy.deepcopy(net).eval())
    with torch.no_grad(), calibration_mode(quantized):
        for _ in range(2):
            quantized(*inputs)
    return quantized.eval(), inputs


def brevitas_graph(net, inputs):
    """Brevitas' post-training flow over the graph of a net, its normalisations merged, 8 bits, calibrated."""
    from brevitas.graph.calibrate import calibration_mode
    from brevitas.graph.quantize import preprocess_for_quantize, quantize

    quantized = quantize(preprocess_for_quantize(net.eval(), trace_model=True, equalize_iters=0, merge_bn=True))
    with torch.no_grad(), calibration_mode(quantized):
        for _ in range(2):
            quantized(*inputs)
    return quantized.eval(), inputs


def eager_qat(net, inputs):
    """torch.ao's eager mode, as torchvision's quantised nets are made for."""
    from torch.ao import quantization as ao

    net.train()
    net.fuse_model(is_qat=True)
    net.qconfig = ao.get_default_qat_qconfig("fbgemm")
    ao.prepare_qat(net, inplace=True)
    net = _run(net, inputs)
    net.apply(ao.disable_observer)
    return net, inputs


def fx_qat(net, inputs):
    """torch.ao's FX mode, prepared for training."""
    from torch.ao import quantization as ao
    from torch.ao.quantization.quantize_fx import prepare_qat_fx

    net = prepare_qat_fx(_run(net.train(), inputs).train(), ao.get_default_qat_qconfig_mapping("x86"), inputs)
    net = _run(net.train(), inputs)
    net.apply(ao.disable_observer)
    return net, inputs


def fx_reference(net, inputs):
    """torch.ao's FX mode after training, in its reference form."""
    from torch.ao import quantization as ao
    from torch.ao.quantization.quantize_fx import convert_to_reference_fx, prepare_fx

    prepared = prepare_fx(net.eval(), ao.get_default_qconfig_mapping("x86"), inputs)
    return convert_to_reference_fx(_run(prepared, inputs)), inputs


def pt2e(net, inputs):
    """PT2E with the quantiser for XNNPACK, after calibration."""
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.testing.pt2e._xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config

    captured = torch.export.export(net.eval(), inputs).module()
    prepared = prepare_pt2e(captured, XNNPACKQuantizer().set_global(get_symmetric_quantization_config()))
    prepared(*inputs)
    return convert_pt2e(prepared), inputs


def weights_of_4_bits(net, inputs):
    """torchao's weight-only quantisation in groups, of the layers whose rows are whole groups, as torchao wants it."""
    from torchao.quantization import IntxWeightOnlyConfig, PerGroup, quantize_

    net = net.eval()
    config = IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(_GROUP))
    quantize_(net, config, filter_fn=lambda m, _: isinstance(m, torch.nn.Linear) and m.in_features % _GROUP == 0)
    return net, inputs


def weights_of_8_bits(net, inputs):
    """torchao's weight-only quantisation by row."""
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    net = net.eval()
    quantize_(net, Int8WeightOnlyConfig())
    return net, inputs


def _run(net, inputs):
    with torch.no_grad():
        for _ in range(2):
            net(*inputs)
    return net.eval()
