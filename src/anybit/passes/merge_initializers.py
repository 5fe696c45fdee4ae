"""MergeInitializers: equal weights are stored once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import onnx_ir as ir


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
        first: dict[tuple[object, ...], ir.Value] = {}
        graph = model.graph
        modified = False
        for name, value in list(graph.initializers.items()):
            tensor = value.const_value
            if tensor is None or tensor.nbytes < self.min_bytes or value.is_graph_input() or value.is_graph_output():
                continue
            if tensor.dtype == ir.DataType.STRING:
                continue
            digest = hashlib.blake2b(tensor.tobytes(), digest_size=32).digest()
            meta = tuple(sorted((str(k), repr(v)) for k, v in value.meta.items()))
            key = (tensor.dtype, tuple(tensor.shape.numpy()), digest, meta)
            kept = first.setdefault(key, value)
            if kept is not value:
                value.replace_all_uses_with(kept)
                del graph.initializers[name]
                modified = True
        return ir.passes.PassResult(model, modified)
