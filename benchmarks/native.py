"""The native engine on real nets: each path of its kernels beside the other engines, in turns."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from report import Row, at_least

from anybit.benchmarking.timing import alternate
from anybit.engines.native.compile import ISA, NO_PATH, kernels
from anybit.engines.sampling import random_inputs
from anybit.errors import UnsupportedError
from anybit.io.load import load
from anybit.plan import plan_of
from anybit.runtime.session import Session
from models import JET, SHARED, TFC

_CORPUS = SHARED / "corpus"


_MODELS: dict[str, Path] = {
    "TFC 2W2A": TFC,
    "jet tagging": JET,
    "CNV 2W2A": _CORPUS / "cnv_2w2a" / "model.onnx",
    "MobileNetV1 0.5x 4W4A, 96": _CORPUS / "mobilenetv1_w05_4w4a_96" / "model.onnx",
    "ResNet-18 4W4A": _CORPUS / "resnet18_4w4a" / "model.onnx",
}
_BATCHES = (1, 64)
_SLOW = 1 << 26  # multiplications from which on few rounds do


def rows() -> Iterator[Row]:
    """Every model at every batch: the best path against the default without kernels, OpenVINO and plain C++."""
    try:
        paths = kernels().isas()
    except UnsupportedError as error:
        yield Row("native", "all", figure=str(error))
        return
    for name, path in _MODELS.items():
        if not path.exists():
            yield Row("native", name, figure=f"{path.name} is not there")
            continue
        macs = plan_of(path).macs
        for batch in _BATCHES if macs < _SLOW else _BATCHES[:1]:
            yield from _compared(name, path, paths, batch, rounds=21 if macs < _SLOW else 5)


def _compared(name: str, path: Path, paths: tuple[str, ...], batch: int, *, rounds: int) -> Iterator[Row]:
    inputs = random_inputs(load(path), batch)
    sessions: dict[str, Session] = {}
    for isa in paths:
        with _path(isa):
            sessions[isa] = Session(path, engine="native", threads=1)
    with _path(NO_PATH):
        sessions["default engine without kernels"] = Session(path, threads=1)
    try:
        sessions["openvino engine"] = Session(path, engine="openvino", threads=1)
    except UnsupportedError as error:
        yield Row("native", f"{name}, openvino engine", figure=str(error))
    contenders = {key: (lambda session=session: session.run(inputs)) for key, session in sessions.items()}
    times = alternate(contenders, rounds=rounds)
    best = paths[0]
    for key, seconds in times.items():
        if key != best:
            yield at_least(
                "native", f"{name}, batch {batch}, {best} against {key}", times[best] / batch, seconds / batch
            )


@contextmanager
def _path(isa: str) -> Iterator[None]:
    kept = os.environ.get(ISA)
    os.environ[ISA] = isa
    try:
        yield
    finally:
        if kept is None:
            del os.environ[ISA]
        else:
            os.environ[ISA] = kept
