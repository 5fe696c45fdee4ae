"""SequenceInsert and Optional; a sequence is a list of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anybit.ops.standard.kernel import Kernel, Spec, as_integer, given


def make_sequence_insert(spec: Spec) -> Kernel:
    """The sequence with a tensor more, before the one at `position`; at the end if there is none."""

    def run(inputs: Sequence[Any]) -> tuple[Any, ...]:
        sequence, tensor = list(inputs[0]), inputs[1]
        position = given(inputs, 2)
        at = len(sequence) if position is None else as_integer(position)
        if not -len(sequence) <= at <= len(sequence):
            raise IndexError(f"position {at} in a sequence of {len(sequence)}")
        sequence.insert(at, tensor)
        return (sequence,)

    return run


def make_optional(spec: Spec) -> Kernel:
    """What it is given, or nothing."""
    return lambda inputs: (given(inputs, 0),)
