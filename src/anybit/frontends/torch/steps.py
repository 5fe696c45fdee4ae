"""anybit::steps: a module called for each element of a sequence, as one operator that torch.export does not unroll."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch

from anybit.errors import FrontEndError

Bodies = Mapping[str, torch.nn.Module]
"""What is called at each step, by the names that calls have for it."""

_BODIES: ContextVar[Bodies] = ContextVar("_BODIES", default={})  # noqa: B039  it is never changed in place


@contextmanager
def known_bodies(bodies: Bodies) -> Generator[None]:
    """Lets `steps` find these modules for as long as it lasts."""
    token = _BODIES.set(bodies)
    try:
        yield
    finally:
        _BODIES.reset(token)


def body_named(name: str) -> torch.nn.Module:
    """The body that calls have this name for.

    Raises:
        FrontEndError: There is none.
    """
    module = _BODIES.get().get(name)
    if module is None:
        raise FrontEndError("a step whose body is not known", got=name, expected="a call inside `known_bodies`")
    return module


def steps(
    states: Sequence[torch.Tensor],
    sequence: torch.Tensor,
    parameters: Sequence[torch.Tensor],
    body: str,
    *,
    axis: int,
    reverse: bool,
) -> list[torch.Tensor]:
    """states = body(*states, element, *parameters) for each element of the sequence along the axis.

    Args:
        states: States before the first step; the body returns as many, of the same shapes.
        sequence: What has an element for each step.
        parameters: What all steps read.
        body: Name of the body, see `known_bodies`.
        axis: Axis of the steps.
        reverse: Whether the last element comes first.

    Returns:
        The states behind the last step, and the first state behind each step, along the axis, each where the element
        of its step is.
    """
    return _steps(list(states), sequence, list(parameters), body, axis, reverse)


_SCHEMA = "(Tensor[] states, Tensor sequence, Tensor[] parameters, str body, int axis, bool reverse) -> Tensor[]"


@torch.library.custom_op("anybit::steps", mutates_args=(), schema=_SCHEMA)
def _steps(
    states: list[torch.Tensor],
    sequence: torch.Tensor,
    parameters: list[torch.Tensor],
    body: str,
    axis: int,
    reverse: bool,  # noqa: FBT001  the schema's order
) -> list[torch.Tensor]:
    module = body_named(body)
    current, kept = list(states), list[torch.Tensor]()
    for element in elements(sequence, axis, reverse=reverse):
        current = list(module(*current, element, *parameters))
        kept.append(current[0])
    return [*(s.clone() for s in current), stacked(kept, axis, reverse=reverse)]


@_steps.register_fake
def _(
    states: list[torch.Tensor],
    sequence: torch.Tensor,
    parameters: list[torch.Tensor],
    body: str,
    axis: int,
    reverse: bool,  # noqa: FBT001  the schema's order
) -> list[torch.Tensor]:
    del parameters, body, reverse
    first = states[0]
    shape = [*first.shape[:axis], sequence.shape[axis], *first.shape[axis:]]
    return [*(torch.empty_like(s) for s in states), first.new_empty(shape)]


def elements(sequence: torch.Tensor, axis: int, *, reverse: bool) -> list[torch.Tensor]:
    """The elements of a sequence, in the order of the steps."""
    found = list(sequence.unbind(axis))
    return found[::-1] if reverse else found


def stacked(rows: Sequence[torch.Tensor], axis: int, *, reverse: bool) -> torch.Tensor:
    """What steps gave, along the axis."""
    return torch.stack(list(rows[::-1] if reverse else rows), dim=axis)


def is_steps(target: Any) -> bool:
    """Whether this is the operator, as nodes of a graph have it."""
    return target is torch.ops.anybit.steps.default
