"""capture: a module as a graph of torch operators, its batch free or fixed; what cannot be one is named by its path."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from anybit.errors import FrontEndError
from anybit.frontends.torch.captured import Captured

BATCH = "N"
"""Name of the free batch."""

_LONGEST = 300  # characters of torch's own message

Tensors = tuple[torch.Tensor, ...]
Shapes = tuple[Any, ...] | None


def example(example_inputs: torch.Tensor | Sequence[torch.Tensor], *, dynamic_batch: bool) -> tuple[Tensors, Shapes]:
    """The example inputs as a tuple, and what is free in them.

    Raises:
        FrontEndError: There are none, or they have no common batch that could be free.
    """
    inputs = (example_inputs,) if isinstance(example_inputs, torch.Tensor) else tuple(example_inputs)
    if not inputs:
        raise FrontEndError("no example inputs", expected="a tensor for each argument of forward")
    return _with_free_batch(inputs) if dynamic_batch else (inputs, None)


def _with_free_batch(inputs: Tensors) -> tuple[Tensors, Shapes]:
    """Inputs of two samples or more, from which torch can tell a free batch."""
    sizes = {x.shape[0] if x.ndim else 0 for x in inputs}
    if len(sizes) > 1 or 0 in sizes:
        raise FrontEndError(
            "the inputs have no common batch",
            got=", ".join(str(list(x.shape)) for x in inputs),
            expected="one first dimension",
            hint="export with dynamic_batch=False",
        )
    if sizes == {1}:
        inputs = tuple(torch.cat([x, x]) for x in inputs)
    batch = torch.export.Dim(BATCH)
    return inputs, tuple({0: batch} for _ in inputs)


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
    hooks = _followed(module, path)
    if shapes is not None and _takes_any_number(module):
        shapes = (shapes,)
    try:
        with torch.no_grad(), quietly(), _fake_quantize_on_meta():
            return torch.export.export(module, inputs, dynamic_shapes=shapes, strict=False)
    except FrontEndError:
        raise
    except Exception as error:  # torch.export raises errors of many kinds, from dozens of places
        raise _failure(error, path, free=shapes is not None) from error
    finally:
        for hook in hooks:
            hook.remove()


def _takes_any_number(module: torch.nn.Module) -> bool:
    """Whether forward takes its inputs as one tuple, ``*inputs``: torch.export then wants what is free in them so."""
    first = next(iter(inspect.signature(module.forward).parameters.values()), None)
    return first is not None and first.kind is inspect.Parameter.VAR_POSITIONAL


def _failure(error: Exception, path: list[str], *, free: bool) -> FrontEndError:
    text = " ".join(str(error).split())
    hint = "replace what depends on the values of tensors by torch.where or torch.cond"
    if free and not path and BATCH in text:
        hint = "the module fixes its batch: export with dynamic_batch=False"
    return FrontEndError(
        "the module cannot be captured as a graph",
        node=f"module '{path[-1].removesuffix('.export_handler') or '(root)'}'" if path else "",
        got=f"{type(error).__name__}: {text[:_LONGEST]}",
        hint=hint,
    )


def _followed(module: torch.nn.Module, path: list[str]) -> list[Any]:
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
