"""Dropout, which in inference is the identity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from anybit.arrays import Array
from anybit.errors import UnsupportedError
from anybit.ops.standard.kernel import Kernel, Spec, given


def make_dropout(spec: Spec) -> Kernel:
    """Y = X; the mask of what is kept is all True from version 12 on, and all zeros before, as in ONNX Runtime."""

    def run(inputs: Sequence[Any]) -> tuple[Array, ...]:
        x, ratio, training = inputs[0], given(inputs, 1), given(inputs, 2)
        if training is not None and training.item() and (ratio is None or ratio.item()):
            raise UnsupportedError(
                "the reference engine draws no random numbers",
                node=spec.node,
                got="training_mode true",
                expected="training_mode false, or ratio 0",
            )
        mask = (
            np.ones(x.shape, np.bool_)
            if spec.opset >= 12
            else np.zeros(x.shape, np.bool_ if spec.opset > 9 else x.dtype)
        )
        return x, mask

    return run
