"""QDQ: QuantizeLinear, DequantizeLinear. The element type alone states the width: 8 bits; in newer opsets 2, 4, 16."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from anybit.analysis.values.interpreter import Values
from anybit.errors import Refusal
from anybit.formats.dialect import Outcome
from anybit.formats.qdq.read import read_linear
from anybit.formats.qdq.write import write_linear
from anybit.quantizers.containers import Container, containers, span
from anybit.quantizers.quantizer import Quantizer

_ACTIVATIONS, _CONSTANTS = (2, 4, 8, 16), (2, 4, 8, 16, 32)


read = read_linear
"""Both formats have one reader: they differ by the Clip, which either may hold."""


def write(model: ir.Model, *, approximate: bool = False, values: Values | None = None) -> Outcome:
    """Writes every hub quantiser whose integers are those of an element type, in place.

    2 bits need opset 25, 4 and 16 bits 21; a narrow grid is written for constants only, whose values stay inside.

    Args:
        model: Model to write.
        approximate: Whether what QuantizeLinear does not mean may become what it means; see `write_linear`.
        values: Not used: few quantisers ask for what a tensor can hold.
    """
    del values
    return write_linear(model, container, approximate=approximate)


def container(quantizer: Quantizer, constant: bool) -> Container | Refusal:  # noqa: FBT001  a `Choose`
    """The element type whose integers are the quantiser's."""
    for choice in containers(quantizer, _CONSTANTS if constant else _ACTIVATIONS):
        grid = quantizer.grid
        narrow = constant and grid is not None and grid.narrow and grid.bits == choice.dtype.bitwidth
        if choice.clip is None or narrow:
            return replace(choice, clip=None)
    expected = "all integers of 2, 4, 8 or 16 bits"
    return Refusal(problem="no element type has these integers", got=span(quantizer), expected=expected)
