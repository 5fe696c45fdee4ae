"""of_known_opset: a model at an opset at which ONNX Runtime has kernels, or function bodies, for its operators."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from anybit.engines.onnxruntime.rewrites.positive_zeros import FIRST_BROADCASTING_SUM
from anybit.errors import UnsupportedError
from anybit.graph.walk import all_nodes
from anybit.io.opset import convert_opset, fits_opset
from anybit.io.standard_functions import decompose
from anybit.ops.calls import operator_of
from anybit.ops.expand import BODY_OPSET
from anybit.ops.zero_sign import tensors_of_told_zeros

_OLDEST = 15  # of the operators that bodies leave behind (CastLike)
_NEWEST = 25  # beyond it ONNX Runtime 1.32 lacks kernels, QuantizeLinear among them
# It has kernels for the versions before 22 only.
_OLDER_ONLY = frozenset(
    "GlobalLpPool MaxRoiPool Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike RoiAlign".split()
)
_FUNCTIONS = frozenset(("Swish", "SwiGLU"))  # it has no kernels, and takes the functions at the opset of origin only


def of_known_opset(model: ir.Model) -> ir.Model:
    """The model itself where its opset will do, else a copy at the oldest that can say it, from that of our bodies on.

    An operator that no opset with all kernels can say is replaced by its standard function, where it has one; what is
    left stays at the opset of the model.
    """
    opset = model.opset_imports.get("", 1)
    if opset < _OLDEST:
        ours = any(operator_of(n, model.opset_imports) is not None for n in all_nodes(model.graph))
        zeros = opset < FIRST_BROADCASTING_SUM and bool(tensors_of_told_zeros(model))
        return convert_opset(model, BODY_OPSET) if ours or zeros else model
    if opset <= BODY_OPSET:
        return model
    if any(map(_wants_function, all_nodes(model.graph))):
        model = _decomposed(model, _wants_function)
    if opset <= _NEWEST and not any(n.domain == "" and n.op_type in _OLDER_ONLY for n in all_nodes(model.graph)):
        return model
    return _oldest(model, opset) or _oldest(_decomposed(model, _is_newer), opset) or model


def _wants_function(node: ir.Node) -> bool:
    """Whether ONNX Runtime runs the function only: its Attention refuses some masks of padded keys, and -inf scores."""
    if node.domain != "" or node.op_type != "Attention":
        return node.domain == "" and node.op_type in _FUNCTIONS
    return (len(node.inputs) > 6 and node.inputs[6] is not None) or (
        len(node.outputs) > 3 and bool(node.outputs[3].name)
    )


def _is_newer(node: ir.Node) -> bool:
    return not fits_opset(node, BODY_OPSET)


def _decomposed(model: ir.Model, wanted: Callable[[ir.Node], bool]) -> ir.Model:
    copy = model.clone()
    decompose(copy, wanted)
    return copy


def _oldest(model: ir.Model, opset: int) -> ir.Model | None:
    """The model at the oldest opset, from that of bodies up to its own, that has all of its operators."""
    for version in range(BODY_OPSET, opset):
        try:
            return convert_opset(model, version)
        except UnsupportedError:
            continue
    return None
