"""Engines: a model made ready to run by numpy, by ONNX Runtime or by OpenVINO."""

from anybit.engines.engine import Engine

__all__ = ["Engine"]
