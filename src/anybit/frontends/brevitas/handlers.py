"""What Brevitas calls in the place of a quantiser while a module is exported: one class a kind of quantiser.

Brevitas' own handlers write raw weights marked ROUND whatever their rounding, and one bit as bipolar whatever its grid.
These write weights that are on their grid already, one bit as what it is, and roundings that have no name in Quant as
the arithmetic that they are, behind which a Quant, which changes nothing, states the grid.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from brevitas.export.common.handler.base import BaseHandler
from brevitas.proxy import (
    ActQuantProxyFromInjector,
    BiasQuantProxyFromInjector,
    DecoupledWeightQuantProxyFromInjector,
    DecoupledWeightQuantWithInputProxyFromInjector,
    WeightQuantProxyFromInjector,
)
from brevitas.proxy.float_parameter_quant import (
    WeightFloatQuantProxyFromInjector,
    WeightFloatQuantProxyFromInjectorBase,
)
from brevitas.proxy.float_runtime_quant import ActFloatQuantProxyFromInjector
from brevitas.proxy.groupwise_float_parameter_quant import GroupwiseWeightFloatQuantProxyFromInjector
from brevitas.proxy.groupwise_int_parameter_quant import GroupwiseWeightQuantProxyFromInjector
from brevitas.proxy.runtime_quant import TruncQuantProxyFromInjector

from anybit.errors import FrontEndError
from anybit.frontends.brevitas.meanings import Integer, Minifloat, is_binary, rounding_of
from anybit.frontends.torch.operators.trunc import trunc
from anybit.rounding import Rounding


class Weights(BaseHandler):
    """Quantisers of weights, integer, binary or minifloat."""

    handled_layer = (
        WeightQuantProxyFromInjector,
        DecoupledWeightQuantProxyFromInjector,
        DecoupledWeightQuantWithInputProxyFromInjector,
        WeightFloatQuantProxyFromInjector,
        GroupwiseWeightQuantProxyFromInjector,
        GroupwiseWeightFloatQuantProxyFromInjector,
    )

    def prepare_for_export(self, module: Any) -> None:
        self.layers: list[Any] = list(module.tracked_module_list) if module.is_quant_enabled else []
        quantized = [_Quantized(layer.quant_weight()) for layer in self.layers]
        self.values = [q.value.detach() for q in quantized]
        self.meanings = [_meaning(module, q) for q in quantized]
        self.metadata = [_metadata(module, q) for q in quantized]
        self.in_place = False

    def of_layer(self, index: int) -> Weights:
        """The handler of one of several layers that share a quantiser."""
        own = Weights()
        own.layers, own.values, own.meanings = [self.layers[index]], [self.values[index]], [self.meanings[index]]
        own.metadata, own.in_place = [self.metadata[index]], False
        return own

    def bake(self) -> None:
        """Puts the values into the weights of the one layer: from now on they are the quantiser's input."""
        self.layers[0].weight.data = self.values[0].clone()
        self.in_place = True

    def forward(self, x: torch.Tensor, *_: Any) -> tuple[Any, ...]:
        (meaning,), (metadata,) = self.meanings, self.metadata
        return (meaning(x if self.in_place else self.values[0]), *metadata)


class Activations(BaseHandler):
    """Quantisers of activations, integer, binary, ternary or minifloat."""

    handled_layer = (ActQuantProxyFromInjector, ActFloatQuantProxyFromInjector)

    def prepare_for_export(self, module: Any) -> None:
        if not module.is_quant_enabled:
            return
        self.arithmetic = module.fused_activation_quant_proxy.tensor_quant
        self.metadata = self.arithmetic(module._zero_hw_sentinel())[1:]  # noqa: SLF001  as Brevitas asks for them
        self.rounding = rounding_of(self.arithmetic)
        if isinstance(module, ActFloatQuantProxyFromInjector):
            self.meaning: Integer | Minifloat = _minifloat(module, _Called(module))
            if self.rounding is not Rounding.ROUND:
                self.rounding = None  # Brevitas takes the exponent by log2, which only rounding to nearest forgives
        else:
            self.meaning = _integer(module, _Called(module), self.arithmetic)
        if self.rounding is not None and hasattr(self.arithmetic, "int_quant"):
            # Cells of recurrent layers call this, not the handler.
            self.arithmetic.int_quant = _Stated(self.meaning, self.rounding)

    def forward(self, x: torch.Tensor) -> tuple[Any, ...]:
        if self.rounding is not None or is_binary(self.arithmetic):
            return (self.meaning(x, self.rounding or Rounding.ROUND), *self.metadata)
        return (self.meaning(self.arithmetic(x)[0]), *self.metadata)


class _Stated(torch.nn.Module):
    """What computes integers inside a quantiser of Brevitas, as one operator."""

    def __init__(self, meaning: Integer | Minifloat, rounding: Rounding) -> None:
        super().__init__()
        self.meaning, self.rounding = meaning, rounding

    def forward(self, scale: Any, zero_point: Any, bits: Any, x: torch.Tensor) -> torch.Tensor:
        """Y; the parameters are what they were when the quantiser was frozen."""
        del scale, zero_point, bits
        return self.meaning(x, self.rounding)


