"""Models over to the qonnx package and back, and what it computes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.infer_shapes import InferShapes

import anybit


def wrapped(model: onnx.ModelProto) -> Any:
    """The model as the package holds it, with its shapes."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return ModelWrapper(copy).transform(InferShapes())


def executed(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs as the package computes them."""
    with warnings.catch_warnings():
        # The shapes that it foresees are not always those that it computes; the latter are compared.
        warnings.filterwarnings("ignore", "Output shapes disagree")
        return execute_onnx(wrapped(model), dict(feeds))


def assert_same_outputs(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> None:
    """Both make the same elements of these inputs."""
    expected = executed(model, feeds)
    made = anybit.run(model, dict(feeds), engine="reference")
    assert made.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(made[name], array, err_msg=name)
