"""InsertQuantizers: Quant nodes behind tensors of a model."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from anybit.cleanup.infer_shapes import InferShapes
from anybit.errors import UsageError
from anybit.graph.editor import Editor
from anybit.graph.names import all_values, unknown_tensor
from anybit.grid import Grid
from anybit.ops.operator import DOMAIN
from anybit.quantizers.quantizer import Quantizer, quant_nodes
from anybit.rounding import Rounding


@dataclass(frozen=True, kw_only=True)
class QuantizerSettings:
    """Parameters of a Quant node.

    Attributes:
        bits: Width of the integers.
        scale: Distance of neighbouring levels.
        zero_point: The integer that stands for zero.
        signed: Whether the integers have a sign.
        narrow: Whether the integer farthest below zero, or above where they have no sign, is left out.
        rounding: How quotients are rounded.
    """

    bits: int
    scale: float
    zero_point: int = 0
    signed: bool = True
    narrow: bool = False
    rounding: Rounding = Rounding.ROUND

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and np.float32(self.scale) > 0):
            raise UsageError("scale of a quantiser", got=self.scale, expected="a positive float32 number")


@dataclass(frozen=True)
class InsertQuantizers(ir.passes.InPlacePass):
    """Puts a Quant behind tensors, which all that read them read in their place.

    Before: ``y = MatMul(x, w)``; after ``InsertQuantizers({"w": QuantizerSettings(bits=4, scale=0.5)})``:
    ``y = MatMul(x, Quant(w, 0.5, 0, 4))``. An output of the model stays as it is. `anybit.quantize` chooses the
    parameters from data.

    Attributes:
        tensors: Parameters by name of a float tensor of the outermost graph, or by shell pattern.
    """

    tensors: Mapping[str, QuantizerSettings] = field(hash=False)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Applies the pass.

        Raises:
            UsageError: No tensor has a name, or it is none of float32, float16 or float64.
        """
        InferShapes()(model)
        chosen = self._chosen(model)
        with Editor(model, rule="insert-quantizers") as edit:
            for value, settings in chosen.items():
                _insert(edit, value, settings)
        if chosen:
            model.opset_imports.setdefault(DOMAIN, 1)
        return edit.result()

    def _chosen(self, model: ir.Model) -> dict[ir.Value, QuantizerSettings]:
        known = {str(v.name): v for v in all_values(model.graph) if v.name and v.graph is model.graph}
        chosen: dict[ir.Value, QuantizerSettings] = {}
        for pattern, settings in self.tensors.items():
            names = [pattern] if pattern in known else fnmatch.filter(known, pattern)
            if not names:
                raise unknown_tensor(pattern, known)
            chosen |= {known[name]: settings for name in names}
        for value in chosen:
            if value.dtype not in (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE):
                raise UsageError(
                    "a tensor to quantise", node=f"tensor '{value.name}'", got=str(value.dtype), expected="float"
                )
        return chosen


def _insert(edit: Editor, value: ir.Value, settings: QuantizerSettings) -> None:
    grid = Grid(settings.bits, signed=settings.signed, narrow=settings.narrow)
    quantizer = Quantizer(
        np.asarray(settings.scale, np.float32),
        np.asarray(float(settings.zero_point)),
        np.asarray(float(grid.lo)),
        np.asarray(float(grid.hi)),
        grid=grid,
        rounding=settings.rounding,
    )
    edit.insert_behind(value, quant_nodes(edit, value, quantizer, str(value.name)))
