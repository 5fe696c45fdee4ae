"""anybit: arbitrary-precision quantised neural networks in ONNX.

Reads every quantised dialect of ONNX, gives each operator one exact meaning, and checks, analyses, converts, runs and
compares models.
The names below are the public API; they are imported when they are first used, so that ``import anybit`` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anybit.analysis.check import check
    from anybit.analysis.cost.cost import Cost, cost
    from anybit.analysis.ranges import Ranges, ranges
    from anybit.analysis.summary import Summary, summarise
    from anybit.analysis.types import TensorType, types
    from anybit.analysis.values.analysis import Values, analyse
    from anybit.analysis.values.input_range import InputRange
    from anybit.budget import limits
    from anybit.datatypes import DataType, parse_datatype
    from anybit.errors import AnybitError, Finding, Refusal, Severity
    from anybit.formats.certificate import Certificate, Verdict
    from anybit.formats.convert import formats_of
    from anybit.formats.format import Conversion, Format
    from anybit.frontends.agreement import ConversionError, Export
    from anybit.frontends.brevitas import export_brevitas
    from anybit.frontends.keras import export_keras
    from anybit.frontends.torch import export_torch
    from anybit.grid import Grid
    from anybit.io.load import load
    from anybit.io.normalize import Repair, repairs
    from anybit.io.save import save, to_proto
    from anybit.ops.operator import Attribute, Call, Input, Operator, Types
    from anybit.ops.registry import register
    from anybit.passes.apply import apply
    from anybit.passes.clean import clean
    from anybit.passes.extract_submodel import extract_submodel
    from anybit.passes.inline_submodel import inline_submodel
    from anybit.passes.merge_models import merge_models
    from anybit.reporting.page import report
    from anybit.rounding import Rounding
    from anybit.runtime.compare import Comparison, compare
    from anybit.runtime.convert import convert
    from anybit.runtime.engine import Engine
    from anybit.runtime.evaluate import Evaluation, Metric
    from anybit.runtime.images import ImageFolder
    from anybit.runtime.session import Session, run
    from anybit.runtime.statistics import Statistics, statistics
    from anybit.runtime.verify import verify
    from anybit.targets.finn.prepare import prepare_finn
    from anybit.targets.handover import Handover
    from anybit.targets.hls4ml.prepare import prepare_hls4ml

__version__ = "0.1.0"

_HOMES = {
    "AnybitError": "errors",
    "Attribute": "ops.operator",
    "Call": "ops.operator",
    "Certificate": "formats.certificate",
    "Comparison": "runtime.compare",
    "Conversion": "formats.format",
    "ConversionError": "frontends.agreement",
    "Cost": "analysis.cost.cost",
    "DataType": "datatypes",
    "Engine": "runtime.engine",
    "Evaluation": "runtime.evaluate",
    "Export": "frontends.agreement",
    "Finding": "errors",
    "Format": "formats.format",
    "Grid": "grid",
    "Handover": "targets.handover",
    "ImageFolder": "runtime.images",
    "Input": "ops.operator",
    "InputRange": "analysis.values.input_range",
    "Metric": "runtime.evaluate",
    "Operator": "ops.operator",
    "Ranges": "analysis.ranges",
    "Refusal": "errors",
    "Repair": "io.normalize",
    "Rounding": "rounding",
    "Session": "runtime.session",
    "Severity": "errors",
    "Statistics": "runtime.statistics",
    "Summary": "analysis.summary",
    "TensorType": "analysis.types",
    "Types": "ops.operator",
    "Values": "analysis.values.analysis",
    "Verdict": "formats.certificate",
    "analyse": "analysis.values.analysis",
    "apply": "passes.apply",
    "check": "analysis.check",
    "clean": "passes.clean",
    "compare": "runtime.compare",
    "convert": "runtime.convert",
    "cost": "analysis.cost.cost",
    "export_brevitas": "frontends.brevitas",
    "export_keras": "frontends.keras",
    "export_torch": "frontends.torch",
    "extract_submodel": "passes.extract_submodel",
    "formats_of": "formats.convert",
    "inline_submodel": "passes.inline_submodel",
    "limits": "budget",
    "load": "io.load",
    "merge_models": "passes.merge_models",
    "parse_datatype": "datatypes",
    "prepare_finn": "targets.finn.prepare",
    "prepare_hls4ml": "targets.hls4ml.prepare",
    "ranges": "analysis.ranges",
    "register": "ops.registry",
    "repairs": "io.normalize",
    "report": "reporting.page",
    "run": "runtime.session",
    "save": "io.save",
    "statistics": "runtime.statistics",
    "summarise": "analysis.summary",
    "to_proto": "io.save",
    "types": "analysis.types",
    "verify": "runtime.verify",
}

__all__ = [
    "AnybitError",
    "Attribute",
    "Call",
    "Certificate",
    "Comparison",
    "Conversion",
    "ConversionError",
    "Cost",
    "DataType",
    "Engine",
    "Evaluation",
    "Export",
    "Finding",
    "Format",
    "Grid",
    "Handover",
    "ImageFolder",
    "Input",
    "InputRange",
    "Metric",
    "Operator",
    "Ranges",
    "Refusal",
    "Repair",
    "Rounding",
    "Session",
    "Severity",
    "Statistics",
    "Summary",
    "TensorType",
    "Types",
    "Values",
    "Verdict",
    "analyse",
    "apply",
    "check",
    "clean",
    "compare",
    "convert",
    "cost",
    "export_brevitas",
    "export_keras",
    "export_torch",
    "extract_submodel",
    "formats_of",
    "inline_submodel",
    "limits",
    "load",
    "merge_models",
    "parse_datatype",
    "prepare_finn",
    "prepare_hls4ml",
    "ranges",
    "register",
    "repairs",
    "report",
    "run",
    "save",
    "statistics",
    "summarise",
    "to_proto",
    "types",
    "verify",
]


_EXTRAS = {"export_brevitas": "brevitas", "export_torch": "torch", "report": "report"}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(import_module(f"{__name__}.{home}"), name)
    except ModuleNotFoundError as error:
        if name not in _EXTRAS:
            raise
        hint = f"pip install 'anybit[{_EXTRAS[name]}]'"
        raise ModuleNotFoundError(f"{name} needs {error.name}: {hint}", name=error.name) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
