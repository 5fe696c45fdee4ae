"""The native engine on real nets: each path of its kernels beside the other engines, in turns."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from report import Row, at_least, rate, share

from anybit.benchmarking.timing import alternate
from anybit.engines.native.compile import ISA, NO_PATH, compiled, kernels
from anybit.engines.sampling import random_inputs
from anybit.errors import UnsupportedError
from anybit.io.load import load
from anybit.plan import (
    Dequantize,
    Element,
    Epilogue,
    Plan,
    Port,
    Product,
    Quantize,
    Tensor,
    Thresholds,
    Window,
    plan_of,
)
from anybit.runtime.session import Session
from models import CNV, SHARED, TFC, binary_convolutions

_CORPUS = SHARED / "corpus"


_MODELS: dict[str, tuple[Path | onnx.ModelProto, tuple[int, ...]]] = {
    "TFC 2W2A": (TFC, (1, 64)),
    "jet tagging": (_CORPUS / "jet_mlp_6b" / "model.onnx", (1, 64)),
    "CNV 2W2A": (CNV, (1, 64)),
    "CNV 1W1A, random": (binary_convolutions(), (1, 64)),
    "MobileNetV1 0.5x 4W4A, 96": (_CORPUS / "mobilenetv1_w05_4w4a_96" / "model.onnx", (1, 64)),
    "MobileNetV1 4W4A, 224": (_CORPUS / "mobilenetv1_4w4a_224" / "model.onnx", (1,)),
    "ResNet-18 4W4A": (_CORPUS / "resnet18_4w4a" / "model.onnx", (1, 16)),
}
"""Models, and the batches that they are run with."""
_RUNS = 15  # of which the shortest counts
_SLOW = 1 << 26  # multiplications from which on few rounds do


def rows() -> Iterator[Row]:
    """Every model at every batch: the best path against the default without kernels, OpenVINO and plain C++."""
    try:
        paths = kernels().isas()
    except UnsupportedError as error:
        yield Row("native", "all", figure=str(error))
        return
    for name, (model, batches) in _MODELS.items():
        if isinstance(model, Path) and not model.exists():
            yield Row("native", name, figure=f"{model.name} is not there")
            continue
        macs = plan_of(model).macs
        for batch in batches:
            yield from _compared(name, model, paths, batch, rounds=21 if macs < _SLOW else 5)
    yield from _layers("CNV 2W2A", CNV, paths, batch=64)


def _compared(
    name: str, model: Path | onnx.ModelProto, paths: tuple[str, ...], batch: int, *, rounds: int
) -> Iterator[Row]:
    inputs = random_inputs(load(model), batch)
    sessions: dict[str, Session] = {}
    for isa in paths:
        with _path(isa):
            sessions[isa] = Session(model, engine="native", threads=1)
    with _path(NO_PATH):
        sessions["default engine without kernels"] = Session(model, threads=1)
    try:
        sessions["openvino engine"] = Session(model, engine="openvino", threads=1)
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


def _layers(name: str, path: Path, paths: tuple[str, ...], *, batch: int) -> Iterator[Row]:
    """Each product by each path: operations a second, and their share of what a large convolution reaches."""
    if not path.exists():
        return
    plan, large = plan_of(path), _large_product()
    for isa in paths:
        with _path(isa):
            peak = max(_rates(large, batch))
            rates = _rates(plan, batch)
        yield rate("native", f"a large convolution, {isa}", peak)
        products = [s for s in plan.steps if isinstance(s, Product)]
        for step, operations in zip(products, rates, strict=True):
            outputs, rows, columns, inputs = step.weights.shape
            layer = f"{rows}x{columns}, {inputs} to {outputs}"
            yield share("native", f"{name}, batch {batch}, {layer}, {isa}", operations, peak)


def _rates(plan: Plan, batch: int) -> list[float]:
    """Operations a second of each product of a plan, by its shortest of some runs."""
    net, rng = compiled(plan), np.random.default_rng(0)
    inputs = {p.name: rng.random((batch, *p.shape), np.float32) for p in plan.inputs}
    spent = np.array([net.times(inputs) for _ in range(_RUNS)]).min(axis=0) / 1e9
    products = ((s, t) for s, t in zip(plan.steps, spent, strict=True) if isinstance(s, Product))
    return [2 * s.macs * batch / max(float(t), 1e-9) for s, t in products]


def _large_product() -> Plan:
    """A convolution of many terms and full tiles, whose weights stay in the cache: what a path can reach."""
    rng, one, none = np.random.default_rng(0), np.ones(1, np.float32), np.zeros(1, np.float32)
    size, inputs, outputs = 16, 256, 64
    weights = rng.integers(-8, 8, (outputs, 3, 3, inputs)).astype(np.int8)
    offset, bounds = np.zeros(outputs, np.int32), np.full(outputs, 8 * 15 * 9 * inputs, np.int32)
    rows = np.zeros((1, outputs), np.int32)
    levels = Epilogue(thresholds=Thresholds(rows, rows + 1, rows[..., None]))
    x, y = size * size * inputs, size * size * outputs
    tensors = (
        Tensor("x", x, Element.REAL),
        Tensor("levels", x, Element.BYTE, 0, 0, 15, 0),
        Tensor("signs", y, Element.BYTE, 0, 0, 1, x),
        Tensor("y", y, Element.REAL),
    )
    window = Window((size, size), (3, 3), pads=(1, 1), output=(size, size))
    steps = (
        Quantize(0, 1, 1, channels_first=False, steps=(), scale=one, zero_point=none, lo=0, hi=15),
        Product(1, 2, window, 1, weights, offset, -bounds, bounds, levels),
        Dequantize(2, 3, 1, channels_first=False, scale=np.ones(1), divisor=1.0, bias=np.zeros(1), steps=()),
    )
    return Plan(tensors, steps, (Port("x", 0, (x,)),), (Port("y", 3, (y,)),), x + y, ())


@contextmanager
def _path(isa: str) -> Generator[None]:
    kept = os.environ.get(ISA)
    os.environ[ISA] = isa
    try:
        yield
    finally:
        if kept is None:
            del os.environ[ISA]
        else:
            os.environ[ISA] = kept
