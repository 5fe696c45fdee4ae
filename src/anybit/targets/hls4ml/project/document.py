"""document: a configuration as hls4ml's own configuration file has it, in YAML."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from anybit.targets.hls4ml.project.configure import AUTO, Hls4mlConfiguration, Hls4mlLayer

MODEL_FILE, CONFIGURATION_FILE = "model.onnx", "hls4ml_config.yml"
_PLAIN = re.compile(r"[A-Z][A-Za-z]+(_\d+)?")  # keys that YAML takes for nothing but text
_BACKEND = {"Backend": "Vitis", "Part": "xcvu13p-flga2577-2-e", "ClockPeriod": 5, "ClockUncertainty": "27%"}

Document = Mapping[str, "Document | str | int"]
"""Nested mappings of texts and integers."""


def document(configuration: Hls4mlConfiguration) -> Document:
    """What hls4ml's ``convert_from_config`` takes, and its ``hls4ml convert -c``; paths are those in the project."""
    return {
        "OnnxModel": MODEL_FILE,
        "OutputDir": "hls",
        "ProjectName": "myproject",
        **_BACKEND,
        "IOType": configuration.io_type.option,
        "HLSConfig": hls_config(configuration),
    }


def hls_config(configuration: Hls4mlConfiguration) -> Document:
    """What hls4ml's ``convert_from_onnx_model`` takes as its ``hls_config``."""
    return {
        "Model": {
            "Precision": {"default": str(configuration.default)},
            "ReuseFactor": configuration.reuse or 1,
            "Strategy": "Latency",
        },
        "LayerType": {"Constant": {"Precision": {"result": AUTO}}},
        "LayerName": {layer.name: _layer(layer) for layer in configuration.layers},
    }


def yaml(content: Document) -> str:
    """A document as YAML.

    Example:
        >>> print(yaml({"Model": {"Precision": {"default": "fixed<8,4>"}, "ReuseFactor": 1}}))
        Model:
          Precision:
            default: fixed<8,4>
          ReuseFactor: 1
    """
    return "\n".join(_lines(content, ""))


def _layer(layer: Hls4mlLayer) -> Document:
    precision = {name: str(known) for name, known in layer.precision.items()}
    reuse = {} if layer.reuse is None else {"ReuseFactor": layer.reuse}
    strategy = {} if layer.strategy is None else {"Strategy": layer.strategy.value}
    return {"Precision": precision, **reuse, **strategy}


def _lines(content: Document, indent: str) -> Iterator[str]:
    for key, entry in content.items():
        name = key if _PLAIN.fullmatch(key) or (key.islower() and key.isalpha() and len(key) > 3) else json.dumps(key)
        if isinstance(entry, Mapping):
            yield f"{indent}{name}:"
            yield from _lines(entry, f"{indent}  ")
        else:
            yield f"{indent}{name}: {entry}"
