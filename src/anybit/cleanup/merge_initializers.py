"""MergeInitializers: equal weights are stored once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

_SAMPLE = 16  # elements that are looked at before all are


@dataclass(frozen=True)
class MergeInitializers(ir.passes.InPlacePass):
    """Lets one initializer stand for others of the same type, shape, bytes and annotations.

    Before: ``a = MatMul(x, w1); b = MatMul(y, w2)`` with equal w1 and w2; after: both read w1. Graph inputs and
    outputs keep their own. Small ones are left alone: parameters of quantisers are easier to edit unshared.

    Attributes:
        min_bytes: Size from which an initializer is merged.
    """

    min_bytes: int = 1024

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        alike: dict[tuple[object, ...], list[ir.Value]] = {}
        for value in model.graph.initializers.values():
            tensor = value.const_value
            if tensor is None or tensor.nbytes < self.min_bytes or value.is_graph_input() or value.is_graph_output():
                continue
            if tensor.dtype != ir.DataType.STRING:
                alike.setdefault(_outside(value, tensor), []).append(value)
        modified = False
        for values in alike.values():
            for kept, copies in _equal(values):
                for value in copies:
                    value.replace_all_uses_with(kept)
                    del model.graph.initializers[str(value.name)]
                    modified = True
        return ir.passes.PassResult(model, modified)


def _outside(value: ir.Value, tensor: ir.TensorProtocol) -> tuple[object, ...]:
    """Type, shape, annotations and first elements: what can be told without mapping all weights into memory."""
    meta = tuple(sorted((str(k), repr(v)) for k, v in value.meta.items()))
    return tensor.dtype, tuple(tensor.shape.numpy()), meta, tensor.numpy().reshape(-1)[:_SAMPLE].tobytes()


def _equal(values: list[ir.Value]) -> Iterator[tuple[ir.Value, list[ir.Value]]]:
    """Of values that look alike, the first of each kind, with those that hold the same bytes."""
    if len(values) < 2:
        return
    groups: dict[bytes, list[ir.Value]] = {}
    for value in values:
        content = b"" if value.const_value is None else value.const_value.tobytes()
        groups.setdefault(hashlib.blake2b(content, digest_size=32).digest(), []).append(value)
    for first, *copies in groups.values():
        yield first, copies
