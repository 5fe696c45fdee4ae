"""Every public function, as a call on one damaged model. `tests/fuzz/test_fuzz.py` keeps the list complete."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

import anybit
import anybit.cli.app
from anybit.cli.terminal.output import write_arrays
from anybit.engines.sampling import random_inputs
from anybit.errors import ModelFileError
from anybit.graph.names import all_values
from anybit.passes.catalog import catalog
from anybit.passes.surgery.insert_quantizers import QuantizerSettings
from tests.fuzz.data_files import DATA_FILES

_SAMPLES = 2
_CALIBRATION = 16  # samples to quantise on
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "apply": ("{model}", "-o", "{out}", "-p", "fold-branches", "-p", "set-batch:batch=2"),
    "bench": ("{model}", "--rounds", "1", "--batch-size", "1", "--no-peers"),
    "check": ("{model}",),
    "clean": ("{model}", "-o", "{out}"),
    "compare": ("{model}", "{model}", "--samples", "2"),
    "configuration": ("{model}",),
    "convert": ("{model}", "--to", "qcdq", "-o", "{out}"),
    "cost": ("{model}",),
    "evaluate": ("{model}", "--data", "{data}", "--labels", "labels", "--workers", "1"),
    "explain": ("{text}",),
    "info": ("{model}",),
    "passes": (),
    "plan": ("{model}",),
    "prepare c": ("{model}", "-o", "{folder}"),
    "prepare da4ml": ("{model}", "-o", "{folder}"),
    "prepare finn": ("{model}", "-o", "{out}.onnx"),
    "prepare hls4ml": ("{model}", "-o", "{folder}"),
    "quantize": ("{model}", "-o", "{out}", "--calibration", "{data}", "--weights", "4"),
    "ranges": ("{model}",),
    "report": ("{model}", "-o", "{out}"),
    "run": ("{model}", "-i", "{data}", "--engine", "reference"),
    "sensitivity": ("{model}", "--data", "{data}", "--bits", "2,8", "--samples", "4"),
    "stats": ("{model}",),
    "types": ("{model}",),
    "verify": ("{model}", "{model}"),
}
"""The commands, and what each is given: {model} is the file, {data} inputs for it, the rest may be written.

