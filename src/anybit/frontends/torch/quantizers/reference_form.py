"""torch.ao's reference form, in which quantised tensors are dequantised in front of each float operator, in floats.

quantize_per_tensor(X, scale, zero_point, quint8).dequantize() = (clip(round(V), 0, 255) - zero_point) * scale
V = X * (1/scale) + zero_point, rounded to float32 once, at the end: with a zero point, an X beside a half step may come
to lie on it, and half steps go to the integer that is even after the zero point is added. Without one, this is
fake_quantize_per_tensor_affine(X, scale, 0, 0, 255).
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import fx

from anybit.errors import FrontEndError
from anybit.frontends.torch.captured import attribute
from anybit.frontends.torch.operators.quant import quant

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
    parameters = layer.weight_scale, layer.weight_zero_point
    if layer.weight_qscheme == torch.per_tensor_affine:
        return _fake_quantized(layer.weight, *parameters, layer.weight_dtype)
    return _fake_quantized_by_channel(layer.weight, *parameters, layer.weight_axis_int, layer.weight_dtype)


def _rewrite(path: str, module: fx.GraphModule) -> None:
    changed = False
    for node in list(module.graph.nodes):
        if node.op != "call_function" or node.target not in (torch.quantize_per_tensor, torch.quantize_per_channel):
            continue
        where = f"module '{path or '(root)'}'"
        meaning = _meaning(module, node, where)
        with module.graph.inserting_before(node):
            new = module.graph.call_function(meaning, tuple(node.args))
        for user in list(node.users):
            if (user.op, user.target) != ("call_method", "dequantize"):
                raise FrontEndError(
                    "a quantised tensor that is not dequantised",
                    node=f"{where}, '{user.name}'",
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


def _meaning(module: fx.GraphModule, node: fx.Node, where: str) -> Callable[..., torch.Tensor]:
    """What quantises in floats as this call does."""
    if node.target is torch.quantize_per_tensor:
        return _rounded_with_zero_point if _has_zero_point(module, node) else _fake_quantized
    if _has_zero_point(module, node):
        raise FrontEndError(
            "zero points by channel that are not 0",
            node=f"{where}, '{node.name}'",
            got="quantize_per_channel",
            expected="symmetric weights",
            hint="export the module as it was prepared, before it was converted",
        )
    return _fake_quantized_by_channel


def _has_zero_point(module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether the zero point is another one than 0, or not known."""
    given: Any = node.args[2]
    if isinstance(given, fx.Node):
        given = attribute(module, str(given.target)) if given.op == "get_attr" else None
    return given is None or bool(torch.as_tensor(given).any())


def _rounded_with_zero_point(x: torch.Tensor, scale: Any, zero_point: Any, dtype: torch.dtype) -> torch.Tensor:
    scale, zero_point = (torch.as_tensor(p, dtype=torch.float32).reshape(()) for p in (scale, zero_point))
    # The product of two numbers of float32 is exact in float64.
    raised = (x.double() * (1.0 / scale).double() + zero_point.double()).float()
    integers = quant(raised, 1.0, 0.0, 8, signed=dtype == torch.qint8)
    return (integers - zero_point) * scale


def _fake_quantized(x: torch.Tensor, scale: Any, zero_point: Any, dtype: torch.dtype) -> torch.Tensor:
    lo, hi = _RANGES[dtype]
    scale = torch.as_tensor(scale, dtype=torch.float32).reshape(())
    zero_point = torch.as_tensor(zero_point, dtype=torch.int32).reshape(())
    return torch.fake_quantize_per_tensor_affine(x, scale, zero_point, lo, hi)


def _fake_quantized_by_channel(
    x: torch.Tensor, scales: torch.Tensor, zero_points: torch.Tensor, axis: int, dtype: torch.dtype
) -> torch.Tensor:
    lo, hi = _RANGES[dtype]
    return torch.fake_quantize_per_channel_affine(x, scales.float(), zero_points.int(), axis, lo, hi)
