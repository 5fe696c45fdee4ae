"""freeze: the fake quantisers of torch.ao, which look at the data, as ones that only quantise."""

from __future__ import annotations

from typing import Any

import torch

from anybit.errors import FrontEndError
from anybit.frontends.torch.quantizers.fake_quantized_weights import frozen_quantizer
from anybit.frontends.torch.quantizers.reference_form import without_quantized_tensors

_CONVERTED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.ao.nn.quantizable")
_IN_FLOAT = ("FloatFunctional", "FXFloatFunctional")  # of these packages, and yet no integer kernels
_REFERENCE = "torch.ao.nn.quantized.reference"


def freeze(module: torch.nn.Module) -> torch.nn.Module:
    """The module with every FakeQuantize in it, of torch.ao or torchao, replaced; it is changed.

    Raises:
        FrontEndError: A quantiser still observes, learns, or looks at the data in each run; or the module has been
            converted to torch's own integer kernels.
    """
    own: set[torch.nn.Module] = set()  # observers inside quantisers
    for path, child in list(module.named_modules(remove_duplicate=False)):
        kinds = {kind.__name__ for kind in type(child).__mro__}
        if child not in own:
            _check(path, child, kinds)
        parent, _, name = path.rpartition(".")
        if "FakeQuantizerBase" in kinds:
            layer = module.get_submodule(parent)
            setattr(layer, name, frozen_quantizer(path, child, layer))
        if "FakeQuantizeBase" not in kinds:
            continue
        own.update(child.modules())
        new = _frozen(path, child, fixed="FixedQParamsFakeQuantize" in kinds)
        if not path:
            return new
        setattr(module.get_submodule(parent), name, new)
    without_quantized_tensors(module)
    return module


def _check(path: str, child: torch.nn.Module, kinds: set[str]) -> None:
    """Refuses what has no frozen form."""
    where = f"module '{path or '(root)'}'"
    kind = type(child)
    own_kind = kind.__name__ in _IN_FLOAT or kind.__module__.startswith(_REFERENCE)
    if kind.__module__.startswith(_CONVERTED) and not own_kind:
        dynamic = "dynamic" in kind.__module__
        raise FrontEndError(
            "a layer of torch's integer kernels" + (", whose scale depends on the data" if dynamic else ""),
            node=where,
            got=f"{kind.__module__}.{kind.__name__}",
            hint="export the module as it was prepared, before torch.ao.quantization.convert",
        )
    if "LearnableFakeQuantize" in kinds or "_LearnableFakeQuantize" in kinds:
        raise FrontEndError(
            "a quantiser whose parameters are learned",
            node=where,
            got=kind.__name__,
            hint="replace it by a FakeQuantize with what it has learned",
        )
    if "ObserverBase" in kinds and kind.__name__ != "NoopObserver":
        raise FrontEndError(
            "an observer in the place of a quantiser",
            node=where,
            got=kind.__name__,
            hint="prepare the module with a FakeQuantize here, or remove the observer",
        )


def _frozen(path: str, child: Any, *, fixed: bool) -> torch.nn.Module:
    where = f"module '{path or '(root)'}'"
    if getattr(child, "is_dynamic", False):
        raise FrontEndError(
            "the scale of this quantiser depends on the data", node=where, got="is_dynamic", hint="use a static qconfig"
        )
    if not fixed and bool(child.observer_enabled[0]):
        raise FrontEndError(
            "this quantiser still observes the data",
            node=where,
            got="an enabled observer",
            hint="call module.apply(torch.ao.quantization.disable_observer) first",
        )
    if not bool(child.fake_quant_enabled[0]):
        return torch.nn.Identity()
    observer = child.activation_post_process
    axis = int(child.ch_axis) if child.is_per_channel else None
    return _Frozen(child.scale, child.zero_point, axis, int(observer.quant_min), int(observer.quant_max))


class _Frozen(torch.nn.Module):
    """Fake quantisation with fixed parameters."""

    def __init__(self, scale: torch.Tensor, zero_point: torch.Tensor, axis: int | None, lo: int, hi: int) -> None:
        super().__init__()
        self.register_buffer("scale", scale.detach().clone())
        self.register_buffer("zero_point", zero_point.detach().clone())
        self.axis, self.lo, self.hi = axis, lo, hi

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        s: Any = self.scale
        z: Any = self.zero_point
        if self.axis is None:
            return torch.fake_quantize_per_tensor_affine(x, s, z, self.lo, self.hi)
        return torch.fake_quantize_per_channel_affine(x, s, z, self.axis, self.lo, self.hi)