`zoo` takes models by name; it is called with a damaged catalogue and cache.
"""


@dataclass(frozen=True)
class Mutant:
    """A damaged model, in a form that decides itself by its number.

    Attributes:
        data: The file.
        index: Its number.
        folder: Where files may be written.
    """

    data: bytes
    index: int
    folder: Path

    @cached_property
    def source(self) -> Any:
        """Bytes, a path, a ModelProto, or a model in memory."""
        proto = self.proto
        match self.index % 4:
            case 0 if proto is not None:
                return proto
            case 1:
                return self.path
            case 2 if self.memory is not None:
                return self.memory
            case _:
                return self.data

    @cached_property
    def proto(self) -> onnx.ModelProto | None:
        try:
            return onnx.ModelProto.FromString(self.data)
        except DecodeError:
            return None

    @cached_property
    def memory(self) -> ir.Model | None:
        """The model as onnx-ir reads it, None where it does not."""
        try:
            return None if self.proto is None else ir.from_proto(self.proto)
        except Exception:  # noqa: BLE001  (what onnx-ir raises is not what is tested)
            return None

    @cached_property
    def path(self) -> Path:
        path = self.folder / "model.onnx"
        path.write_bytes(self.data)
        return path

    @cached_property
    def inputs(self) -> Path:
        """Inputs that fit the model where some can be drawn, and labels, as a file."""
        path = self.folder / "inputs.npz"
        try:
            drawn = random_inputs(self.source, _CALIBRATION)
        except (anybit.AnybitError, ModelFileError):
            drawn = {"x": np.zeros((_CALIBRATION, 2), np.float32)}
        write_arrays(path, {"labels": np.zeros(_CALIBRATION, np.int64), **drawn})
        return path

    @cached_property
    def text(self) -> str:
        """Some text of the file."""
        return "".join(chr(byte) for byte in self.data[:: max(len(self.data) // 8, 1)]) or "-"

    @cached_property
    def loaded(self) -> ir.Model:
        return anybit.load(self.source)


Call = Callable[[Mutant], object]


def _load_large(mutant: Mutant) -> object:
    place = ("_LARGE_FILE", "_MIDDLE_FILE")[mutant.index // len(CALLS) % 2]
    with mock.patch(f"anybit.io.reading.{place}", 0), mock.patch("anybit.io.files.wire._LARGE", 4):
        return anybit.load(mutant.path)


def _save(mutant: Mutant) -> object:
    anybit.save(mutant.loaded, mutant.folder / "saved.onnx")
    return anybit.save(mutant.loaded, mutant.folder / "external.onnx", external_data=True)


def _save_unread(mutant: Mutant) -> object:
    return None if mutant.memory is None else anybit.save(mutant.memory, mutant.folder / "saved.onnx")


def _ends(model: ir.Model) -> tuple[list[str], list[str]]:
    return [str(v.name) for v in model.graph.inputs], [str(v.name) for v in model.graph.outputs]


def _extract(mutant: Mutant) -> object:
    inputs, outputs = _ends(mutant.loaded)
    inner = [str(o.name) for n in mutant.loaded.graph for o in n.outputs if o.name]
    anybit.surgery.extract_submodel(mutant.loaded, inputs=inputs, outputs=outputs)
    return anybit.surgery.extract_submodel(mutant.loaded, inputs=inputs, outputs=inner[len(inner) // 2 :][:1])


def _extract_unread(mutant: Mutant) -> object:
    if mutant.memory is None:
        return None
    inputs, outputs = _ends(mutant.memory)
    return anybit.surgery.extract_submodel(mutant.memory, inputs=inputs, outputs=outputs)


def _inline(mutant: Mutant) -> object:
    model = mutant.loaded if mutant.index % 2 or mutant.memory is None else mutant.memory
    inputs, outputs = _ends(model)
    return anybit.surgery.inline_submodel(model, model, inputs=inputs, outputs=outputs)


def _merge(mutant: Mutant) -> object:
    model = mutant.loaded if mutant.index % 2 or mutant.memory is None else mutant.memory
    return anybit.surgery.merge_models(model, model)


def _stats(mutant: Mutant) -> object:
    anybit.stats(mutant.source)
    return anybit.stats(mutant.source, random_inputs(mutant.source, _SAMPLES))


def _annotated(mutant: Mutant, function: Callable[..., object], *arguments: object) -> object:
    loaded = mutant.loaded
    names = [v.name for v in all_values(loaded.graph) if v.name]
    return function(mutant.source, names[mutant.index % len(names)] if names else "x", *arguments)


def _run_by(engine: anybit.engines.Engine) -> Call:
    def call(mutant: Mutant) -> object:
        return anybit.run(mutant.source, random_inputs(mutant.source, _SAMPLES), engine=engine)

    return call


def _apply(name: str) -> Call:
    options: dict[str, dict[str, Any]] = {
        "expose-tensors": {"tensors": ("h",)},
        "insert-quantizers": {"tensors": {"*": QuantizerSettings(bits=4, scale=0.5)}},
        "prune-by-magnitude": {"sparsity": 0.5},
        "quantize-parameters": {"number_format": "FIXED<8,4>"},
        "rebalance-im2col": {"channels": 2},
        "set-input-shape": {"shapes": {"x": (2, 4)}},
    }
    step = catalog()[name](**options.get(name, {}))
    return lambda mutant: anybit.apply(mutant.source, [step])


def _convert(to: anybit.Dialect, **options: Any) -> Call:
    return lambda mutant: anybit.convert(mutant.source, to, **options)


def _command(name: str) -> Call:
    def call(mutant: Mutant) -> object:
        place = {
            "model": str(mutant.path),
            "data": str(mutant.inputs),
            "out": str(mutant.folder / "written"),
            "folder": str(mutant.folder / f"project {name}"),
            "text": mutant.text,
        }
        arguments = ["anybit", *name.split(), *(a.format(**place) for a in COMMANDS[name])]
        out = io.StringIO()
        with (
            mock.patch.object(sys, "argv", arguments),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(out),
            contextlib.suppress(SystemExit),
        ):
            anybit.cli.app.main()
        if "this is a bug of anybit" in out.getvalue() or "out of memory" in out.getvalue():
            raise RuntimeError(out.getvalue())
        return out

    return call


def _data(call: Callable[[int, Path], object]) -> Call:
    return lambda mutant: call(mutant.index, mutant.folder)


FIRST: Mapping[str, Call] = {
    "load": lambda mutant: anybit.load(mutant.source),
    "check": lambda mutant: anybit.check(mutant.source),
    "clean": lambda mutant: anybit.clean(mutant.source),
}
"""What every mutant goes through."""

OTHERS: Mapping[str, Call] = {
    "analyse": lambda mutant: anybit.analyse(mutant.source),
    "compare": lambda mutant: anybit.compare(mutant.source, mutant.source, samples=_SAMPLES),
    **{f"convert {f.value}": _convert(f) for f in anybit.Dialect},
    "convert qcdq standard": _convert(anybit.Dialect.QCDQ, standard=True),
    "convert qdq approximate": _convert(anybit.Dialect.QDQ, approximate=True),
    "convert qonnx pack": _convert(anybit.Dialect.QONNX, pack=True),
    "convert qonnx embed": _convert(anybit.Dialect.QONNX, embed_functions=True),
    "cost": lambda mutant: anybit.cost(mutant.source),
    "surgery.extract_submodel": _extract,
    "surgery.extract_submodel unread": _extract_unread,
    "capabilities": lambda mutant: anybit.capabilities(mutant.source),
    "surgery.inline_submodel": _inline,
    "load large": _load_large,
    "surgery.merge_models": _merge,
    "prepare_c": lambda mutant: anybit.prepare_c(mutant.source),
    "prepare_da4ml": lambda mutant: anybit.prepare_da4ml(mutant.source),
    "prepare_finn": lambda mutant: anybit.prepare_finn(mutant.source),
    "prepare_hls4ml": lambda mutant: anybit.prepare_hls4ml(mutant.source),
    "quantize": lambda mutant: anybit.quantize(mutant.source, random_inputs(mutant.source, _CALIBRATION)),
    "ranges": lambda mutant: anybit.ranges(mutant.source),
    "repairs": lambda mutant: anybit.repairs(mutant.loaded),
    "report": lambda mutant: anybit.report(mutant.source),
    "run reference": _run_by(anybit.engines.Engine.REFERENCE),
    "run auto": _run_by(anybit.engines.Engine.AUTO),
    "Session": lambda mutant: anybit.Session(mutant.source, tensors="all"),
    "save": _save,
    "sensitivity": lambda mutant: anybit.sensitivity(mutant.source, random_inputs(mutant.source, _CALIBRATION)),
    "surgery.configuration": lambda mutant: anybit.surgery.configuration(mutant.source),
    "save unread": _save_unread,
    "stats": _stats,
    "annotations.number_format": lambda mutant: _annotated(mutant, anybit.annotations.number_format),
    "annotations.layout": lambda mutant: _annotated(mutant, anybit.annotations.layout),
    "annotations.sparsity": lambda mutant: _annotated(mutant, anybit.annotations.sparsity),
    "annotations.set_number_format": lambda mutant: _annotated(mutant, anybit.annotations.set_number_format, "INT3"),
    "annotations.set_layout": lambda mutant: _annotated(mutant, anybit.annotations.set_layout, ["N", "C"]),
    "annotations.set_sparsity": lambda mutant: _annotated(mutant, anybit.annotations.set_sparsity, {"zeros": 1}),
    "bench": lambda mutant: anybit.bench(mutant.source, rounds=1, batch_sizes=[1], with_peers=False),
    "evaluate": lambda mutant: anybit.evaluate(mutant.source, random_inputs(mutant.source, 2), np.zeros(2, np.int64)),
    "info": lambda mutant: anybit.info(mutant.source),
    "to_proto": lambda mutant: anybit.to_proto(mutant.loaded),
    "to_proto unread": lambda mutant: None if mutant.memory is None else anybit.to_proto(mutant.memory),
    "types": lambda mutant: anybit.types(mutant.source),
    "verify": lambda mutant: anybit.verify(mutant.source, mutant.source, samples=_SAMPLES),
    **{f"apply {name}": _apply(name) for name in catalog()},
    **{f"anybit {name}": _command(name) for name in COMMANDS},
    **{name: _data(call) for name, call in DATA_FILES.items()},
}
"""The other public functions and commands, and a sound model with damaged data."""

CALLS = {**FIRST, **OTHERS}

NO_MODEL = frozenset(
    (
        *("AnybitError", "Dialect", "InputRange", "NumberFormat", "Operator", "Recipe", "limits", "register"),
        *("from_brevitas", "from_keras", "from_torch"),
    )
)
"""Public names that take no model file: values, records, and what exports from a framework."""


def is_expected(error: BaseException) -> bool:
    """Whether a public function may raise it: an error that anybit makes, or that of a file, within its limits."""
    return isinstance(error, anybit.AnybitError | ModelFileError) and not isinstance(error.__cause__, MemoryError)
