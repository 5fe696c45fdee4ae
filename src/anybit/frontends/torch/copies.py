"""Copies of a module to export: in evaluation mode, on this processor, in float32, nothing computed by hooks."""

from __future__ import annotations

import copy
import sys
from typing import Any

import torch
from torch.nn.utils import prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from anybit.errors import FrontEndError
from anybit.frontends.torch.call import HALVES


def evaluated(module: torch.nn.Module, *, quiet: bool) -> torch.nn.Module:
    """A copy in evaluation mode, whose numbers of two bytes are in float32, which is said on stderr unless quiet.

    What torch's older hooks compute before each run, pruned and normalised weights, is computed once.

    Raises:
        FrontEndError: The module cannot be copied, or has no numbers.
    """
    result = copied(_original(module))
    _unwrap_children(result)
    _check(result)
    try:
        result.eval()
    except NotImplementedError:  # graphs of torch.export have one mode
        pass
    except Exception as error:
        raise FrontEndError("eval() of the module fails", got=f"{type(error).__name__}: {error}") from error
    _settle_hooks(result)
    _widen(result, quiet=quiet)
    return result


def copied(module: torch.nn.Module) -> torch.nn.Module:
    """A deep copy; tensors that were computed with gradients are copied without.

    Raises:
        FrontEndError: The module cannot be copied.
    """
    memo: dict[int, Any] = {}
    for child in module.modules():
        for value in vars(child).values():
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    try:
        return copy.deepcopy(module, memo)
    except Exception as error:
        raise FrontEndError(
            "the module cannot be copied",
            got=" ".join(f"{type(error).__name__}: {error}".split()),
            hint="keep what cannot be copied, such as locks, files and tensors with a gradient, out of the module",
        ) from error


def _original(module: torch.nn.Module) -> torch.nn.Module:
    """What torch.compile was given; both compute the same."""
    inner = dict(module.named_children()).get("_orig_mod")
    return module if inner is None or type(module).__name__ != "OptimizedModule" else inner


def _unwrap_children(module: torch.nn.Module) -> None:
    for child in list(module.modules()):
        vars(child)["_compiled_call_impl"] = None  # what Module.compile() leaves
        for name, grandchild in list(child.named_children()):
            original = _original(grandchild)
            if original is not grandchild:
                child.register_module(name, original)


def _check(module: torch.nn.Module) -> None:
    for path, child in module.named_modules():
        if isinstance(child, torch.jit.ScriptModule):
            raise FrontEndError(
                "a module that TorchScript has compiled",
                node=f"module '{path or '(root)'}'",
                got=type(child).__name__,
                hint="export the module that was scripted or traced; with Brevitas, set BREVITAS_JIT=0",
            )
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.device.type == "meta":
            raise FrontEndError(
                "a tensor without numbers",
                node=f"tensor '{name}'",
                got="the meta device",
                hint="load the module's weights first",
            )


def _settle_hooks(module: torch.nn.Module) -> None:
    for child in module.modules():
        hooks: list[Any] = list(vars(child)["_forward_pre_hooks"].values())  # torch has no other way to see them
        for hook in hooks:
            if isinstance(hook, prune.BasePruningMethod):
                prune.remove(child, vars(hook)["_tensor_name"])
            elif isinstance(hook, WeightNorm):
                remove_weight_norm(child, hook.name)
            elif isinstance(hook, SpectralNorm):
                remove_spectral_norm(child, hook.name)


def _widen(module: torch.nn.Module, *, quiet: bool) -> None:
    """Puts all tensors on this processor, those of two bytes into float32."""
    narrow = {t.dtype for t in (*module.parameters(), *module.buffers()) if t.dtype in HALVES}
    away = any(t.device.type != "cpu" for t in (*module.parameters(), *module.buffers()))
    if not narrow and not away:
        return
    apply: Any = module._apply  # noqa: SLF001  as .float() does  # pyright: ignore[reportPrivateUsage]
    apply(lambda t: t.float().cpu() if t.dtype in HALVES else t.cpu())
    if narrow and not quiet:
        kinds = " and ".join(sorted(str(d).removeprefix("torch.") for d in narrow))
        sys.stderr.write(f"anybit: the module's {kinds} numbers are exported, and compared, in float32\n")
