"""Hls4mlHandover: a model prepared for hls4ml, with what its layers are told."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from anybit.analysis.values.tensor_values import TensorValues
from anybit.targets.handover import Handover
from anybit.targets.hls4ml.project.configure import Hls4mlConfiguration


@dataclass(frozen=True)
class Hls4mlHandover(Handover):
    """A model prepared for hls4ml.

    Attributes:
        configuration: What each layer is told: number formats, reuse, strategy; None if errors left nothing to build.
        source: The model as it was handed over, for a batch of 1, without a Softmax that was cut off; None likewise.
        fed: What the input is fed; None likewise.
    """

    configuration: Hls4mlConfiguration | None = None
    source: ir.Model | None = None
    fed: TensorValues | None = None
