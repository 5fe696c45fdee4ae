"""QCDQ: QuantizeLinear, Clip, DequantizeLinear. The Clip states every width up to that of the element type."""

from __future__ import annotations

import onnx_ir as ir

from anybit.analysis.values.interpreter import Values
from anybit.errors import Refusal
from anybit.formats.dialect import Outcome
from anybit.formats.qdq.read import read_linear
from anybit.formats.qdq.write import write_linear
from anybit.quantizers.containers import Container, containers, span
from anybit.quantizers.quantizer import Quantizer

_ACTIVATIONS, _CONSTANTS = (8, 16), (8, 16, 32)
_CLIPPED = (8, 32)  # ONNX Runtime has no Clip of 16 bits


read = read_linear
"""Both formats have one reader: they differ by the Clip, which either may hold."""


def write(model: ir.Model, *, approximate: bool = False, values: Values | None = None) -> Outcome:
    """Writes every hub quantiser of up to 8 bits, in place; 16 bits, from opset 21 on; constants of up to 32 bits.

    Args:
        model: Model to write.
        approximate: Whether what QuantizeLinear does not mean may become what it means; see `write_linear`.
        values: Not used: few quantisers ask for what a tensor can hold.
    """
    del values
    return write_linear(model, container, approximate=approximate)


def container(quantizer: Quantizer, constant: bool) -> Container | Refusal:  # noqa: FBT001  a `Choose`
    """The narrowest element type that holds the integers, and a Clip where it holds more."""
    for choice in containers(quantizer, _CONSTANTS if constant else _ACTIVATIONS):
        if choice.clip is None or choice.dtype.bitwidth in _CLIPPED:
            return choice
    expected = "at most 8 bits or exactly 16" + (", 32 for constants" if constant else "")
    return Refusal(problem="no element type holds the integers", got=span(quantizer), expected=expected)
