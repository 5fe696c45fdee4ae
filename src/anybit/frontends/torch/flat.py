"""flat: a module that takes the tensors of a call, and gives the tensors of its result, as the hub's models do."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree

from anybit.errors import FrontEndError
from anybit.frontends.torch.call import ModuleCall
from anybit.frontends.torch.failure import failure

Values = Callable[[Any], Any]
"""What a framework's own kinds of tensors are as torch's."""


def flat(module: torch.nn.Module, call: ModuleCall, *, values: Values = lambda result: result) -> torch.nn.Module:
    """The module, changed: its forward takes the call's tensors alone, and returns a tuple of tensors.

    Results that are None are left out. The module keeps its class, its children and their paths, and its copies are
    flat as well.
    """
    own = vars(module).get("forward")
    if own is not None or (isinstance(module, fx.GraphModule) and not call.structure.is_plain):
        module = _Around(module)  # graphs check arguments before forward is called
    module.__dict__["forward"] = MethodType(_forward(type(module), call, values), module)
    return module


class _Around(torch.nn.Module):
    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The results of the module for these tensors."""
        return self.module(*args, **kwargs)


def _forward(kind: type, call: ModuleCall, values: Values) -> Callable[..., tuple[torch.Tensor, ...]]:
    structure, own = call.structure, inspect.getattr_static(kind, "forward")

    def forward(self: torch.nn.Module, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        args, kwargs = structure(tensors)
        try:
            result = own.__get__(self, type(self))(*args, **kwargs)
        except FrontEndError:
            raise
        except Exception as error:
            if torch.compiler.is_exporting():
                raise
            raise failure("the module fails on inputs like its example", error) from error
        leaves: list[Any] = [leaf for leaf in _pytree.tree_leaves(values(result)) if leaf is not None]
        return tuple(_tensor(leaf, index) for index, leaf in enumerate(leaves))

    parameters = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in ("self", *call.names)]
    marked: Any = forward
    marked.__signature__ = inspect.Signature(parameters)
    return forward


def _tensor(leaf: Any, index: int) -> torch.Tensor:
    if isinstance(leaf, torch.Tensor):
        return leaf
    cached = "Cache" in type(leaf).__name__
    raise FrontEndError(
        "a result is no tensor",
        node=f"output {index}",
        got=type(leaf).__name__,
        expected="tensors and None, in tuples, lists and dicts",
        hint="call the module with use_cache=False" if cached else "return tensors alone, in a module around this one",
    )
