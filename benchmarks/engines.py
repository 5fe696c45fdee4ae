"""Engines on real nets: ours against the forms that a user would run instead, and against what the processor can do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime
from guests import Guest, run_guest
from onnx import TensorProto, helper
from peers import Array, MissingPeerError, OpenVino, Qonnx, plain_onnxruntime
from report import Row, at_least, at_most, rate, share

from anybit.analysis.cost.cost import cost
from anybit.benchmarking.timing import Contender, alternate
from anybit.cleanup.set_batch import SetBatch
from anybit.errors import Severity, UnsupportedError
from anybit.formats.convert import translate
from anybit.io.load import load
from anybit.io.save import save, to_proto
from anybit.runtime.session import Session
from anybit.targets.hls4ml.prepare import prepare_hls4ml
from models import JET, SHARED, TFC, without_quantisers

_BATCHES = (1, 64)
_CORPUS = SHARED / "corpus"
_SIDE = 1024  # of the matrices by which the peak is measured

_Goals = Mapping[str, float]
# By model: how many times faster than each peer the default engine has to be.
_MODELS: dict[str, tuple[Path, _Goals]] = {
    "TFC 2W2A": (TFC, {}),
    "jet tagging": (JET, {}),
    "CNV 2W2A": (_CORPUS / "cnv_2w2a" / "model.onnx", {"float emulation": 3, "QCDQ": 5}),
    "MobileNetV1 0.5x 4W4A, 96": (_CORPUS / "mobilenetv1_w05_4w4a_96" / "model.onnx", {"float emulation": 2}),
    "MobileNetV1 4W4A, 224": (_CORPUS / "mobilenetv1_4w4a_224" / "model.onnx", {"float emulation": 2}),
    "ResNet-18 4W4A": (_CORPUS / "resnet18_4w4a" / "model.onnx", {}),
    "transformer block 4W8A": (_CORPUS / "transformer_4w8a" / "model.onnx", {}),
}
_CNV_1W1A = "CNV 1W1A"  # Brevitas exports it, with random weights: there is none beside the project
# What guest_brevitas.py calls the nets of these architectures.
_BREVITAS = {
    "TFC 2W2A": "tfc_2w2a",
    "jet tagging": "jet",
    _CNV_1W1A: "cnv_1w1a",
    "CNV 2W2A": "cnv_2w2a",
    "MobileNetV1 0.5x 4W4A, 96": "mobilenet_05_96",
    "MobileNetV1 4W4A, 224": "mobilenet_224",
    "ResNet-18 4W4A": "resnet18",
    "transformer block 4W8A": "transformer",
}
_PRECISION = "fixed<32,16>"
_APPROXIMATED = "table"  # a rule of the hand-over: hls4ml takes such a function, inexactly; its time is still its time
_SMALL = 1_000_000  # multiplications up to which hls4ml's C++ compiles within a minute or two
_FLOAT_NET = {"TFC 2W2A": 1.3, "jet tagging": 1.3}  # times the bare float net at batch 1, at most
_OPENVINO = {"CNV 2W2A": 8}  # times faster than float emulation at batch 64, at least
_SLOW = 0.02  # seconds a call from which on fewer rounds do


def rows() -> Iterator[Row]:
    """Every model at every batch against every peer form, then the roofline."""
    peak = {"int8": _peak(TensorProto.UINT8), "float": _peak(TensorProto.FLOAT)}
    for kind, operations in peak.items():
        yield rate("roofline", f"{kind} matrix product in ONNX Runtime", operations)
    with TemporaryDirectory() as folder:
        exported = Path(folder) / "cnv_1w1a.onnx"
        models = _MODELS | ({_CNV_1W1A: (exported, dict[str, float]())} if _export(exported) else {})
        for name, (path, goals) in models.items():
            if not path.exists():
                yield Row(name, f"{path.parent.name}/{path.name} is not beside the project: skipped")
                continue
            yield from _model(name, path, goals, peak["int8"])


def _export(path: Path) -> bool:
    """Writes CNV 1W1A, if Brevitas is there to do it."""
    try:
        run_guest("brevitas", "guest_brevitas.py", "export", _BREVITAS[_CNV_1W1A], str(path))
    except MissingPeerError as error:
        print(f"{_CNV_1W1A}: {error}")
        return False
    return True


def _model(name: str, path: Path, goals: _Goals, peak: float) -> Iterator[Row]:
    macs = cost(path).dense.macs
    for batch in _BATCHES:
        session = Session(path, threads=1)
        feeds = {session.inputs[0].name: _samples(session, batch)}
        calls: dict[str, Contender] = {"anybit": lambda s=session, f=feeds: s.run(f)}
        slow = _once(lambda s=session, f=feeds: s.run(f)) > _SLOW
        with ExitStack() as guests:
            calls |= dict(_peers(name, path, feeds, batch))
            calls |= {k: guests.enter_context(g) for k, g in _guests(name, path, batch, macs)}
            times = {k: t / batch for k, t in alternate(calls, rounds=7 if slow else 31, warm_up=2).items()}
        ours = times.pop("anybit")
        for peer, other in times.items():
            measure = f"batch {batch}, {peer}"
            if peer == "float net, bare":
                yield at_most(name, measure, ours, other, _FLOAT_NET.get(name) if batch == 1 else None)
            elif peer == "anybit, OpenVINO":
                yield at_least(
                    name,
                    f"{measure}: float emulation against it",
                    other,
                    times["float emulation"],
                    _OPENVINO.get(name) if batch > 1 else None,
                )
            else:
                yield at_least(name, measure, ours, other, goals.get(peer))
        if macs is not None:
            yield share(name, f"batch {batch}, of the int8 peak", 2 * macs / ours, peak)


def _peers(name: str, path: Path, feeds: dict[str, Array], batch: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The forms that a user would run instead; one that cannot run this model is left out."""
    emulation = Session(path, engine="onnxruntime", threads=1)
    yield "float emulation", lambda: emulation.run(feeds)
    plain = plain_onnxruntime(without_quantisers(path))
    yield "float net, bare", lambda: plain.run(None, feeds)
    hub = load(path)
    SetBatch(batch)(hub)
    written = translate(hub, "qcdq")
    if written.refusals:
        print(f"{name}: no QCDQ form: {next(iter(written.refusals))}")
    else:
        qcdq = to_proto(written.model)
        try:
            quantized = plain_onnxruntime(qcdq)
            quantized.run(None, feeds)
            yield "QCDQ", lambda: quantized.run(None, feeds)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors have no base; the form is then no peer
            print(f"{name}: ONNX Runtime does not take the QCDQ form: {str(error)[:80]}")
        try:
            other = OpenVino(qcdq)
            yield "QCDQ in OpenVINO", lambda: other.run(feeds)
        except MissingPeerError:
            pass
    try:
        vino = Session(path, engine="openvino", threads=1)
        yield "anybit, OpenVINO", lambda: vino.run(feeds)
    except UnsupportedError:
        pass
    if batch == 1:
        try:
            peer = Qonnx(onnx.load(path))
            yield "qonnx", lambda: peer.run(next(iter(feeds.values())))
        except MissingPeerError:
            pass


