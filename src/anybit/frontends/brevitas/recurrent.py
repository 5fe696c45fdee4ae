"""rolled: recurrent layers of Brevitas whose steps are one operator, so that a capture costs the same for any length.

Brevitas calls its cell in a loop over the steps, which torch.export would unroll. Of a layer that is as Brevitas makes
it, the loop alone is replaced, by `anybit.frontends.torch.steps`, whose body is the cell's own step.
"""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from brevitas.nn import quant_rnn
from brevitas.proxy.runtime_quant import ActQuantProxyFromInjectorBase

from anybit.frontends.brevitas.decisions import noted_or_given
from anybit.frontends.torch.steps import Bodies, steps

_CELLS: dict[str, tuple[str, int]] = {"_QuantRNNLayer": ("_QuantRNNCell", 1), "_QuantLSTMLayer": ("_QuantLSTMCell", 2)}
"""Brevitas' layers, the cells that they call, and the number of states."""

_HOOKS = ("_forward_hooks", "_forward_pre_hooks")


def rolled(module: torch.nn.Module) -> Bodies:
    """Replaces the loops of the module's recurrent layers; a layer stays as it is if anything in it is not Brevitas'.

    Args:
        module: Module whose quantisers are ready to be exported; it is changed.

    Returns:
        The bodies of the loops, by the paths of their layers.
    """
    found: dict[str, torch.nn.Module] = {}
    for path, layer in list(module.named_modules()):
        kinds = _CELLS.get(type(layer).__name__)
        if kinds is None or not _is_as_made(layer, kinds[0]):
            continue
        own: Any = layer
        body = _Step(_of_handlers(own), kinds[1])
        found[path] = body
        own._fast_cell = _Rolled(own.cell, body, path)  # noqa: SLF001  Brevitas has no other way
        own.pack_quant_outputs = MethodType(_pack, own)
        own.maybe_quantize_state = MethodType(_initial_state, own)
    return found


def _is_as_made(layer: Any, cell: str) -> bool:
    """Whether a layer, its cell and all inside it are Brevitas' own, without hooks or other ways to run."""
    kinds = [getattr(quant_rnn, name, None) for name in (type(layer).__name__, cell)]
    if [type(layer), type(layer.cell)] != kinds or not layer.fast_mode or layer.export_mode:
        return False
    if type(layer.fast_cell) is not kinds[1]:  # TorchScript, or a cell of one's own
        return False
    own = {"forward", "forward_iter", "pack_quant_outputs", "pack_quant_state", "maybe_quantize_state"}
    for child in layer.modules():
        values = vars(child)
        if own & values.keys() or any(values.get(name) for name in _HOOKS):
            return False
    return True


def _of_handlers(layer: Any) -> Any:
    """The cell that the layer calls, whose quantisers are their handlers, as they are outside of recurrent layers."""
    cell = copy.copy(layer.fast_cell)
    cell._modules = dict(cell._modules)  # noqa: SLF001  a shallow copy shares it
    for name, proxy in layer.cell.named_children():
        if isinstance(proxy, ActQuantProxyFromInjectorBase) and proxy.is_quant_enabled:
            setattr(cell, name, _Handled(proxy))
    return cell


class _Handled(torch.nn.Module):
    """A quantiser of a cell, with the names of its parts that cells use."""

    def __init__(self, proxy: Any) -> None:
        super().__init__()
        self.activation_impl = proxy.fused_activation_quant_proxy.activation_impl
        self.tensor_quant = proxy.export_handler

    def forward(self, x: torch.Tensor) -> tuple[Any, ...]:
        """The value, and scale, zero point and bit width."""
        return self.tensor_quant(self.activation_impl(x))


class _Step(torch.nn.Module):
    """One step of a cell: states, the element of the sequence and parameters to the next states."""

    def __init__(self, cell: Any, states: int) -> None:
        super().__init__()
        self.cell, self.states = cell, states
        self.answers: list[tuple[Any, Any]] = []

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The states after one step of the layer, of those before it, an element of the sequence and parameters."""
        states, element, parameters = tensors[: self.states], tensors[self.states], tensors[self.states + 1 :]
        cell: Any = self.cell
        with noted_or_given(self.answers):
            result = cell.forward_iter(element, *states, *parameters)
        return (result[0],) if self.states == 1 else tuple(r[0] for r in result)


@dataclass(frozen=True)
class _Outputs:
    """What Brevitas has as a list of the outputs of all steps: their values in one tensor, and the last of them."""

    values: torch.Tensor
    last: tuple[Any, ...]

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        if index != -1:
            raise IndexError(index)
        return self.last


class _Rolled(torch.nn.Module):
    """In the place of a cell: its steps as one operator."""

    def __init__(self, cell: Any, body: _Step, path: str) -> None:
        super().__init__()
        self.step, self.path = body, path
        self.axis, self.reverse = int(bool(cell.batch_first)), bool(cell.reverse_input)

    def forward(self, *args: torch.Tensor, **kwargs: torch.Tensor) -> Any:
        """The outputs of all steps, and for an LSTM the two states behind the last one, as the cell returns them."""
        cell: Any = self.step.cell
        sequence, *rest = inspect.signature(cell.forward_iter).bind(*args, **kwargs).arguments.values()
        states, parameters = rest[: self.step.states], rest[self.step.states :]
        *last, values = steps(states, sequence, parameters, self.path, axis=self.axis, reverse=self.reverse)
        quantizers = [cell.output_quant, *([cell.cell_state_quant] if len(last) > 1 else [])]
        ends = [(s, *q(torch.zeros_like(s))[1:]) for s, q in zip(last, quantizers, strict=True)]
        outputs = _Outputs(values, ends[0])
        return outputs if len(ends) == 1 else (outputs, *ends)


def _pack(self: Any, quant_outputs: Any) -> Any:
    """Brevitas' own, of the outputs of all steps: their scale is that of two of them joined."""
    values, last = quant_outputs.values, quant_outputs.last
    if not (self.return_quant_tensor and self.io_quant.is_quant_enabled):
        return values
    own = type(self).pack_quant_outputs
    joined = own(self, [(torch.zeros_like(last[0]), *last[1:])] * 2)
    return joined._replace(value=values)


def _initial_state(self: Any, inp: torch.Tensor, state: Any, quant: Any) -> Any:
    """Brevitas' own, which takes the batch for a number where a state is left out."""
    if state is not None:
        return type(self).maybe_quantize_state(self, inp, state, quant)
    size = inp.size(0) if self.cell.batch_first else inp.size(1)
    return torch.zeros(size, self.hidden_size, dtype=inp.dtype, device=inp.device)