class Biases(BaseHandler):
    """Quantisers of biases; some take their scale from what is added."""

    handled_layer = BiasQuantProxyFromInjector

    def prepare_for_export(self, module: Any) -> None:
        if not module.is_quant_enabled:
            return
        self.arithmetic = module.tensor_quant
        self.rounding = rounding_of(self.arithmetic)
        self.takes_scale = module.requires_input_scale
        # A layer whose weight alone is read by what it is part of never runs, and its bias has no scale.
        runs = not self.takes_scale or module.scale() is not None
        self.meaning = _integer(module, _Called(module), self.arithmetic) if runs else None

    def forward(self, x: torch.Tensor, scale: torch.Tensor | None = None) -> tuple[Any, ...]:
        if self.meaning is None:
            raise FrontEndError(
                "a quantiser of a bias that does not run on the example", hint="give an example that it does"
            )
        given = () if scale is None or not self.takes_scale else (scale,)
        y, *parameters = self.arithmetic(x, *given)
        meaning = replace(self.meaning, scale=parameters[0])  # that of this call: a layer may run on several grids
        if self.rounding is not None:
            return (meaning(x, self.rounding), *parameters)
        return (meaning(y), *parameters)


class Truncations(BaseHandler):
    """Quantisers that drop the lowest bits of their input."""

    handled_layer = TruncQuantProxyFromInjector

    def prepare_for_export(self, module: Any) -> None:
        self.proxy = (module,)  # not a child of its own handler
        self.rounding = rounding_of(module.tensor_quant)

    def forward(
        self, x: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor, bits: torch.Tensor, signed: Any
    ) -> tuple[Any, ...]:
        (module,) = self.proxy
        y, *parameters = module.tensor_quant(x, scale, zero_point, bits, signed)
        if self.rounding is None:
            return (y, *parameters)
        out_scale, _, out_bits = parameters
        flags = {"signed": bool(signed), "narrow": bool(module.is_narrow_range)}
        return (trunc(x, scale, zero_point, bits, out_scale, out_bits, rounding=self.rounding, **flags), *parameters)


class _Quantized:
    """A quantised tensor with its values and scales as they are quantised: those of groups have an axis for each."""

    def __init__(self, tensor: Any) -> None:
        self._tensor = tensor

    def __getattr__(self, name: str) -> Any:
        grouped = f"{name}_"
        return getattr(self._tensor, grouped if grouped in self._tensor._fields else name)


class _Called:
    """The parameters of a quantiser of activations or biases as if they were those of a quantised tensor."""

    def __init__(self, proxy: Any) -> None:
        self._proxy = proxy

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._proxy, name)
        return value() if callable(value) else value


def _metadata(proxy: Any, quantized: Any) -> tuple[Any, ...]:
    """What a quantiser of weights returns behind the value, as the QuantTensor of its weights has it."""
    if isinstance(proxy, WeightFloatQuantProxyFromInjectorBase):
        names = (
            "scale zero_point exponent_bit_width mantissa_bit_width exponent_bias saturating_t inf_values nan_values"
        ).split()
    else:
        names = ["scale", "zero_point", "bit_width"]
    values = [getattr(quantized, name) for name in names]
    if isinstance(proxy, DecoupledWeightQuantProxyFromInjector):
        values += [None, None]  # the scale and the zero point before the decoupling, which no QuantTensor keeps
    return tuple(v.detach() if isinstance(v, torch.Tensor) else v for v in values)


def _meaning(proxy: Any, parameters: Any) -> Integer | Minifloat:
    if isinstance(proxy, WeightFloatQuantProxyFromInjectorBase):
        return _minifloat(proxy, parameters)
    return _integer(proxy, parameters, proxy.tensor_quant)


def _integer(proxy: Any, parameters: Any, tensor_quant: Any) -> Integer:
    bits = parameters.bit_width.detach()
    if bits.min() < bits.max():
        got = f"{bits.min():g} .. {bits.max():g}"
        raise FrontEndError("bit widths differ between elements", node=type(proxy).__name__, got=got)
    return Integer(
        scale=parameters.scale.detach(),
        zero_point=parameters.zero_point.detach(),
        bits=float(bits.max()),
        signed=bool(proxy.is_signed),
        narrow=bool(proxy.is_narrow_range),
        binary=is_binary(tensor_quant),
    )


def _minifloat(proxy: Any, parameters: Any) -> Minifloat:
    scale = parameters.scale.detach()
    exponent_bits, mantissa_bits, bias = (
        getattr(parameters, name).detach() for name in ("exponent_bit_width", "mantissa_bit_width", "exponent_bias")
    )
    largest = proxy.quant_injector.max_available_float if "max_available_float" in proxy.quant_injector else None
    if largest is None:
        largest = torch.exp2(torch.exp2(exponent_bits) - 1 - bias) * (2 - torch.exp2(-mantissa_bits))
    saturation = parameters.saturating if hasattr(parameters, "saturating") else parameters.is_saturating
    return Minifloat(
        scale=scale,
        exponent_bits=exponent_bits,
        mantissa_bits=mantissa_bits,
        exponent_bias=bias,
        max_val=torch.as_tensor(largest, dtype=scale.dtype),
        has_inf=parameters.inf_values is not None,
        has_nan=parameters.nan_values is not None,
        saturation=bool(saturation),
        signed=bool(proxy.is_signed),
    )
