"""Sparse tensors of a file made dense: onnx-ir drops sparse initializers, and knows no sparse attributes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir

from anybit.errors import ModelFileError
from anybit.io.checks.tensors import tensor_findings
from anybit.io.files.external import ExternalFiles
from anybit.io.protos import node_label, scopes
from anybit.ops.sizes import ELEMENT_BYTES, refuse_bytes

_SPARSE = (onnx.AttributeProto.SPARSE_TENSOR, onnx.AttributeProto.SPARSE_TENSORS)


def make_dense(proto: onnx.ModelProto, files: ExternalFiles) -> int:
    """Turns sparse initializers and values of Constant nodes into dense ones, in place; returns their number.

    Args:
        proto: Model whose initializers have been checked.
        files: Its external data, where values and indices may be.

    Raises:
        ModelFileError: A sparse tensor contradicts itself, or belongs to another operator.
        LimitError: It would take more memory than the limits allow.
    """
    made = _Dense(files)
    for scope in scopes(proto):
        if isinstance(scope, onnx.GraphProto) and scope.sparse_initializer:
            for sparse in scope.sparse_initializer:
                scope.initializer.append(made.of(sparse, f"sparse initializer '{sparse.values.name}'"))
            del scope.sparse_initializer[:]
        for node in scope.node:
            for attribute in node.attribute:
                if attribute.type in _SPARSE:
                    value = made.of(_value(node, attribute), node_label(node))
                    attribute.Clear()
                    attribute.CopyFrom(onnx.helper.make_attribute("value", value))
    return made.count


def _value(node: onnx.NodeProto, attribute: onnx.AttributeProto) -> onnx.SparseTensorProto:
    """The sparse value of a Constant."""
    owner = (node.domain, node.op_type, attribute.name)
    if owner != ("", "Constant", "sparse_value") or attribute.ref_attr_name:
        raise ModelFileError(
            "a sparse tensor as an attribute is not read",
            node=node_label(node),
            got=f"attribute '{attribute.name}'",
            expected="sparse_value of Constant",
        )
    return attribute.sparse_tensor


@dataclass
class _Dense:
    """Makes sparse tensors dense.

    Attributes:
        files: Where external data is.
        count: How many were made.
        held: Bytes that they take together.
    """

    files: ExternalFiles
    count: int = 0
    held: int = 0

    def of(self, sparse: onnx.SparseTensorProto, where: str) -> onnx.TensorProto:
        """A sparse tensor as a dense one of the same name."""
        shape = tuple(sparse.dims)
        refuse_bytes(self.held + math.prod(shape) * ELEMENT_BYTES, where)
        for finding in (*tensor_findings(sparse.values), *tensor_findings(sparse.indices)):
            raise ModelFileError(finding.problem, node=finding.node, got=finding.got, expected=finding.expected)
        try:
            parts = [ir.serde.deserialize_tensor(t) for t in (sparse.values, sparse.indices)]
            values, indices = (self.files.bound(where, part).numpy() for part in parts)
            dense = np.zeros(shape, values.dtype)
            dense[np.unravel_index(indices, shape) if indices.ndim == 1 else tuple(indices.T)] = values
        except (ValueError, IndexError, TypeError, RuntimeError, ir.serde.SerdeError) as error:
            raise ModelFileError(
                "a broken sparse tensor", node=where, got=" ".join(str(error).split()) or type(error).__name__
            ) from error
        self.count, self.held = self.count + 1, self.held + dense.nbytes
        return ir.to_proto(ir.tensor(dense, name=sparse.values.name))
