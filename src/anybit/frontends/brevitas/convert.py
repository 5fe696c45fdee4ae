"""from_brevitas: a module of Brevitas as a hub model that gives the module's own numbers."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from brevitas.export.manager import (
    BaseManager,
    _cache_inp_out,  # pyright: ignore[reportPrivateUsage]  as Brevitas' own managers do
    _override_act_caching_mode,  # pyright: ignore[reportPrivateUsage]
    _set_proxy_export_handler,  # pyright: ignore[reportPrivateUsage]
)
from brevitas.proxy.quant_proxy import QuantProxyFromInjector, QuantProxyProtocol
from brevitas.proxy.runtime_quant import ActQuantProxyFromInjectorBase
from brevitas.quant_tensor import QuantTensor

from anybit.arguments import checked
from anybit.errors import FrontEndError
from anybit.frontends.agreement import Imported
from anybit.frontends.brevitas.decisions import Decisions
from anybit.frontends.brevitas.handlers import Activations, Biases, Truncations, Weights
from anybit.frontends.brevitas.observers import refuse_observers
from anybit.frontends.brevitas.recurrent import rolled
from anybit.frontends.torch.call import call_of
from anybit.frontends.torch.calls import compared_on
from anybit.frontends.torch.capture import quietly, run_once
from anybit.frontends.torch.convert import hub_model
from anybit.frontends.torch.copies import copied, evaluated
from anybit.frontends.torch.failure import failure
from anybit.frontends.torch.flat import flat
from anybit.frontends.torch.steps import known_bodies


@checked
def from_brevitas(
    module: torch.nn.Module,
    example_inputs: torch.Tensor | Sequence[Any] | Mapping[str, Any],
    *,
    kwargs: Mapping[str, Any] | None = None,
    dynamic_batch: bool = True,
    dynamic_shapes: Any = None,
    unroll: bool = False,
    tolerance: float | None = None,
    quiet: bool = False,
) -> Imported:
    """The module, in evaluation mode, as a clean hub model, after a comparison of the two.

    Brevitas' own export mode freezes the quantisers; what it would write wrongly is written by the handlers of
    `anybit.frontends.brevitas.handlers`. Weights are put on their grid. Each layer and direction of QuantLSTM and
    QuantRNN becomes one Scan, whose body is one step. The module is not changed.

    Args:
        module: Module whose results are tensors, QuantTensors or None, in tuples, lists and dicts.
        example_inputs: Its arguments, as in `from_torch`.
        kwargs: Arguments by name beside those by position.
        dynamic_batch: Whether the first dimension of all inputs is free, and called N; else it is that of the example.
            Scalars have none.
        dynamic_shapes: The axes that are free, as `torch.export.export` takes them; None leaves it to `dynamic_batch`.
        unroll: Whether recurrent layers become a node for each operator and step of the example's length instead, for
            targets that have no loops. Layers with hooks, and cells that are not Brevitas' own, always do.
        tolerance: Share of a tensor's largest magnitude that its elements may differ by beyond float error, at each
            layer fed with torch's own values; None for none.
        quiet: Whether to say nothing on stderr: about the comparison, which is one line, and about numbers of two
            bytes.

    Raises:
        FrontEndError: Something has no exact translation, or the two depart; the message names the module.
        UsageError: The arguments do not fit the module, or the free axes the arguments.
    """
    refuse_observers(module)
    source = evaluated(module, quiet=quiet)
    call = call_of(source, example_inputs, kwargs, dynamic_batch=dynamic_batch, dynamic_shapes=dynamic_shapes)
    prepared = flat(copied(source), call, values=_values)
    source = flat(source, call, values=_values)
    run_once(source, call.tensors)
    _prepare(prepared, call.tensors)
    with known_bodies({} if unroll else rolled(prepared)):
        decisions = Decisions(prepared)
        decisions.note(*call.tensors)
        with decisions.given():
            traced = hub_model(prepared, call.tensors, call.shapes, approximate=False)
        return compared_on(traced, source, call, tolerance=tolerance, quiet=quiet)


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
        for path, child in model.named_modules():
            if not isinstance(child, QuantProxyProtocol) or not hasattr(child, "export_mode"):
                continue
            proxy: Any = child
            try:
                proxy.export_mode = enabled
            except FrontEndError:
                raise
            except Exception as error:  # Brevitas asserts, and raises what it raises
                raise failure("a quantiser that cannot be frozen", error, path=path) from error

    @classmethod
    def set_export_handler(cls, module: torch.nn.Module) -> None:
        _set_proxy_export_handler(cls, module)


def _prepare(module: torch.nn.Module, inputs: Sequence[torch.Tensor]) -> None:
    """Freezes the module's quantisers at what they do now, and puts its weights on their grid."""
    _check(module)
    with torch.no_grad(), quietly():
        module.apply(_Manager.set_export_handler)
        with _running(module) as run:
            _cache_inp_out(module, *inputs)
        _Manager.set_export_mode(module, enabled=True)
        _bake(module, run)
        module.apply(lambda m: _override_act_caching_mode(m, enabled=False))


@contextmanager
def _running(module: torch.nn.Module) -> Generator[set[torch.nn.Module]]:
    """The quantisers that run: a layer whose weight is read by what it is part of need not."""
    run: set[torch.nn.Module] = set()
    proxies = [m for m in module.modules() if isinstance(m, QuantProxyFromInjector)]
    hooks = [p.register_forward_pre_hook(lambda proxy, _: run.add(proxy)) for p in proxies]
    try:
        yield run
    finally:
        for hook in hooks:
            hook.remove()


def _check(module: torch.nn.Module) -> None:
    """Refuses quantisers that no handler is for."""
    for path, child in module.named_modules():
        if not isinstance(child, QuantProxyFromInjector) or not child.is_quant_enabled:
            continue
        where = f"module '{path}'"
        kind = type(child).__name__
        if "Dynamic" in kind or (child.is_groupwise and isinstance(child, ActQuantProxyFromInjectorBase)):
            raise FrontEndError(
                "the scale of this quantiser depends on the data", node=where, got=kind, hint="use a static quantiser"
            )
        if _Manager.handler_from_module(child, no_inheritance=True) is None:
            raise FrontEndError(
                "a quantiser without a translation",
                node=where,
                got=kind,
                expected="quantisers of weights, activations, biases or accumulators that Brevitas ships",
            )


def _bake(module: torch.nn.Module, run: Collection[torch.nn.Module]) -> None:
    """Gives each layer a handler of its own, and puts its weights on their grid if its quantiser runs."""
    idle = {id(m.export_handler) for m in module.modules() if isinstance(m, QuantProxyFromInjector) and m not in run}
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
        if layer is None or readers[id(layer.weight)] > 1 or layer.weight.shape != handler.values[0].shape:
            continue  # shared, or in groups
        computed = "weight" not in dict(layer.named_parameters(recurse=False))
        if not computed and id(handler) not in idle:
            handler.bake()
