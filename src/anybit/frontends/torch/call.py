"""ModuleCall: what a module is called with: its tensors are the model's inputs, all else is fixed."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree

from anybit.errors import FrontEndError, UsageError
from anybit.frontends.torch.free_axes import Shapes, Tensors, with_free_axes, with_free_batch

HALVES = frozenset((torch.bfloat16, torch.float16))
"""Types that are computed in float32."""

_FIXED = (bool, int, float, str, type(None))
_NO_CACHE = "call the module with use_cache=False, or give keys and values as tensors"
_HINTS = {"ndarray": "use torch.from_numpy", "DynamicCache": _NO_CACHE, "StaticCache": _NO_CACHE}


@dataclass(frozen=True)
class Structure:
    """Positional and keyword arguments whose tensors are left open.

    Attributes:
        leaves: What is not a tensor, and `Ellipsis` for each tensor.
        spec: How they are nested.
    """

    leaves: tuple[Any, ...]
    spec: Any

    @property
    def is_plain(self) -> bool:
        """Whether there are tensors by position, and nothing else."""
        positional, named = self.spec.children()
        return not named.num_children and positional.num_leaves == positional.num_children == self.leaves.count(
            Ellipsis
        )

    def __call__(self, tensors: Sequence[torch.Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with these tensors in them."""
        given = iter(tensors)
        leaves = [next(given) if leaf is Ellipsis else leaf for leaf in self.leaves]
        args, kwargs = _pytree.tree_unflatten(leaves, self.spec)
        return tuple(args), kwargs


@dataclass(frozen=True)
class ModuleCall:
    """The arguments of a module's forward.

    Attributes:
        tensors: The tensors among them, at any depth, in order; floats of two bytes in float32.
        names: A name for each: that of its parameter, and the keys on the way to it.
        shapes: What is free in each: axes and their `torch.export.Dim`; None where nothing is.
        structure: The arguments, with the tensors taken out.
    """

    tensors: Tensors
    names: tuple[str, ...]
    shapes: Shapes
    structure: Structure


def call_of(
    module: torch.nn.Module,
    example_inputs: torch.Tensor | Sequence[Any] | Mapping[str, Any],
    kwargs: Mapping[str, Any] | None,
    *,
    dynamic_batch: bool,
    dynamic_shapes: Any,
) -> ModuleCall:
    """The call that the example says.

    Raises:
        UsageError: The arguments do not fit the module's forward, or `dynamic_shapes` does not fit them.
        FrontEndError: There is no tensor among them, one is of a type that no model takes, or nothing can be free.
    """
    args, named = _arguments(example_inputs, kwargs)
    if not args and not named:
        raise FrontEndError("no example inputs", expected="a tensor for each argument of forward")
    parameters = _parameters(module, args, named)
    paths, spec = _pytree.tree_flatten_with_path((args, named))
    leaves: list[Any] = []
    tensors: list[torch.Tensor] = []
    names: list[str] = []
    for path, leaf in paths:
        name = _distinct(_name(path, parameters), names)
        leaves.append(_leaf(leaf, name))
        if leaves[-1] is Ellipsis:
            tensors.append(leaf)
            names.append(name)
    if not tensors:
        raise FrontEndError("no example inputs", expected="a tensor for each argument of forward")
    if dynamic_shapes is not None:
        grown, shapes = with_free_axes(tensors, names, _by_parameter(parameters, args, named), dynamic_shapes)
    else:
        grown, shapes = with_free_batch(tensors, names) if dynamic_batch else (tuple(tensors), None)
    single = tuple(t.float() if t.dtype in HALVES else t for t in grown)
    return ModuleCall(single, tuple(names), shapes, Structure(tuple(leaves), spec))


def _arguments(example_inputs: Any, kwargs: Mapping[str, Any] | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(example_inputs, torch.Tensor):
        return (example_inputs,), dict(kwargs or {})
    if not isinstance(example_inputs, Mapping):
        return tuple(example_inputs), dict(kwargs or {})
    if kwargs is not None:
        raise UsageError("argument 'kwargs'", got="arguments by name in both", expected="example_inputs by position")
    return (), {str(k): v for k, v in example_inputs.items()}


def _parameters(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str]:
    """A name for each positional argument."""
    try:
        signature = inspect.signature(module.forward)
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise UsageError(
            "argument 'example_inputs'", got=error, expected="the arguments of the module's forward"
        ) from None
    except ValueError:  # it has no signature
        return [f"input_{i}" for i in range(len(args))]
    kinds = inspect.Parameter
    names = [
        k for k, p in signature.parameters.items() if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)
    ]
    rest = next((k for k, p in signature.parameters.items() if p.kind is kinds.VAR_POSITIONAL), "input")
    return [names[i] if i < len(names) else f"{rest}_{i - len(names)}" for i in range(len(args))]


def _by_parameter(parameters: Sequence[str], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    return dict(zip(parameters, args, strict=True)) | kwargs


def _leaf(leaf: Any, name: str) -> Any:
    """Ellipsis for a tensor, and what is fixed as it is."""
    if isinstance(leaf, torch.Tensor):
        kind = _foreign(leaf)
        if kind:
            raise FrontEndError(
                "an input that ONNX has no type for",
                node=f"input '{name}'",
                got=f"a {kind} tensor",
                expected="dense real numbers, integers or bool",
                hint="use torch.view_as_real, dequantize() or to_dense() in front of the module",
            )
        return Ellipsis
    if isinstance(leaf, _FIXED):
        return leaf
    raise UsageError(
        "argument 'example_inputs'",
        node=f"input '{name}'",
        got=type(leaf).__name__,
        expected="torch.Tensor, bool, int, float, str or None, in tuples, lists and dicts",
        hint=_HINTS.get(type(leaf).__name__, ""),
    )


def _foreign(tensor: torch.Tensor) -> str:
    if tensor.is_complex():
        return "complex"
    if tensor.is_quantized:
        return "quantised"
    if tensor.is_nested:
        return "nested"
    return "" if tensor.layout is torch.strided else "sparse"


def _name(path: Any, parameters: Sequence[str]) -> str:
    """The parameter and the keys behind it, as an identifier."""
    keys = [getattr(key, "idx", getattr(key, "key", getattr(key, "name", ""))) for key in path]
    head = str(keys[1]) if keys[0] else parameters[int(keys[1])]
    name = re.sub(r"\W+", "_", "_".join(map(str, [head, *keys[2:]])))
    return name if name.isidentifier() else f"input_{name}"


def _distinct(name: str, taken: Sequence[str]) -> str:
    count = 0
    while (f"{name}_{count}" if count else name) in taken:
        count += 1
    return f"{name}_{count}" if count else name
