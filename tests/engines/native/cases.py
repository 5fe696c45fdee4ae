"""Plans as `driver.cpp` reads them: what `Net` is handed, as bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from unittest import mock

import numpy as np

from anybit.engines.native import compile as compiling
from anybit.plan import Plan

_TYPES = {np.dtype(t): number for number, t in enumerate((np.int8, np.uint8, np.int32, np.float32, np.float64))}


class _Kernels:
    """Keeps what it is handed."""

    def Net(self, *arguments):  # noqa: N802 - named as the class that it stands for
        return arguments


def written(cases: Iterable[tuple[Plan, Mapping[str, np.ndarray]]]) -> bytes:
    """Plans and their inputs, of whole samples."""
    listed = [_case(plan, inputs) for plan, inputs in cases]
    return _ints(len(listed)) + b"".join(listed)


def read(plan: Plan, outputs: bytes, samples: int) -> tuple[dict[str, np.ndarray], bytes]:
    """The outputs of a plan, and what is left of the bytes."""
    found = {}
    for port in plan.outputs:
        size = samples * int(np.prod(port.shape)) * 4
        found[port.name] = np.frombuffer(outputs[:size], np.float32).reshape(samples, *port.shape)
        outputs = outputs[size:]
    return found, outputs


def _case(plan: Plan, inputs: Mapping[str, np.ndarray]) -> bytes:
    with mock.patch.object(compiling, "kernels", _Kernels), mock.patch.object(compiling, "path", return_value=""):
        tensors, steps, ins, outs, arena, *_ = compiling.compiled(plan)
    parts = [_ints(len(tensors)), *(_list(t) for t in tensors), _ints(len(steps))]
    for kind, numbers, arrays in steps:
        parts += [_ints(kind), _list(numbers), _ints(len(arrays))]
        for array in arrays:
            parts += [_ints(_TYPES[array.dtype], array.nbytes), array.tobytes()]
    for ports in (ins, outs):
        parts.append(_ints(len(ports)))
        for _, tensor, shape in ports:
            parts += [_ints(tensor), _list(shape)]
    given = [np.ascontiguousarray(inputs[p.name]) for p in plan.inputs]
    parts.append(_ints(arena, len(given[0])))
    for array in given:
        parts += [_ints(array.nbytes), array.tobytes()]
    return b"".join(parts)


def _ints(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}q", *numbers)


def _list(numbers: Iterable[int]) -> bytes:
    listed = list(numbers)
    return _ints(len(listed), *listed)
