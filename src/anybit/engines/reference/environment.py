"""Environment: the tensors of one run of the reference engine, and what they take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from anybit.budget import current_limits
from anybit.errors import LimitError
from anybit.ops.sizes import refuse_bytes


class Environment(dict[ir.Value, Any]):
    """What is known of each tensor during a run, and what the run has taken.

    Attributes:
        held: Bytes of the tensors that nodes made and that are still needed.
        loop_steps: How often the bodies of loops ran.
    """

    def __init__(self, known: Mapping[ir.Value, Any]) -> None:
        super().__init__(known)
        self.held = 0
        self.loop_steps = 0
        self._most_steps = current_limits().loop_steps

    def keep(self, values: Sequence[ir.Value], results: Sequence[Any]) -> None:
        """Adds what a node made."""
        for value, result in zip(values, results, strict=False):
            self.held += _own_bytes(result) - _own_bytes(self.get(value))
            self[value] = result

    def drop(self, values: Sequence[ir.Value]) -> None:
        """Forgets tensors that no later node reads."""
        for value in values:
            self.held -= _own_bytes(self.pop(value, None))

    def hold(self, value: Any, where: str) -> None:
        """Takes what a step of a loop made into account until `release`.

        Raises:
            LimitError: All that is held takes more memory than the limits allow.
        """
        self.held += _own_bytes(value)
        refuse_bytes(self.held, where)

    def release(self, rows: Sequence[Sequence[Any]]) -> None:
        """What the steps of a loop made is put together."""
        self.held -= sum(_own_bytes(value) for row in rows for value in row)

    def count(self, where: str) -> None:
        """Counts a step of a loop.

        Raises:
            LimitError: There were too many in this run.
        """
        self.loop_steps += 1
        if self.loop_steps > self._most_steps:
            raise LimitError(
                "the bodies of loops run more often than the limit",
                node=where,
                expected=f"{self._most_steps:,} times at most in one run",
                hint="raise it by anybit.limits if the loop has an end",
            )


def _own_bytes(value: Any) -> int:
    """Bytes that a tensor keeps, which one that is a view of another does not."""
    if isinstance(value, list):
        return sum(map(_own_bytes, value))
    return value.nbytes if isinstance(value, np.ndarray) and value.base is None else 0
