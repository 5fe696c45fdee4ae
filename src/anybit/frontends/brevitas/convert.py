"""from_brevitas: a module of Brevitas as a hub model that gives the module's own numbers."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from brevitas.export.inference.manager import _override_create_quant_tensor  # pyright: ignore[reportPrivateUsage]
from brevitas.export.manager import (
    BaseManager,
    _cache_inp_out,  # pyright: ignore[reportPrivateUsage]  as Brevitas' own managers do
    _override_act_caching_mode,  # pyright: ignore[reportPrivateUsage]
    _set_proxy_export_handler,  # pyright: ignore[reportPrivateUsage]
    _set_proxy_export_mode,  # pyright: ignore[reportPrivateUsage]
)
from brevitas.graph.calibrate import QuantizationStatusManager
from brevitas.proxy.quant_proxy import QuantProxyFromInjector
from brevitas.quant_tensor import QuantTensor

from anybit.arguments import checked
from anybit.errors import FrontEndError
from anybit.frontends.agreement import Imported
from anybit.frontends.brevitas.handlers import Activations, Biases, Truncations, Weights
from anybit.frontends.brevitas.observers import refuse_observers
from anybit.frontends.torch.capture import example, quietly
from anybit.frontends.torch.comparison import compared_with_module
from anybit.frontends.torch.convert import copied, evaluated, hub_model


@checked
def from_brevitas(
    module: torch.nn.Module,
    example_inputs: torch.Tensor | Sequence[torch.Tensor],
    *,
    dynamic_batch: bool = True,
    tolerance: float | None = None,
    quiet: bool = False,
) -> Imported:
    """The module, in evaluation mode, as a clean hub model, after a comparison of the two.

    Brevitas' own export mode freezes the quantisers; what it would write wrongly is written by the handlers of
    `anybit.frontends.brevitas.handlers`. Weights are put on their grid. Recurrent layers become a node for each step of
    the example's length. The module is not changed.

    Args:
        module: Module whose arguments are tensors, and whose results are tensors or QuantTensors.
        example_inputs: A tensor for each argument of its forward.
        dynamic_batch: Whether the first dimension of all inputs is free, and called N; else it is that of the example.
        tolerance: Share of a tensor's largest magnitude that its elements may differ by beyond float error, at each
            layer fed with torch's own values; None for none.
        quiet: Whether to say nothing about the comparison, which is else one line on stderr.

    Raises:
        FrontEndError: Something has no exact translation, or the two depart; the message names the module.
    """
    refuse_observers(module)
    inputs, shapes = example(example_inputs, dynamic_batch=dynamic_batch)
    source = evaluated(module)
    source.register_forward_hook(_without_quant_tensors)
    prepared = _prepared(copied(source), inputs)
    model = hub_model(prepared, inputs, shapes, approximate=False)
    return compared_with_module(model, source, inputs, tolerance=tolerance, quiet=quiet)


def _without_quant_tensors(module: torch.nn.Module, inputs: Any, result: Any) -> Any:
    del module, inputs
    return _values(result)


def _values(result: Any) -> Any:
    if isinstance(result, QuantTensor):
        tensor: Any = result
        return tensor.value
    if isinstance(result, tuple | list):
        return tuple(_values(r) for r in result)
    return {k: _values(v) for k, v in result.items()} if isinstance(result, dict) else result


class _Manager(BaseManager):
    """Brevitas' way from a quantiser to its handler, with the handlers of this package."""

    target_name = "anybit"
    handlers = [Weights, Activations, Biases, Truncations]  # noqa: RUF012  Brevitas declares it so

    @classmethod
    def export(cls, *args: Any, **kwargs: Any) -> None:
        """Not this way: `hub_model` exports."""
        raise NotImplementedError

    @classmethod
    def set_export_mode(cls, model: torch.nn.Module, enabled: bool) -> None:  # noqa: FBT001  Brevitas' signature
        _set_proxy_export_mode(model, enabled)

    @classmethod
    def set_export_handler(cls, module: torch.nn.Module) -> None:
        _set_proxy_export_handler(cls, module)


def _prepared(module: torch.nn.Module, inputs: Sequence[torch.Tensor]) -> torch.nn.Module:
    """The module with its quantisers frozen at what they do now, its weights on their grid; it is changed."""
    _check(module)
    with torch.no_grad(), quietly():
        module.apply(_Manager.set_export_handler)
        _cache_inp_out(module, *inputs)
        _Manager.set_export_mode(module, enabled=True)
        _bake(module)
        QuantizationStatusManager.disable_return_quant_tensor(module)
        module.apply(lambda m: _override_create_quant_tensor(m, state=True))
        module.apply(lambda m: _override_act_caching_mode(m, enabled=False))
    return module


def _check(module: torch.nn.Module) -> None:
    """Refuses quantisers that no handler is for."""
    for path, child in module.named_modules():
        if not isinstance(child, QuantProxyFromInjector) or not child.is_quant_enabled:
            continue
        where = f"module '{path}'"
        kind = type(child).__name__
        if "Dynamic" in kind:
            raise FrontEndError(
                "the scale of this quantiser depends on the data", node=where, got=kind, hint="use a static quantiser"
            )
        if _Manager.handler_from_module(child, no_inheritance=True) is None or child.is_groupwise:
            raise FrontEndError(
                "a quantiser without a translation",
                node=where,
                got=kind,
                expected="per-tensor or per-channel quantisation",
            )


def _bake(module: torch.nn.Module) -> None:
    """Gives each layer a handler of its own, and puts its weights on their grid."""
    for proxy in [m for m in module.modules() if isinstance(m, QuantProxyFromInjector)]:
        shared: Any = proxy.export_handler
        if not isinstance(shared, Weights):
            continue
        for index, layer in enumerate(shared.layers if len(shared.layers) > 1 else ()):
            own: Any = copy.copy(proxy)
            own._modules = dict(own._modules)  # noqa: SLF001  a shallow copy shares it
            own.export_handler = shared.of_layer(index)
            layer.weight_quant = own
    handlers = [m for m in module.modules() if isinstance(m, Weights)]
    readers = Counter(id(h.layers[0].weight) for h in handlers if h.layers)
    for handler in handlers:
        layer = handler.layers[0] if handler.layers else None
        if layer is None or readers[id(layer.weight)] > 1:
            continue
        if "weight" in dict(layer.named_parameters(recurse=False)):  # else it is computed of others
            handler.bake()
