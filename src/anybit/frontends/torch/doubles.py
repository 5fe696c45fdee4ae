"""settle_doubles: the numbers in a module's own arithmetic of float64 tensors, which torch's exporter makes float32."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import fx

from anybit.frontends.torch.captured import Captured


def settle_doubles(captured: Captured) -> None:
    """Puts float64 constants in the place of Python's numbers beside float64 tensors; what float32 holds may stay."""
    for node in list(captured.module.graph.nodes):
        if getattr(node.target, "namespace", None) == "aten" and _is_double(node):
            _settle_factor(captured, node)
            _settle_numbers(captured, node)


def _is_double(node: fx.Node) -> bool:
    values = (n.meta.get("val") for n in (node, *node.all_input_nodes))
    return any(isinstance(v, torch.Tensor) and v.dtype == torch.float64 for v in values)


def _settle_factor(captured: Captured, node: fx.Node) -> None:
    """`alpha` of an addition or a subtraction as a product in front of it."""
    factor: Any = node.kwargs.get("alpha")
    if not _is_inexact(factor):
        return
    operator: Any = node.target
    scaled = 0 if operator.overloadpacket is torch.ops.aten.rsub else 1
    if not isinstance(node.args[scaled], fx.Node):
        return
    with captured.module.graph.inserting_before(node):
        product = captured.call(torch.ops.aten.mul.Tensor, node.args[scaled], _constant(captured, node, factor))
    node.update_arg(scaled, product)
    node.kwargs = {k: v for k, v in node.kwargs.items() if k != "alpha"}


def _settle_numbers(captured: Captured, node: fx.Node) -> None:
    """The form of the operator that takes tensors where the module has numbers, if there is one."""
    operator: Any = node.target
    arguments = _arguments(operator)
    given: dict[str, Any] = {a.name: v for a, v in zip(arguments, node.args, strict=False)} | dict(node.kwargs)
    numbers = {name for name, v in given.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    if not any(_is_inexact(given[n]) for n in numbers):
        return
    target = _of_tensors(operator, numbers, {name for name, v in given.items() if v is None})
    if target is None:
        return
    with captured.module.graph.inserting_before(node):
        made = {name: _constant(captured, node, given[name]) for name in numbers}
    values = {**given, **made}
    node.target = target
    node.args = tuple(values.pop(a.name) for a in _arguments(target) if not a.kwarg_only and a.name in values)
    node.kwargs = values


def _of_tensors(target: Any, numbers: set[str], missing: set[str]) -> Any:
    """The overload of an operator with the same arguments, of which these are tensors; None where there is none.

    What is missing may be of any kind.
    """
    wanted = [(a.name, a.name in numbers or _is_tensor(a)) for a in _arguments(target)]
    packet = target.overloadpacket
    for other in (getattr(packet, name) for name in packet.overloads()):
        given = [(a.name, _is_tensor(a)) for a in _arguments(other)]
        if [n for n, _ in given] == [n for n, _ in wanted] and all(
            ours == theirs or name in missing for (name, ours), (_, theirs) in zip(given, wanted, strict=True)
        ):
            return other
    return None


def _arguments(operator: Any) -> Any:
    """The declared arguments of an overload of an operator, in order."""
    return operator._schema.arguments  # noqa: SLF001  torch has no public way


def _is_tensor(argument: Any) -> bool:
    return "Tensor" in str(argument.type)


def _is_inexact(number: Any) -> bool:
    """Whether float32 does not hold a number."""
    if isinstance(number, bool) or not isinstance(number, int | float):
        return False
    with np.errstate(over="ignore"):
        return not math.isnan(number) and float(np.float32(number)) != number


def _constant(captured: Captured, node: fx.Node, number: float) -> fx.Node:
    return captured.new_constant(f"{node.name}_number", torch.tensor(number, dtype=torch.float64))
