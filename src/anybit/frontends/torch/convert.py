"""from_torch: a PyTorch module as a hub model that gives the module's own numbers."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch

from anybit.arguments import checked
from anybit.cleanup.clean import clean
from anybit.errors import FrontEndError
from anybit.frontends.agreement import Imported
from anybit.frontends.torch.capture import Shapes, Tensors, capture, example
from anybit.frontends.torch.comparison import compared_with_module
from anybit.frontends.torch.decomposed import rewrite_decomposed
from anybit.frontends.torch.fake_quantize import rewrite_fake_quantize
from anybit.frontends.torch.frozen import freeze
from anybit.frontends.torch.parameters import settle_parameters
from anybit.frontends.torch.recording import Traced
from anybit.frontends.torch.translate import translate


@checked
def from_torch(
    module: torch.nn.Module,
    example_inputs: torch.Tensor | Sequence[torch.Tensor],
    *,
    dynamic_batch: bool = True,
    approximate: bool = False,
    tolerance: float | None = None,
    quiet: bool = False,
) -> Imported:
    """The module, in evaluation mode, as a clean hub model, after a comparison of the two.

    Understood are the quantisers of `anybit.frontends.torch`, fake quantisation of any range, the QAT modules of
    torch.ao, quantise/dequantise pairs of PT2E, and weights that torchao has quantised. Weights are put on their grid
    as torch does it. The module is not changed.

    Args:
        module: Module whose arguments and results are tensors.
        example_inputs: A tensor for each argument of its forward.
        dynamic_batch: Whether the first dimension of all inputs is free, and called N; else it is that of the example.
        approximate: Whether a quantiser of activations may become one Quant, which divides by the scale, where torch
            multiplies by its reciprocal: values within a rounding error of half a step may then fall to the other
            side. By default such a quantiser is written as Mul, Quant, Mul, which is exact.
        tolerance: Share of a tensor's largest magnitude that its elements may differ by beyond float error, at each
            layer fed with torch's own values; None for none.
        quiet: Whether to say nothing about the comparison, which is else one line on stderr.

    Raises:
        FrontEndError: Something has no exact translation, or the two depart; the message names the module.
    """
    inputs, shapes = example(example_inputs, dynamic_batch=dynamic_batch)
    source = evaluated(module)
    model = hub_model(freeze(copied(source)), inputs, shapes, approximate=approximate)
    return compared_with_module(model, source, inputs, tolerance=tolerance, quiet=quiet)


def hub_model(module: torch.nn.Module, inputs: Tensors, shapes: Shapes, *, approximate: bool) -> Traced:
    """A module without observers as a clean hub model, not yet compared, and what each of its tensors is in torch."""
    captured = capture(module, inputs, shapes)
    rewrite_fake_quantize(captured, approximate=approximate)
    rewrite_decomposed(captured, approximate=approximate)
    settle_parameters(captured)
    translated = translate(captured, inputs, shapes)
    return Traced(clean(translated.model), captured, translated.nodes)


def evaluated(module: torch.nn.Module) -> torch.nn.Module:
    """A copy in evaluation mode."""
    result = copied(module)
    try:
        return result.eval()
    except NotImplementedError:  # graphs of torch.export have one mode
        return result


def copied(module: torch.nn.Module) -> torch.nn.Module:
    """A deep copy.

    Raises:
        FrontEndError: The module cannot be copied.
    """
    try:
        return copy.deepcopy(module)
    except RuntimeError as error:
        raise FrontEndError(
            "the module cannot be copied",
            got=" ".join(str(error).split()),
            hint="use torch.nn.utils.parametrizations.weight_norm in the place of torch.nn.utils.weight_norm",
        ) from error
