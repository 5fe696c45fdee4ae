"""Plans as bytes: written and read again, and looked through before anything is made of their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import msgspec
import numpy as np

from anybit.arrays import Array
from anybit.errors import ModelFileError
from anybit.plan.plan import VERSION, Plan, Port, Refusal, Step, Tensor, reads

_MAGIC = b"anybit plan "
_KINDS: Mapping[str, Any] = {kind.__name__: kind for kind in get_args(Step)}
_SAFE = frozenset("uint8 int8 int32 float32 float64".split())


class _Written(msgspec.Struct, frozen=True):
    """A plan as it is written: each step with the name of its kind."""

    version: int
    tensors: tuple[Tensor, ...]
    steps: tuple[tuple[str, msgspec.Raw], ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    arena: int
    nodes: tuple[str, ...]
    refusals: tuple[Refusal, ...]


def to_bytes(plan: Plan) -> bytes:
    """The plan as bytes, the same for equal plans."""
    steps = tuple((type(s).__name__, msgspec.Raw(_encoded(s))) for s in plan.steps)
    parts = (plan.tensors, steps, plan.inputs, plan.outputs, plan.arena, plan.nodes, plan.refusals)
    return _MAGIC + _encoded(_Written(VERSION, *parts))


def from_bytes(data: bytes) -> Plan:
    """The plan that `to_bytes` wrote.

    Raises:
        ModelFileError: These bytes are no plan, one of another version, or one whose parts do not fit together.
    """
    try:
        held = _read(data)
        steps = tuple(msgspec.msgpack.decode(raw, type=_KINDS[kind], dec_hook=_array) for kind, raw in held.steps)
        plan = Plan(held.tensors, steps, held.inputs, held.outputs, held.arena, held.nodes, held.refusals)
        _look_through(plan)
    except (ValueError, KeyError, TypeError, msgspec.MsgspecError) as error:
        raise ModelFileError("these bytes are no plan", got=str(error), hint="write the plan again") from error
    return plan


def _read(data: bytes) -> _Written:
    if not data.startswith(_MAGIC):
        raise ValueError("they do not begin as a plan does")
    held = msgspec.msgpack.decode(data[len(_MAGIC) :], type=_Written, dec_hook=_array)
    if held.version != VERSION:
        raise ValueError(f"version {held.version}, where {VERSION} is read")
    return held


def _look_through(plan: Plan) -> None:
    """Raises ValueError where a step names a tensor that is not there, or reads one before it is made."""
    made = {p.tensor for p in plan.inputs}
    count = len(plan.tensors)
    for step in plan.steps:
        if not all(0 <= t < count for t in (*reads(step), step.y)) or not made.issuperset(reads(step)):
            raise ValueError("a step reads a tensor that is not made yet")
        made.add(step.y)
    if not made.issuperset(p.tensor for p in plan.outputs):
        raise ValueError("an output that no step makes")
    for tensor in plan.tensors:
        end = tensor.offset + tensor.nbytes
        if tensor.elements < 1 or tensor.offset < -1 or (tensor.offset >= 0 and end > plan.arena):
            raise ValueError("a tensor outside of the arena")


def _encoded(value: Any) -> bytes:
    return msgspec.msgpack.encode(value, enc_hook=_parts, order="deterministic")


def _parts(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        array: Array = value
        return (
            array.dtype.name,
            list(array.shape),
            np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes(),
        )
    raise NotImplementedError(type(value).__name__)


def _array(kind: Any, value: Any) -> Any:
    name, shape, data = value
    if name not in _SAFE or not isinstance(data, bytes) or np.dtype(name) != get_args(get_args(kind)[1])[0]:
        raise ValueError(f"an array of {name}")
    array = np.frombuffer(data, np.dtype(name).newbyteorder("<")).astype(name)
    return array.reshape([int(n) for n in shape])
