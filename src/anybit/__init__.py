"""anybit: arbitrary-precision quantised neural networks in ONNX.

Reads every quantised dialect of ONNX, gives each operator one exact meaning, and checks, analyses, converts, runs and
compares models.

The functions below are the public API, one verb each, with what they take. What they return stands in
`anybit.results`, what they raise and list in `anybit.errors`. Names are imported when they are first used, so that
``import anybit`` is quick.
"""

# No annotations of the future here: the name is that of a public module.
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anybit.analysis.check import check as check
    from anybit.analysis.cost.cost import cost as cost
    from anybit.analysis.ranges import ranges as ranges
    from anybit.analysis.summary import info as info
    from anybit.analysis.types import types as types
    from anybit.analysis.values.input_range import InputRange as InputRange
    from anybit.analysis.values.interpreter import analyse as analyse
    from anybit.benchmarking.bench import bench as bench
    from anybit.budget import limits as limits
    from anybit.cleanup.clean import clean as clean
    from anybit.errors import AnybitError as AnybitError
    from anybit.evaluation.evaluate import evaluate as evaluate
    from anybit.evaluation.statistics import stats as stats
    from anybit.formats.convert import capabilities as capabilities
    from anybit.formats.dialect import Dialect as Dialect
    from anybit.frontends.brevitas import from_brevitas as from_brevitas
    from anybit.frontends.keras import from_keras as from_keras
    from anybit.frontends.torch import from_torch as from_torch
    from anybit.io.load import load as load
    from anybit.io.repair.normalize import repairs as repairs
    from anybit.io.save import save as save
    from anybit.io.save import to_proto as to_proto
    from anybit.number_formats import NumberFormat as NumberFormat
    from anybit.ops.operator import Operator as Operator
    from anybit.ops.registry import register as register
    from anybit.passes.apply import apply as apply
    from anybit.quantization.quantize import quantize as quantize
    from anybit.quantization.recipe import Recipe as Recipe
    from anybit.quantization.sensitivity.sensitivity import sensitivity as sensitivity
    from anybit.reporting.page import report as report
    from anybit.runtime.compare import compare as compare
    from anybit.runtime.convert import convert as convert
    from anybit.runtime.session import Session as Session
    from anybit.runtime.session import run as run
    from anybit.runtime.verify import verify as verify
    from anybit.targets.c.prepare import prepare_c as prepare_c
    from anybit.targets.da4ml.prepare import prepare_da4ml as prepare_da4ml
    from anybit.targets.finn.prepare import prepare_finn as prepare_finn
    from anybit.targets.hls4ml.prepare import prepare_hls4ml as prepare_hls4ml

__version__ = "0.1.0"

_HOMES = {
    "AnybitError": "errors",
    "Dialect": "formats.dialect",
    "InputRange": "analysis.values.input_range",
    "NumberFormat": "number_formats",
    "Operator": "ops.operator",
    "Recipe": "quantization.recipe",
    "Session": "runtime.session",
    "analyse": "analysis.values.interpreter",
    "apply": "passes.apply",
    "bench": "benchmarking.bench",
    "capabilities": "formats.convert",
    "check": "analysis.check",
    "clean": "cleanup.clean",
    "compare": "runtime.compare",
    "convert": "runtime.convert",
    "cost": "analysis.cost.cost",
    "evaluate": "evaluation.evaluate",
    "from_brevitas": "frontends.brevitas",
    "from_keras": "frontends.keras",
    "from_torch": "frontends.torch",
    "info": "analysis.summary",
    "limits": "budget",
    "load": "io.load",
    "prepare_c": "targets.c.prepare",
    "prepare_da4ml": "targets.da4ml.prepare",
    "prepare_finn": "targets.finn.prepare",
    "prepare_hls4ml": "targets.hls4ml.prepare",
    "quantize": "quantization.quantize",
    "ranges": "analysis.ranges",
    "register": "ops.registry",
    "repairs": "io.repair.normalize",
    "report": "reporting.page",
    "run": "runtime.session",
    "save": "io.save",
    "sensitivity": "quantization.sensitivity.sensitivity",
    "stats": "evaluation.statistics",
    "to_proto": "io.save",
    "types": "analysis.types",
    "verify": "runtime.verify",
}
_MODULES = frozenset(
    {
        "annotations",
        "engines",
        "errors",
        "evaluation",
        "grid",
        "number_formats",
        "operators",
        "passes",
        "plan",
        "quantization",
        "results",
        "rounding",
        "surgery",
        "targets",
    }
)
"""Public modules, imported when they are first named."""

__all__ = [
    "AnybitError",
    "Dialect",
    "InputRange",
    "NumberFormat",
    "Operator",
    "Recipe",
    "Session",
    "analyse",
    "apply",
    "bench",
    "capabilities",
    "check",
    "clean",
    "compare",
    "convert",
    "cost",
    "evaluate",
    "from_brevitas",
    "from_keras",
    "from_torch",
    "info",
    "limits",
    "load",
    "prepare_c",
    "prepare_da4ml",
    "prepare_finn",
    "prepare_hls4ml",
    "quantize",
    "ranges",
    "register",
    "repairs",
    "report",
    "run",
    "save",
    "sensitivity",
    "stats",
    "to_proto",
    "types",
    "verify",
]

_EXTRAS = {"from_brevitas": "brevitas", "from_torch": "torch"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
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
    return sorted({*__all__, *_MODULES, *(name for name in globals() if name.startswith("__"))})
