"""Measures anybit against its peers and its goals, and prints one table.

Everything runs in one thread on one processor. Times that form a ratio come from one run in which the contenders
take turns; each figure is a median.

    python benchmarks/run.py                  all but the model of more than 2 GB
    python benchmarks/run.py --only cnv       one group
    python benchmarks/run.py --large --write  everything, and into RESULTS.md
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import byte_models
import loading
import native
import numpy as np
import onnx
import values
from peers import Array, MissingPeerError, Qonnx, QonnxCleanup, bare, plain_onnxruntime
from processes import build_cost, use_one_thread
from report import Row, at_least, at_most, memory, seconds, setting, table, write

import engines
from anybit.benchmarking.timing import alternate
from anybit.cleanup.clean import clean
from anybit.engines.native.compile import ISA, NO_PATH
from anybit.runtime.session import Session
from models import CNV, JET, TFC, chain, keyword_spotting, weight_bytes, without_quantisers, write_large

_RESULTS = Path(__file__).with_name("RESULTS.md")
_NOTES = """\
Times are medians, per sample, of contenders that take turns, all in one thread on one processor. Brevitas and hls4ml
take theirs in processes of their own, and time themselves. *Brevitas in PyTorch* is a net of the same architecture
with random weights in eval mode; *weights cached* is the same under Brevitas' `quant_inference_mode`, which does not
take binary quantisers. *hls4ml's C++* is `predict` of the compiled emulation, in fixed<32,16> where a node names no
type of its own, of the nets that are small enough to compile. CNV 1W1A is exported by Brevitas, with random weights.
*qonnx* is `execute_onnx` of the qonnx package after its own `cleanup_model`, a sample at a time, as it runs a model
that was exported for batch 1; rows "own batch" let it have its own `ChangeBatchSize` first. *bare ONNX Runtime* is the
session inside ours, called directly. *float net* is the same net without its quantisers in ONNX Runtime's default
options. Memory is the peak of a fresh process, the imports included."""
_BATCH = 256
_SPEED_UP = {1: 700, _BATCH: 5000}
_SLOWDOWN = 1.2
_BUILD_SECONDS = 15
_CLEAN_SECONDS = 20
_REAL_CLEAN_SECONDS = 2
_CLEAN_MEMORY = 1e9
_GROWTH = 1.5
_MEGABYTE = 1e6
_TOLERANCE = 1e-4


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=_GROUPS, action="append", help="only this group; may be repeated")
    parser.add_argument("--large", action="store_true", help="also a model of more than 2 GB")
    parser.add_argument("--write", action="store_true", help="write RESULTS.md")
    options = parser.parse_args()
    use_one_thread()
    os.environ[ISA] = NO_PATH  # what is measured around ONNX Runtime; the group of the native engine sets its own
    chosen = options.only or [name for name in _GROUPS if name != "large" or options.large]
    rows: list[Row] = []
    for name in chosen:
        for row in _GROUPS[name]():
            rows.append(row)
            print("  ".join(filter(None, (row.benchmark, row.measure, row.anybit, row.figure))), file=sys.stderr)
    print(f"\n{setting()}\n\n{table(rows)}")
    if options.write:
        write(_RESULTS, rows, _NOTES)


def throughput() -> Iterator[Row]:
    """Small nets, at batch 1 and 256, against qonnx and against bare ONNX Runtime."""
    yield from _published("TFC 2W2A", TFC)
    yield from _published("jet tagging", JET)
    yield from _throughput("kws MLP 3W3A", keyword_spotting())


def _published(name: str, path: Path) -> Iterator[Row]:
    if not path.exists():
        yield _absent(name, path)
        return
    yield from _throughput(name, onnx.load(path))


def _throughput(name: str, model: onnx.ModelProto) -> Iterator[Row]:
    session = Session(model, threads=1)
    samples = _samples(session, _BATCH)
    single = samples[:1]
    try:
        peer = Qonnx(model)
    except MissingPeerError as error:
        yield Row(name, str(error))
        return
    _agree(name, _output(session, single), peer.run(single))
    for batch, goal in _SPEED_UP.items():
        feeds = {session.inputs[0].name: samples[:batch]}
        times = alternate(
            {"anybit": lambda f=feeds: session.run(f), "qonnx": lambda: peer.run(single)},
        )
        yield at_least(name, f"batch {batch}, qonnx", times["anybit"] / batch, times["qonnx"], goal)
        yield from _overhead(name, session, feeds, batch)
    yield from _own_batch(name, model, session, samples)


def _overhead(name: str, session: Session, feeds: dict[str, Array], batch: int) -> Iterator[Row]:
    measure = f"batch {batch}, bare ONNX Runtime"
    size = (session.inputs[0].shape or (batch,))[0]
    if isinstance(size, int) and size != batch:
        yield Row(name, measure, figure="fixed batch: run in slices")
        return
    direct = bare(session, feeds)
    times = alternate({"anybit": lambda: session.run(feeds), "bare": direct}, rounds=41)
    yield at_most(name, measure, times["anybit"] / batch, times["bare"] / batch)


def _own_batch(name: str, model: onnx.ModelProto, session: Session, samples: Array) -> Iterator[Row]:
    """Qonnx with a batch of its own; a model that its pass does not carry to another batch has no such row."""
    measure = f"batch {_BATCH}, qonnx at own batch"
    try:
        peer = Qonnx(model, _BATCH)
        _agree(name, _output(session, samples), peer.run(samples))
    except Exception as error:  # noqa: BLE001 - whatever stands in the peer's way is the result
        yield Row(name, measure, figure=f"qonnx: {type(error).__name__}")
        return
    feeds = {session.inputs[0].name: samples}
    times = alternate({"anybit": lambda: session.run(feeds), "qonnx": lambda: peer.run(samples)}, rounds=11)
    yield at_least(name, measure, times["anybit"] / _BATCH, times["qonnx"] / _BATCH)


def cnv() -> Iterator[Row]:
    """A convolutional net against itself without quantisers."""
    name = "CNV 2W2A"
    if not CNV.exists():
        yield _absent(name, CNV)
        return
    session, plain = Session(CNV, threads=1), plain_onnxruntime(without_quantisers(CNV))
    for batch, rounds in ((1, 61), (64, 15)):
        feeds = {session.inputs[0].name: _samples(session, batch)}
        times = alternate(
            {"anybit": lambda f=feeds: session.run(f), "float": lambda f=feeds: plain.run(None, f)}, rounds=rounds
        )
        yield at_most(name, f"batch {batch}, float net", times["anybit"] / batch, times["float"] / batch, _SLOWDOWN)


def build() -> Iterator[Row]:
    """Load, check and session of long chains: time, peak memory and how they grow."""
    yield memory("imports", "peak memory", build_cost(None, runs=3)["peak"], 0)
    for quantized in (False, True):
        for nodes in (1000, 4000, 10_000):
            yield from _chain(nodes, 64, runs=3, quantised_weights=quantized)
    for quantized in (False, True):
        yield from _chain(4000, 256, runs=3, quantised_weights=quantized)


def _chain(nodes: int, width: int, *, runs: int, quantised_weights: bool) -> Iterator[Row]:
    kind = "quantised" if quantised_weights else "float"
    name = f"chain of {nodes:,}, {width} x {width} {kind} weights"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chain.onnx"
        model = chain(nodes, width, quantised_weights=quantised_weights)
        path.write_bytes(model.SerializeToString())
        cost = build_cost(path, runs=runs)
    yield from _cost_rows(name, cost, weight_bytes(model), _BUILD_SECONDS if nodes == 4000 else None)


def cleaning() -> Iterator[Row]:
    """The clean-up: long chains against qonnx and against itself, real models, and memory."""
    per_node: dict[int, float] = {}
    for nodes in (1000, 10_000):
        model = chain(nodes, 16, quantised_weights=True)
        per_node[nodes] = alternate({"anybit": lambda m=model: clean(m)}, rounds=5, warm_up=1)["anybit"] / nodes
        goal = _CLEAN_SECONDS if nodes == 10_000 else None
        yield seconds(f"clean, chain of {nodes:,}", "time", per_node[nodes] * nodes, "", goal)
    growth = "time a node, 10,000 against 1,000"
    yield at_most("clean, chains", growth, per_node[10_000], per_node[1000], _GROWTH)
    yield _clean_peer(per_node[1000] * 1000)
    for name in ("mobilenetv1_4w4a_224", "resnet18_4w4a"):
        path = CNV.parent.parent / name / "model.onnx"
        if path.exists():
            taken = alternate({"anybit": lambda p=path: clean(p)}, rounds=5, warm_up=1)["anybit"]
            yield seconds(f"clean, {name}", "time", taken, "with loading", _REAL_CLEAN_SECONDS)
        else:
            yield _absent(name, path)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.onnx"
        weights = write_large(path, layers=46, quantised_weights=True)
        cost = build_cost(path, runs=1, clean=Path(folder) / "clean.onnx")
    name = f"clean, {weights / 1e9:.1f} GB of external weights"
    parts = ", ".join(f"{key} {value:.2f}" for key, value in cost.items() if key != "peak")
    yield seconds(name, "time", sum(value for key, value in cost.items() if key != "peak"), parts)
    yield memory(name, "peak memory", cost["peak"], weights, _CLEAN_MEMORY)


def _clean_peer(ours: float) -> Row:
    try:
        peer = QonnxCleanup()
    except MissingPeerError as error:
        return Row("clean, chain of 1,000", str(error))
    model = chain(1000, 16, quantised_weights=True)
    start = time.perf_counter()
    peer.run(model)
    return at_least("clean, chain of 1,000", "qonnx, one run", ours, time.perf_counter() - start)


def large() -> Iterator[Row]:
    """A model of more than 2 GB with external weights."""
    for quantized in (False, True):
        kind = "quantised" if quantized else "float"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "large.onnx"
            weights = write_large(path, quantised_weights=quantized)
            cost = build_cost(path, runs=1, execute=True)
        yield from _cost_rows(f"{weights / 1e9:.1f} GB of {kind} external weights", cost, weights, None)


def _cost_rows(name: str, cost: dict[str, float], weights: int, limit: float | None) -> Iterator[Row]:
    parts = ", ".join(f"{key} {value:.2f}" for key, value in cost.items() if key != "peak")
    total = sum(value for key, value in cost.items() if key != "peak")
    yield seconds(name, "time", total, parts, limit)
    bound = 1.5 * weights + 200 * _MEGABYTE
    yield memory(name, "peak memory", cost["peak"], weights, None if limit is None else bound)


def _samples(session: Session, count: int) -> Array:
    """Random samples; models of batch 1 and of any batch take them."""
    (info,) = session.inputs
    return np.random.default_rng(0).random((count, *(info.shape or ())[1:]), np.float32)


def _output(session: Session, x: Array) -> Array:
    return next(iter(session.run(x).values()))


def _agree(name: str, ours: Array, theirs: Array) -> None:
    """A comparison of speed means something only between equal results."""
    if not np.allclose(ours, theirs, rtol=_TOLERANCE, atol=_TOLERANCE):
        raise ValueError(f"{name}: outputs differ by {np.abs(ours - theirs).max()}")


def _absent(name: str, path: Path) -> Row:
    return Row(name, f"{path.parent.name}/{path.name} is not beside the project: skipped")


_GROUPS: dict[str, Callable[[], Iterator[Row]]] = {
    "throughput": throughput,
    "cnv": cnv,
    "engines": engines.rows,
    "native": native.rows,
    "build": build,
    "cleaning": cleaning,
    "loading": loading.rows,
    "bytes": byte_models.rows,
    "values": values.rows,
    "large": large,
}


if __name__ == "__main__":
    main()
