"""from_torch: a PyTorch module as a hub model that gives the module's own numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from anybit.arguments import checked
from anybit.cleanup.clean import clean
from anybit.frontends.agreement import Imported
from anybit.frontends.torch.call import call_of
from anybit.frontends.torch.calls import compared_on
from anybit.frontends.torch.capture import capture, run_once
from anybit.frontends.torch.copies import copied, evaluated
from anybit.frontends.torch.flat import flat
from anybit.frontends.torch.free_axes import Shapes, Tensors
from anybit.frontends.torch.frozen import freeze
from anybit.frontends.torch.parameters import settle_parameters
from anybit.frontends.torch.quantizers.decomposed import rewrite_decomposed
from anybit.frontends.torch.quantizers.fake_quantize import rewrite_fake_quantize
from anybit.frontends.torch.recording import Traced
from anybit.frontends.torch.scans import loops
from anybit.frontends.torch.steps import body_named
from anybit.frontends.torch.translate import translate


@checked
def from_torch(
    module: torch.nn.Module,
    example_inputs: torch.Tensor | Sequence[Any] | Mapping[str, Any],
    *,
    kwargs: Mapping[str, Any] | None = None,
    dynamic_batch: bool = True,
    dynamic_shapes: Any = None,
    approximate: bool = False,
    tolerance: float | None = None,
    quiet: bool = False,
) -> Imported:
    """The module, in evaluation mode, as a clean hub model, after a comparison of the two.

    Understood are the quantisers of `anybit.frontends.torch`, fake quantisation of any range, the QAT modules of
    torch.ao, quantise/dequantise pairs of PT2E, and weights that torchao has quantised. Weights are put on their grid
    as torch does it. bfloat16 and float16 are computed in float32. The module is not changed.

    Args:
        module: Module whose results are tensors or None, in tuples, lists and dicts.
        example_inputs: Its arguments: one tensor, a sequence by position, or a mapping by name. Tensors in them, at any
            depth, are the model's inputs, named after their parameters; numbers, texts, bool and None are fixed.
        kwargs: Arguments by name beside those by position.
        dynamic_batch: Whether the first dimension of all inputs is free, and called N; else it is that of the example.
            Scalars have none.
        dynamic_shapes: The axes that are free, as `torch.export.export` takes them; the batch too is free only if it is
            among them. None leaves it to `dynamic_batch`.
        approximate: Whether a quantiser of activations may become one Quant, which divides by the scale, where torch
            multiplies by its reciprocal: values within a rounding error of half a step may then fall to the other
            side. By default such a quantiser is written as Mul, Quant, Mul, which is exact.
        tolerance: Share of a tensor's largest magnitude that its elements may differ by beyond float error, at each
            layer fed with torch's own values; None for none.
        quiet: Whether to say nothing on stderr: about the comparison, which is one line, and about numbers of two
            bytes.

    Raises:
        FrontEndError: Something has no exact translation, or the two depart; the message names the module.
        UsageError: The arguments do not fit the module, or the free axes the arguments.
    """
    source = evaluated(module, quiet=quiet)
    call = call_of(source, example_inputs, kwargs, dynamic_batch=dynamic_batch, dynamic_shapes=dynamic_shapes)
    prepared = copied(source)
    source = flat(source, call)
    run_once(source, call.tensors)
    prepared = flat(freeze(prepared), call)
    traced = hub_model(prepared, call.tensors, call.shapes, approximate=approximate)
    return compared_on(traced, source, call, tolerance=tolerance, quiet=quiet)


def hub_model(module: torch.nn.Module, inputs: Tensors, shapes: Shapes, *, approximate: bool) -> Traced:
    """A module without observers as a clean hub model, not yet compared, and what each of its tensors is in torch."""
    made = _translated(module, inputs, shapes, approximate=approximate)
    return made.of_model(clean(made.model))


def _translated(module: torch.nn.Module, inputs: Tensors, shapes: Shapes, *, approximate: bool) -> Traced:
    """The same as the exporter leaves it; the body of a loop becomes one of its graphs, and is known by itself too."""
    captured = capture(module, inputs, shapes)
    rewrite_fake_quantize(captured, approximate=approximate)
    rewrite_decomposed(captured, approximate=approximate)
    settle_parameters(captured)
    inner = [(n, _translated(body_named(n.body), *n.example, approximate=approximate)) for n in loops(captured)]
    translated = translate(captured, inputs, shapes, bodies=[(loop, body.model) for loop, body in inner])
    return Traced(translated.model, captured, translated.nodes, loops=tuple(inner))
