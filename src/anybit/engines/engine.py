"""What an engine is to a session."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable


class Engine(enum.Enum):
    """What executes a model.

    `REFERENCE` is the oracle: numpy, float64 accumulation. `ONNXRUNTIME` is fast, equal but for the order of float
    summation. `AUTO` takes ONNX Runtime, or the reference where an operator has no ONNX body and, with a
    `FallbackWarning`, where ONNX Runtime does not run the model; it also computes layers in integers where each of
    their levels is certified to be the same, and takes the native engine, where there are kernels, for a model most of
    whose multiplications are a plan. `NATIVE`, which needs the package anybit-kernels, runs the plan of a model by
    kernels of its own, and what stands before and behind it by ONNX Runtime. `OPENVINO`, an optional package, computes
    in integers whatever form of the model agrees with the reference on inputs that are tried when it is made ready.
    """

    AUTO = "auto"
    REFERENCE = "reference"
    ONNXRUNTIME = "onnxruntime"
    NATIVE = "native"
    OPENVINO = "openvino"


class FallbackWarning(UserWarning):
    """An engine does not compute a model in the fastest form that it has, and why."""


class Backend(Protocol):
    """A model made ready by an engine. `run` may be called from several threads at once."""

    def run(self, feeds: Mapping[str, Any]) -> Sequence[Any]:
        """The outputs, in the order in which they were asked for, then the intermediate tensors."""
        ...


@runtime_checkable
class ShortPath(Protocol):
    """A backend that may take what a caller gives as it is."""

    @property
    def short(self) -> Callable[[Any], Any] | None:
        """What takes a dict of arrays and gives one, or something else where it cannot; None where there is none."""
        ...
