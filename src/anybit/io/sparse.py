"""Sparse tensors of a file made dense: onnx-ir drops sparse initializers, and knows no sparse attributes."""

from __future__ import annotations

import math

import numpy as np
import onnx
import onnx_ir as ir

from anybit.errors import ModelFileError
from anybit.io.external import ExternalFiles
from anybit.io.protos import graphs, nodes

_LARGEST_DENSE = 1 << 28  # elements of what was sparse


def make_dense(proto: onnx.ModelProto, files: ExternalFiles) -> int:
    """Turns sparse initializers and values of Constant nodes into dense ones, in place; returns their number.

    Args:
        proto: Model whose tensors have been checked.
        files: Its external data, where values and indices may be.

    Raises:
        ModelFileError: A sparse tensor contradicts itself, is too large, or belongs to another operator.
    """
    count = 0
    for graph in graphs(proto):
        for sparse in graph.sparse_initializer:
            graph.initializer.append(_dense(sparse, f"sparse initializer '{sparse.values.name}'", files))
            count += 1
        del graph.sparse_initializer[:]
    for node in nodes(proto):
        for attribute in node.attribute:
            if attribute.type not in (onnx.AttributeProto.SPARSE_TENSOR, onnx.AttributeProto.SPARSE_TENSORS):
                continue
            where = f"{node.op_type} '{node.name or ', '.join(node.output)}'"
            if (node.domain, node.op_type, attribute.name) != (
                "",
                "Constant",
                "sparse_value",
            ) or attribute.ref_attr_name:
                raise ModelFileError(
                    "a sparse tensor as an attribute is not read",
                    node=where,
                    got=f"attribute '{attribute.name}'",
                    expected="sparse_value of Constant",
                )
            value = _dense(attribute.sparse_tensor, where, files)
            attribute.Clear()
            attribute.CopyFrom(onnx.helper.make_attribute("value", value))
            count += 1
    return count


def _dense(sparse: onnx.SparseTensorProto, where: str, files: ExternalFiles) -> onnx.TensorProto:
    shape = tuple(sparse.dims)
    if math.prod(shape) > _LARGEST_DENSE:
        raise ModelFileError("a sparse tensor is too large", node=where, got=shape, expected="2**28 elements")
    try:
        parts = [ir.serde.deserialize_tensor(t) for t in (sparse.values, sparse.indices)]
        values, indices = (files.bound(where, part).numpy() for part in parts)
        dense = np.zeros(shape, values.dtype)
        dense[np.unravel_index(indices, shape) if indices.ndim == 1 else tuple(indices.T)] = values
    except (ValueError, IndexError, TypeError, RuntimeError, ir.serde.SerdeError) as error:
        raise ModelFileError(
            "a broken sparse tensor", node=where, got=" ".join(str(error).split()) or type(error).__name__
        ) from error
    return ir.to_proto(ir.tensor(dense, name=sparse.values.name))
