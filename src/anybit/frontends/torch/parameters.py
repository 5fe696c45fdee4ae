"""settle_parameters: what the operators of `anybit` read besides X, as constants with names that say what they are."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from anybit.frontends.torch.captured import Captured
from anybit.frontends.torch.steps import is_steps


def settle_parameters(captured: Captured) -> None:
    """Makes constants of all parameters, and of all weights, which are put on their grid.

    Raises:
        FrontEndError: A parameter depends on the inputs.
    """
    for node in captured.module.graph.nodes:
        if getattr(node.target, "namespace", None) != "anybit" or is_steps(node.target):
            continue
        with captured.module.graph.inserting_before(node):
            _settle(captured, node)


def _settle(captured: Captured, node: fx.Node) -> None:
    x: Any = node.args[0]
    if x not in captured.varying:
        x = _on_grid(captured, node)
    base = str(x.target) if x.op == "get_attr" else node.name
    operator: Any = node.target
    names = [a.name for a in operator._schema.arguments]  # noqa: SLF001  torch has no public way
    arguments: list[Any] = [x]
    for name, argument in zip(names[1:], node.args[1:], strict=True):
        if not isinstance(argument, fx.Node):
            arguments.append(argument)
            continue
        value = captured.constant(argument, node, f"{name} of this quantiser")
        arguments.append(captured.new_constant(f"{base}_{name}", value))
    node.args = tuple(arguments)


def _on_grid(captured: Captured, node: fx.Node) -> fx.Node:
    """X as the quantiser makes it, if it makes that of it again."""
    values = captured.constant(node.args[0], node, "input")
    result = captured.constant(node, node, "value")
    operator: Any = node.target
    with torch.no_grad():
        again = operator(result, *(captured.constant(a, node, "parameter") for a in node.args[1:]))
    return captured.constant_input(node, result if torch.equal(again, result) else values)