def _guests(name: str, path: Path, batch: int, macs: int | None) -> Iterator[tuple[str, Guest]]:
    """The contenders in environments of their own; one that is not there, or refuses the model, is left out."""
    for form, mode in (("Brevitas in PyTorch", "eval"), ("Brevitas, weights cached", "cached")):
        try:
            yield form, Guest("brevitas", "guest_brevitas.py", mode, _BREVITAS[name], str(batch))
        except MissingPeerError as error:
            print(f"{name}: {error}")
    if macs is None or macs > _SMALL:
        print(f"{name}: too large for hls4ml's C++ in parallel, left out")
        return
    handover = prepare_hls4ml(path)
    errors = [finding for finding in handover.findings if finding.severity is Severity.ERROR]
    if any(finding.rule != _APPROXIMATED for finding in errors):
        print(f"{name}: hls4ml does not take it: {errors[0]}")
        return
    with TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        save(handover.model, file)
        try:
            yield "hls4ml's C++", Guest("hls4ml", "guest_hls4ml.py", str(file), str(batch), _PRECISION)
        except MissingPeerError as error:
            print(f"{name}: {error}")


def _samples(session: Session, count: int) -> Array:
    (info,) = session.inputs
    return np.random.default_rng(0).random((count, *(info.shape or ())[1:]), np.float32)


def _once(call: Callable[[], Any]) -> float:
    return alternate({"call": call}, rounds=1, warm_up=1)["call"]


def _peak(kind: int) -> float:
    """Operations a second of the product of two matrices, two for each multiply-accumulate."""
    integer = kind != TensorProto.FLOAT
    b = np.ones((_SIDE, _SIDE), np.int8 if integer else np.float32)
    node = helper.make_node("MatMulInteger" if integer else "MatMul", ["a", "b"], ["y"])
    output = helper.make_tensor_value_info("y", TensorProto.INT32 if integer else TensorProto.FLOAT, None)
    graph = helper.make_graph(
        [node],
        "peak",
        [helper.make_tensor_value_info("a", kind, [_SIDE, _SIDE])],
        [output],
        [onnx.numpy_helper.from_array(b, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session: onnxruntime.InferenceSession = plain_onnxruntime(model)
    feeds = {"a": np.ones((_SIDE, _SIDE), np.uint8 if integer else np.float32)}
    taken = alternate({"peak": lambda: session.run(None, feeds)}, rounds=11)["peak"]
    return 2 * _SIDE**3 / taken
