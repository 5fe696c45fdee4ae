"""aten.fake_quantize_*, with any range, as operators of the hub."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from anybit.errors import FrontEndError
from anybit.frontends.torch.captured import Captured, where
from anybit.frontends.torch.quantizers.affine import affine, write_activation, write_constant

_ATEN: Any = torch.ops.aten
_PER_TENSOR = (
    _ATEN.fake_quantize_per_tensor_affine.default,
    _ATEN.fake_quantize_per_tensor_affine.tensor_qparams,
    _ATEN.fake_quantize_per_tensor_affine_cachemask.default,
    _ATEN._fake_quantize_per_tensor_affine_cachemask_tensor_qparams.default,  # noqa: SLF001
)
_PER_CHANNEL = (
    _ATEN.fake_quantize_per_channel_affine.default,
    _ATEN.fake_quantize_per_channel_affine_cachemask.default,
)
_MASKED = (*_PER_TENSOR[2:], _PER_CHANNEL[1])
_WITH_SWITCH = _PER_TENSOR[3]  # scale, zero point, fake_quant_enabled, lo, hi


def rewrite_fake_quantize(captured: Captured, *, approximate: bool) -> None:
    """Replaces every fake quantisation; results are equal unless `approximate`, see `anybit.frontends.torch.affine`.

    Raises:
        FrontEndError: Its parameters depend on data, or are none that Quant can have.
    """
    for node in captured.nodes(*_PER_TENSOR, *_PER_CHANNEL):
        with captured.module.graph.inserting_before(node):
            new = _written(captured, node, approximate=approximate)
        if node.target in _MASKED:
            _replace_first(captured, node, new)
        else:
            captured.replace(node, new)


def _written(captured: Captured, node: fx.Node, *, approximate: bool) -> fx.Node:
    arguments: list[Any] = list(node.args)
    x, scale, zero_point = arguments[:3]
    _check_type(x, node)
    s = torch.as_tensor(captured.constant(scale, node, "scale of this quantiser"))
    z = torch.as_tensor(captured.constant(zero_point, node, "zero point of this quantiser"))
    s, z = s.detach().float(), z.detach()
    lo, hi = arguments[-2:]
    if node.target in _PER_CHANNEL:
        shape = [1] * x.meta["val"].ndim
        shape[arguments[3]] = -1
        s, z = s.reshape(shape), z.reshape(shape)
    else:
        s, z = s.reshape(()), z.reshape(())
    if node.target is _WITH_SWITCH and not bool(captured.constant(arguments[3], node, "switch of this quantiser")):
        return x
    meaning = affine(node, s, z, lo, hi, reciprocal=1.0 / s)
    if x in captured.varying:
        return write_activation(captured, x, meaning, node.name, approximate=approximate)
    result: Any = captured.constant(node, node, "value")
    values = result[0] if isinstance(result, tuple) else result
    return write_constant(captured, node, values, meaning.quantizer)


def _check_type(x: fx.Node, node: fx.Node) -> None:
    dtype = x.meta["val"].dtype
    if dtype != torch.float32:
        raise FrontEndError(
            "element type of a quantiser", node=where(node), got=dtype, expected="torch.float32", hint="call .float()"
        )


def _replace_first(captured: Captured, node: fx.Node, new: fx.Node) -> None:
    """The result is a pair; its second part, the mask of the gradient, has no users in a forward pass."""
    for user in list(node.users):
        if user.args[1] != 0:
            if user.users:
                raise FrontEndError("the mask of a fake quantisation is used", node=where(user), expected="no use")
            captured.module.graph.erase_node(user)
            continue
        captured.replace(user, new)
    captured.module.graph.erase_node(node)
