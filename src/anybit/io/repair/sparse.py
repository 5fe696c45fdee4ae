"""Sparse tensors of a file made dense: onnx-ir drops sparse initializers, and knows no sparse attributes."""

from __future__ import annotations

import math

import numpy as np
import onnx
import onnx_ir as ir

from anybit.errors import ModelFileError
from anybit.io.files.external import ExternalFiles
from anybit.io.protos import graphs, nodes
from anybit.ops.sizes import ELEMENT_BYTES, refuse_bytes


def make_dense(proto: onnx.ModelProto, files: ExternalFiles) -> int:
    """Turns sparse initializers and values of Constant nodes into dense ones, in place; returns their number.

    Args:
        proto: Model whose tensors have been checked.
        files: Its external data, where values and indices may be.

    Raises:
        ModelFileError: A sparse tensor contradicts itself, or belongs to another operator.
        LimitError: It would take more memory than the limits allow.
    """
    count = held = 0
    for graph in graphs(proto):
        for sparse in graph.sparse_initializer:
            dense = _dense(sparse, f"sparse initializer '{sparse.values.name}'", files, held)
            graph.initializer.append(dense)
            count, held = count + 1, held + len(dense.raw_data)
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
            value = _dense(attribute.sparse_tensor, where, files, held)
            attribute.Clear()
            attribute.CopyFrom(onnx.helper.make_attribute("value", value))
            count, held = count + 1, held + len(value.raw_data)
    return count


def _dense(sparse: onnx.SparseTensorProto, where: str, files: ExternalFiles, held: int) -> onnx.TensorProto:
    shape = tuple(sparse.dims)
    refuse_bytes(held + math.prod(shape) * ELEMENT_BYTES, where)
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
