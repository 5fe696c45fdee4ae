"""bench: a model by several engines, and by what a user would take instead: speed, and whether the results agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from anybit.arguments import checked
from anybit.arrays import Array
from anybit.benchmarking.peers import Peer, QonnxExecutor, peers
from anybit.benchmarking.timing import alternate
from anybit.engines.engine import Engine
from anybit.engines.sampling import random_inputs
from anybit.errors import AnybitError, UsageError
from anybit.io.load import ModelSource, load
from anybit.records import Record
from anybit.runtime.compare import FLOAT_TOLERANCE
from anybit.runtime.session import Session

_NO_REALS = "OSUc"  # kinds of text and of complex numbers: they are equal or not
_TIES = 1000  # one element in so many may differ: float sums round to either side of a tie
_LIMIT = 10.0  # seconds after which a contender has no more turns


@dataclass(frozen=True)
class Timing:
    """One contender at one batch size.

    Attributes:
        contender: Name of the engine or peer.
        batch_size: Samples in one run.
        latency: Seconds of a run, the median over the rounds.
        throughput: Samples a second.
    """

    contender: str
    batch_size: int
    latency: float
    throughput: float


@dataclass(frozen=True)
class PeerAgreement:
    """The outputs of one contender beside those of the first.

    Attributes:
        contender: Its name.
        elements: Number of elements that were compared.
        departing: How many differ by more than float summation explains.
        largest: Largest difference.
    """

    contender: str
    elements: int
    departing: int
    largest: float

    @property
    def agrees(self) -> bool:
        """Whether at most one element in a thousand departs."""
        return self.departing * _TIES <= self.elements


@dataclass(frozen=True)
class Bench(Record):
    """How quick a model is.

    Attributes:
        threads: Threads inside an operator; None where each engine chooses.
        rounds: Turns of each contender.
        timings: One for each contender and batch size.
        agreements: One for each contender.
        absent: Peers that took no part, and why.
    """

    threads: int | None
    rounds: int
    timings: tuple[Timing, ...]
    agreements: tuple[PeerAgreement, ...]
    absent: Mapping[str, str]


@checked
def bench(
    model: ModelSource,
    *,
    engines: Sequence[Engine | str] = (Engine.AUTO, Engine.ONNXRUNTIME),
    batch_sizes: Sequence[int] = (1, 64),
    threads: int | None = 1,
    rounds: int = 11,
    with_peers: bool = True,
    inputs: Mapping[str, Array] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Bench:
    """Times the engines and peers in turns, after a warm-up, and compares what they compute.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``.
        engines: Engines of ours; the first one is what the others are compared with.
        batch_sizes: Samples in one run; a model that is bound to a batch gets the next multiple below, or one.
        threads: Threads inside an operator; numpy, behind the reference engine, has its own.
        rounds: Turns of each contender.
        with_peers: Whether the peers take part.
        inputs: Samples by input name; drawn at random without.
        progress: Called with 1 after each turn.

    Raises:
        UsageError: An engine or number makes no sense.
    """
    for name, number in (("rounds", rounds), *(("batch size", size) for size in batch_sizes)):
        if number < 1:
            raise UsageError(name, got=number, expected="at least 1")
    if not engines or not batch_sizes:
        raise UsageError("engines and batch sizes", got="none", expected="at least one")
    loaded = load(model)
    named = {e.value if isinstance(e, Engine) else e: e for e in engines}
    sessions = {name: Session(loaded, engine=engine, threads=threads) for name, engine in named.items()}
    first = next(iter(sessions.values()))
    sizes = sorted({first.piece(size) or size for size in batch_sizes})
    samples = random_inputs(loaded, sizes[-1]) if inputs is None else inputs
    contenders: dict[str, Peer] = dict(sessions)
    absent: dict[str, str] = {}
    for name, make in (peers(loaded, threads=threads) if with_peers else {}).items():
        try:
            peer = make()
            for size in _sizes_of(peer, sizes):
                peer.run(_samples(first, samples, size))
        except AnybitError as error:
            absent[name] = str(error)
        else:
            contenders[name] = peer
    timings: list[Timing] = []
    for size in sizes:
        taking_part = {name: c for name, c in contenders.items() if size in _sizes_of(c, sizes)}
        timings += _timings(taking_part, _samples(first, samples, size), size, rounds, progress)
    agreements: list[PeerAgreement] = []
    for name, contender in contenders.items():
        feeds = _samples(first, samples, _sizes_of(contender, sizes)[-1])
        right, other = (list(c.run(feeds).values()) for c in (first, contender))
        agreements.append(_agreement(name, right, other))
    return Bench(threads, rounds, tuple(timings), tuple(agreements), absent)


def _sizes_of(contender: Peer, sizes: Sequence[int]) -> Sequence[int]:
    """The batch sizes of a contender; one that takes samples singly is as quick in any batch."""
    return sizes[:1] if isinstance(contender, QonnxExecutor) else sizes


def _samples(session: Session, inputs: Mapping[str, Array], count: int) -> dict[str, Array]:
    """So many samples, the given ones over and over."""
    sampled = {i.name for i in session.required}
    return {
        n: np.resize(a, (count, *a.shape[1:])) if n in sampled and a.ndim and len(a) != count else a
        for n, a in inputs.items()
    }


def _timings(
    contenders: Mapping[str, Peer],
    feeds: dict[str, Array],
    size: int,
    rounds: int,
    progress: Callable[[int], None] | None,
) -> list[Timing]:
    calls = {n: partial(c.run, feeds) for n, c in contenders.items()}
    seconds = alternate(calls, rounds=rounds, limit=_LIMIT, progress=progress)
    return [Timing(name, size, latency, size / latency) for name, latency in seconds.items()]


def _agreement(name: str, first: Sequence[Any], other: Sequence[Any]) -> PeerAgreement:
    departing, largest, elements = 0, 0.0, 0
    for a, b in zip(first, other, strict=False):
        right, left = np.asarray(a), np.asarray(b)
        elements += right.size
        if right.shape != left.shape:
            departing, largest = departing + right.size, np.inf
            continue
        if right.dtype.kind in _NO_REALS:
            unequal = int((right != left).sum())
            departing, largest = departing + unequal, np.inf if unequal else largest
            continue
        right, left = right.astype(np.float64), left.astype(np.float64)
        same = (right == left) | (np.isnan(right) & np.isnan(left))
        with np.errstate(invalid="ignore"):
            gap = np.nan_to_num(np.where(same, 0.0, np.abs(right - left)), nan=np.inf)
        scale = float(np.abs(right[np.isfinite(right)]).max(initial=0.0))
        departing += int((gap > FLOAT_TOLERANCE * scale).sum())
        largest = max(largest, float(gap.max(initial=0.0)))
    return PeerAgreement(name, elements, departing, float(largest))
