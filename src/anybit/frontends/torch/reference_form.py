"""torch.ao's reference form, in which quantised tensors are dequantised in front of each float operator, in floats.

quantize_per_tensor(X, scale, zero_point, quint8).dequantize() = fake_quantize_per_tensor_affine(X, ..., 0, 255)
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import fx

from anybit.errors import FrontEndError

_RANGES = {torch.quint8: (0, 255), torch.qint8: (-128, 127)}
_REFERENCE = "torch.ao.nn.quantized.reference"


def without_quantized_tensors(module: torch.nn.Module) -> None:
    """Writes what `convert_to_reference_fx` makes without torch's quantised types; the module is changed.

    Raises:
        FrontEndError: A quantised tensor is used otherwise, or a layer keeps its weights in no grid of 8 bits.
    """
    for path, child in module.named_modules():
        if type(child).__module__.startswith(_REFERENCE):
            _with_fake_quantized_weights(path, child)
        if isinstance(child, fx.GraphModule):
            _rewrite(path, child)


def _with_fake_quantized_weights(path: str, layer: Any) -> None:
    if getattr(layer, "is_decomposed", False):
        return
    kind: Any = getattr(layer, "weight_dtype", None)
    if kind not in _RANGES or not hasattr(layer, "get_weight"):
        raise FrontEndError(
            "a reference layer without a translation",
            node=f"module '{path or '(root)'}'",
            got=f"{type(layer).__name__} of {kind or 'several weights'}",
            expected="convolutions, linear layers and embeddings of 8 bits",
        )
    layer.get_weight = MethodType(_weight, layer)


def _weight(layer: Any) -> torch.Tensor:
    lo, hi = _RANGES[layer.weight_dtype]
    scale, zero_point = layer.weight_scale, layer.weight_zero_point
    if layer.weight_qscheme == torch.per_tensor_affine:
        scale, zero_point = scale.reshape(()).float(), zero_point.reshape(()).int()
        return torch.fake_quantize_per_tensor_affine(layer.weight, scale, zero_point, lo, hi)
    axis = layer.weight_axis_int
    return torch.fake_quantize_per_channel_affine(layer.weight, scale.float(), zero_point.int(), axis, lo, hi)


def _rewrite(path: str, module: fx.GraphModule) -> None:
    changed = False
    for node in list(module.graph.nodes):
        if node.op != "call_function" or node.target is not torch.quantize_per_tensor:
            continue
        with module.graph.inserting_before(node):
            new = module.graph.call_function(_fake_quantized, tuple(node.args))
        for user in list(node.users):
            if (user.op, user.target) != ("call_method", "dequantize"):
                raise FrontEndError(
                    "a quantised tensor that is not dequantised",
                    node=f"module '{path or '(root)'}', '{user.name}'",
                    got=str(user.target),
                    expected="dequantize",
                    hint="export the module as it was prepared, before it was converted",
                )
            user.replace_all_uses_with(new)
            module.graph.erase_node(user)
        module.graph.erase_node(node)
        changed = True
    if changed:
        module.recompile()


def _fake_quantized(x: torch.Tensor, scale: Any, zero_point: Any, dtype: torch.dtype) -> torch.Tensor:
    lo, hi = _RANGES[dtype]
    scale = torch.as_tensor(scale, dtype=torch.float32).reshape(())
    zero_point = torch.as_tensor(zero_point, dtype=torch.int32).reshape(())
    return torch.fake_quantize_per_tensor_affine(x, scale, zero_point, lo, hi)
