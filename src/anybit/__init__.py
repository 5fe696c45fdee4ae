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
    from anybit.analysis.values.input_range import InputRange
    from anybit.analysis.values.interpreter import Values, analyse
    from anybit.budget import limits
    from anybit.cleanup.clean import clean
    from anybit.datatypes import DataType, parse_datatype
    from anybit.engines.engine import Engine
    from anybit.errors import AnybitError, Finding, Refusal, Severity
    from anybit.evaluation.evaluate import Evaluation, Metric, evaluate
    from anybit.evaluation.images import ImageFolder
    from anybit.evaluation.statistics import Statistics, statistics
    from anybit.exact.certificate import Certificate, Verdict
    from anybit.formats.convert import formats_of
    from anybit.formats.dialect import Conversion, Format
    from anybit.frontends.agreement import ConversionError, Export
    from anybit.frontends.brevitas import export_brevitas
    from anybit.frontends.keras import export_keras
    from anybit.frontends.torch import export_torch
    from anybit.grid import Grid
    from anybit.io.load import load
    from anybit.io.repair.normalize import Repair, repairs
    from anybit.io.save import save, to_proto
    from anybit.ops.operator import Attribute, Call, Input, Operator, Types
    from anybit.ops.registry import register
    from anybit.passes.apply import apply
    from anybit.passes.surgery.extract_submodel import extract_submodel
    from anybit.passes.surgery.inline_submodel import inline_submodel
    from anybit.passes.surgery.merge_models import merge_models
    from anybit.reporting.page import report
    from anybit.rounding import Rounding
    from anybit.runtime.compare import Comparison, compare
    from anybit.runtime.convert import convert
    from anybit.runtime.session import Session, run
    from anybit.runtime.verify import verify
    from anybit.targets.finn.prepare import prepare_finn
    from anybit.targets.handover import Handover
    from anybit.targets.hls4ml.prepare import prepare_hls4ml

__version__ = "0.1.0"

_HOMES = {
    "AnybitError": "errors",
    "Attribute": "ops.operator",
    "Call": "ops.operator",
    "Certificate": "exact.certificate",
    "Comparison": "runtime.compare",
    "Conversion": "formats.dialect",
    "ConversionError": "frontends.agreement",
    "Cost": "analysis.cost.cost",
    "DataType": "datatypes",
    "Engine": "engines.engine",
    "Evaluation": "evaluation.evaluate",
    "Export": "frontends.agreement",
    "Finding": "errors",
    "Format": "formats.dialect",
    "Grid": "grid",
    "Handover": "targets.handover",
    "ImageFolder": "evaluation.images",
    "Input": "ops.operator",
    "InputRange": "analysis.values.input_range",
    "Metric": "evaluation.evaluate",
    "Operator": "ops.operator",
    "Ranges": "analysis.ranges",
    "Refusal": "errors",
    "Repair": "io.repair.normalize",
    "Rounding": "rounding",
    "Session": "runtime.session",
    "Severity": "errors",
    "Statistics": "evaluation.statistics",
    "Summary": "analysis.summary",
    "TensorType": "analysis.types",
    "Types": "ops.operator",
    "Values": "analysis.values.interpreter",
    "Verdict": "exact.certificate",
    "analyse": "analysis.values.interpreter",
    "apply": "passes.apply",
    "check": "analysis.check",
    "clean": "cleanup.clean",
    "compare": "runtime.compare",
    "convert": "runtime.convert",
    "cost": "analysis.cost.cost",
    "evaluate": "evaluation.evaluate",
    "export_brevitas": "frontends.brevitas",
    "export_keras": "frontends.keras",
    "export_torch": "frontends.torch",
    "extract_submodel": "passes.surgery.extract_submodel",
    "formats_of": "formats.convert",
    "inline_submodel": "passes.surgery.inline_submodel",
    "limits": "budget",
    "load": "io.load",
    "merge_models": "passes.surgery.merge_models",
    "parse_datatype": "datatypes",
    "prepare_finn": "targets.finn.prepare",
    "prepare_hls4ml": "targets.hls4ml.prepare",
    "ranges": "analysis.ranges",
    "register": "ops.registry",
    "repairs": "io.repair.normalize",
    "report": "reporting.page",
    "run": "runtime.session",
    "save": "io.save",
    "statistics": "evaluation.statistics",
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
    "evaluate",
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
