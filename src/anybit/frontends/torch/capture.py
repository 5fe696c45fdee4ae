"""capture: a module as a graph of torch operators, its batch free or fixed; what cannot be one is named by its path."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch

from anybit.errors import FrontEndError
from anybit.frontends.torch.captured import Captured
from anybit.frontends.torch.failure import failure
from anybit.frontends.torch.free_axes import Shapes, Tensors

_PROBLEM = "the module cannot be captured as a graph"


def run_once(module: torch.nn.Module, inputs: Tensors) -> None:
    """Runs the module on its example.

    Raises:
        FrontEndError: It fails; the message names the module inside it that does.
    """
    path: list[str] = []
    hooks = followed(module, path)
    try:
        with torch.no_grad(), quietly():
            module(*inputs)
    except FrontEndError as error:
        if error.__cause__ is None or not isinstance(error.__cause__, Exception):
            raise
        raise failure("the module fails on its example", error.__cause__, path=path[-1] if path else None) from error
    finally:
        for hook in hooks:
            hook.remove()


def capture(module: torch.nn.Module, inputs: Tensors, shapes: Shapes) -> Captured:
    """The module as a graph that can be rewritten.

    Raises:
        FrontEndError: It has control flow that depends on data, a batch that cannot be free, or operators that
            torch.export does not know.
    """
    program = exported(module, inputs, shapes)
    return Captured(program.module(check_guards=False), program)


def exported(module: torch.nn.Module, inputs: Tensors, shapes: Shapes) -> torch.export.ExportedProgram:
    """torch.export of the module; errors as in `capture`."""
    path: list[str] = []
    hooks = followed(module, path)
    try:
        with torch.no_grad(), quietly(), _fake_quantize_on_meta():
            return torch.export.export(module, inputs, dynamic_shapes=_as_arguments(module, shapes), strict=False)
    except FrontEndError:
        raise
    except Exception as error:  # torch.export raises errors of many kinds, from dozens of places
        raise failure(_PROBLEM, error, path=path[-1] if path else None) from error
    finally:
        for hook in hooks:
            hook.remove()


def _as_arguments(module: torch.nn.Module, shapes: Shapes) -> Any:
    """What is free as torch.export takes it: of a forward that takes `*tensors`, these are one argument."""
    kinds = [p.kind for p in inspect.signature(module.forward).parameters.values()]
    return shapes if shapes is None or kinds != [inspect.Parameter.VAR_POSITIONAL] else (shapes,)


def followed(module: torch.nn.Module, path: list[str]) -> list[Any]:
    """Hooks that keep in `path` the modules that are running: where one fails, it stays on top."""
    hooks: list[Any] = []
    for name, child in module.named_modules():
        if isinstance(child, torch.fx.GraphModule):
            continue

        def enter(*_: Any, name: str = name) -> None:
            path.append(name)

        def leave(*_: Any) -> None:
            path.pop()

        hooks += [child.register_forward_pre_hook(enter), child.register_forward_hook(leave)]
    return hooks


@contextmanager
def quietly() -> Generator[None]:
    """Keeps torch's warnings about its own code, and about packages that it misses, from the user."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(level)


_CACHEMASKS = (
    "fake_quantize_per_tensor_affine_cachemask",
    "_fake_quantize_per_tensor_affine_cachemask_tensor_qparams",
    "fake_quantize_per_channel_affine_cachemask",
)


@contextmanager
def _fake_quantize_on_meta() -> Generator[None]:
    """Gives torch's fake quantisation, for as long as it lasts, the shapes that torch.export asks for."""
    library: Any = torch.library.Library("aten", "IMPL")
    core: Any = torch._C  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  torch has no public way to ask
    has_kernel = core._dispatch_has_kernel_for_dispatch_key  # noqa: SLF001
    try:
        for name in _CACHEMASKS:
            if not has_kernel(f"aten::{name}", "Meta"):
                library.impl(name, _cachemask, "Meta")
        yield
    finally:
        library._destroy()  # noqa: SLF001  torch's own scoped library does the same


def _cachemask(x: torch.Tensor, *_: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.empty_like(x), torch.empty_like(x, dtype=torch.bool)
