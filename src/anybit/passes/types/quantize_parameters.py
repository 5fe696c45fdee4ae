"""QuantizeParameters: constants become the nearest numbers of a format."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array, as_float64
from anybit.errors import Finding, Severity, UsageError
from anybit.graph.annotations import annotate_number_format
from anybit.graph.constants import constant, set_constant
from anybit.graph.editor import Editor
from anybit.graph.names import all_values, unknown_tensor
from anybit.graph.walk import all_nodes
from anybit.number_formats import NumberFormat, parse_number_format
from anybit.rounding import Rounding


@dataclass(frozen=True)
class QuantizeParameters(ir.passes.InPlacePass):
    """Rounds constants to a number format, and annotates them with it.

    Before: ``y = Mul(x, 0.3)``; after ``QuantizeParameters(number_format="FIXED<8,4>")``: ``y = Mul(x, 0.3125)``. What
    lies beyond the format becomes its largest number. The notes have the largest error of each constant.

    Attributes:
        number_format: Format of the floating-point constants that `operators` read.
        operators: Types of these operators.
        tensors: Formats by name of a constant, or by shell pattern, such as ``{"*_scale": "FIXED<16,2>"}``; they go
            before `number_format`.
        rounding: How a value between two numbers is rounded.
    """

    number_format: str | None = None
    operators: tuple[str, ...] = ("Add", "Mul")
    tensors: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)
    rounding: Rounding = Rounding.ROUND

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Applies the pass.

        Raises:
            UsageError: No format is stated, or one is none; no constant has a name, or one is not floating point or has
                NaN.
        """
        if self.number_format is None and not self.tensors:
            raise UsageError("quantize-parameters", got="no format", expected="number_format=..., or tensors=...")
        with Editor(model, rule="quantize-parameters") as edit:
            for value, number_format in self._formats(model).items():
                self._round(edit, value, number_format)
        return edit.result()

    def _formats(self, model: ir.Model) -> dict[ir.Value, NumberFormat]:
        constants = {str(v.name): v for v in all_values(model.graph) if v.name and constant(v) is not None}
        chosen: dict[ir.Value, NumberFormat] = {}
        if self.number_format is not None:
            wanted = parse_number_format(self.number_format)
            read = (v for n in all_nodes(model.graph) if n.op_type in self.operators for v in n.inputs)
            chosen |= {v: wanted for v in read if v is not None and _is_float(constant(v))}
        for pattern, text in self.tensors.items():
            names = [pattern] if pattern in constants else fnmatch.filter(constants, pattern)
            if not names:
                raise unknown_tensor(pattern, constants)
            chosen |= {constants[name]: parse_number_format(text) for name in names}
        return chosen

    def _round(self, edit: Editor, value: ir.Value, number_format: NumberFormat) -> None:
        array = constant(value)
        if array is None or not _is_float(array):
            got = "none" if array is None else str(array.dtype)
            raise UsageError("a constant to round", node=f"tensor '{value.name}'", got=got, expected="floating point")
        if np.isnan(array).any():
            raise UsageError("a constant to round", node=f"tensor '{value.name}'", got="NaN", expected="numbers")
        rounded = number_format.nearest(array, rounding=self.rounding).astype(array.dtype)
        error = np.abs(as_float64(array) - rounded)
        if error.any():
            edit.note(_error(str(value.name), number_format, array, error))
        edit.touch()
        set_constant(value, rounded)
        annotate_number_format(value, number_format)


def _is_float(array: Array | None) -> bool:
    return array is not None and array.dtype.kind == "f"


def _error(name: str, number_format: NumberFormat, array: Array, error: Array) -> Finding:
    beyond = int(((array < number_format.min) | (array > number_format.max)).sum())
    return Finding(
        rule="quantize-parameters",
        node=f"tensor '{name}'",
        problem=f"rounded to {number_format}",
        got=f"an error of up to {float(error.max()):.6g}, {beyond} of {array.size} elements beyond the format",
        severity=Severity.WARNING,
    )
