"""Measurements: the divergence of a model with some tensors quantised, here or on a Ray cluster, kept in a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import filelock
import numpy as np

from anybit.arrays import Array
from anybit.errors import InputError, ModelFileError, UsageError
from anybit.evaluation.cluster import connected
from anybit.io.files.checked_lines import checked_line, content_of_line
from anybit.io.files.regular import open_regular
from anybit.io.save import to_proto
from anybit.quantization.prepare import Prepared
from anybit.quantization.recipe import Scales
from anybit.quantization.sensitivity.divergence import Divergence, divergence
from anybit.quantization.sensitivity.pairs import Pair
from anybit.quantization.simulation import Simulation

Bits = Mapping[str, int]
"""Bit width by tensor; what is left out stays in float."""

_FORMAT = "anybit measurements 1"
_PACKAGES = ("anybit", "numpy", "onnxruntime")
_FILE = "measurements.jsonl"
_ASKED_AT_ONCE = 2  # questions that wait for each actor


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is measured: a model, samples, and how tensors are quantised. Equal subjects give equal measurements.

    Attributes:
        prepared: The model.
        blocks: The samples, some at a time.
        scales: Which numbers a scale may be.
        per_tensor: One scale for a weight in place of one for each output channel.
        zero_points: Whether zero points other than 0 may be chosen.
        labels: A class for each sample; None measures no accuracy.
        pair: Quantisers and weights of a quantised model, in place of those that fit best.
        compared: On how many of the blocks, the first ones, outputs are compared; None means all.
    """

    prepared: Prepared
    blocks: Sequence[Mapping[str, Array]]
    scales: Scales = Scales.FLOAT
    per_tensor: bool = False
    zero_points: bool = True
    labels: Array | None = None
    pair: Pair | None = None
    compared: int | None = None

    @property
    def decides(self) -> dict[str, Any]:
        """All that decides a measurement, by name."""
        samples = hashlib.sha256()
        for block in self.blocks:
            for name, array in sorted(block.items()):
                samples.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
        model = to_proto(self.prepared.model).SerializeToString(deterministic=True)
        return {
            "versions": {name: version(name) for name in _PACKAGES},
            "model": hashlib.sha256(model).hexdigest(),
            "samples": samples.hexdigest(),
            "scales": self.scales.value,
            "per_tensor": self.per_tensor,
            "zero_points": self.zero_points,
            "labels": None if self.labels is None else hashlib.sha256(self.labels.tobytes()).hexdigest(),
            "compared": self.compared,
        }


class Answers:
    """What measures: one simulation. An actor of a cluster has one of its own.

    Args:
        subject: What is measured.
    """

    def __init__(self, subject: Subject) -> None:
        self._simulation = Simulation(
            subject.prepared,
            subject.blocks,
            scales=subject.scales,
            per_tensor=subject.per_tensor,
            zero_points=subject.zero_points,
            quick=True,
            compared=subject.compared,
        )
        self._labels = subject.labels
        if subject.pair is not None:
            for tensor, stated in subject.pair.activations.items():
                self._simulation.state_range(tensor, stated)
            for tensor, (width, array) in subject.pair.weights.items():
                self._simulation.state_weights(tensor, width, array)
        self._floats = self._simulation.outputs()
        self._weights = frozenset(self._simulation.weights)

    def answer(self, bits: Bits) -> Divergence:
        """The divergence of the outputs with these tensors quantised and all others in float."""
        weights = {t: b for t, b in bits.items() if t in self._weights}
        activations = {t: b for t, b in bits.items() if t not in self._weights}
        found = self._simulation.outputs(activations, weights)
        return divergence(self._floats, found, self._labels)

    def close(self) -> None:
        """Removes the files of the simulation."""
        self._simulation.__exit__(None, None, None)


class Measurements:
    """Measures, in the order of the questions, and keeps what was measured.

    Use it in a ``with`` block. The measurements are the same wherever they are made and in whatever order.

    Args:
        subject: What is measured.
        folder: Where the measurements are kept: the same subject continues where an earlier process was ended.
        ray: Address of a Ray cluster whose actors measure, "auto" for the one of this machine.
        workers: How many actors; None takes as many as the cluster has processors.

    Attributes:
        made: How many were measured anew.
        resumed: How many were found in the folder.

    Raises:
        UsageError: The folder has measurements of another subject, or another process writes it.
        ModelFileError: It cannot be read or written.
        UnsupportedError: Ray is not installed, or no cluster answers.
    """

    def __init__(
        self, subject: Subject, *, folder: Path | None = None, ray: str | None = None, workers: int | None = None
    ) -> None:
        if workers is not None and workers < 1:
            raise UsageError("workers", got=workers, expected="at least 1")
        self._subject = subject
        self._kept = None if folder is None else _Kept(folder, subject.decides)
        self._ray = ray
        self._workers = workers
        self._here: Answers | None = None
        self._actors: _Actors | None = None
        self._known: dict[str, Divergence] = {}
        self.made = 0
        self.resumed = 0

    def __enter__(self) -> Self:
        if self._kept is not None:
            self._known |= self._kept.open()
            self.resumed = len(self._known)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._here is not None:
            self._here.close()
        if self._actors is not None:
            self._actors.close()
        if self._kept is not None:
            self._kept.close()

    def measure(self, questions: Sequence[Bits], progress: Callable[[int], None] | None = None) -> list[Divergence]:
        """The divergence for each choice of bits, in the order of the questions.

        Args:
            questions: Bits by tensor.
            progress: Called with 1 for each question that is answered.
        """
        keys = [_key(bits) for bits in questions]
        missing = {k: bits for k, bits in zip(keys, questions, strict=True) if k not in self._known}
        if progress is not None and len(missing) < len(keys):
            progress(len(keys) - len(missing))
        for key, found in self._answers(missing):
            self._known[key] = found
            self.made += 1
            if self._kept is not None:
                self._kept.record(key, found)
            if progress is not None:
                progress(1)
        return [self._known[key] for key in keys]

    def _answers(self, missing: Mapping[str, Bits]) -> Iterator[tuple[str, Divergence]]:
        if not missing:
            return
        if self._ray is not None:
            if self._actors is None:
                self._actors = _Actors(self._ray, self._subject, self._workers)
            yield from self._actors.answers(missing)
            return
        if self._here is None:
            self._here = Answers(self._subject)
        for key, bits in missing.items():
            yield key, self._here.answer(bits)


class _Actors:
    """Actors of a Ray cluster, each with a simulation of its own; one that dies is started again."""

    def __init__(self, address: str, subject: Subject, workers: int | None) -> None:
        self._ray = connected(address)
        count = workers or max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        shared = self._ray.put(_Shipped.of(subject))
        remote = self._ray.remote(num_cpus=1, max_restarts=3, max_task_retries=3)(_Remote)
        self._actors = [remote.remote(shared) for _ in range(count)]

    def answers(self, missing: Mapping[str, Bits]) -> Iterator[tuple[str, Divergence]]:
        """The answers as they come."""
        left = iter(missing.items())
        waiting: dict[Any, tuple[str, Any]] = {}
        free = [actor for actor in self._actors for _ in range(_ASKED_AT_ONCE)]
        while True:
            while free and (question := next(left, None)) is not None:
                actor = free.pop()
                waiting[actor.answer.remote(dict(question[1]))] = (question[0], actor)
            if not waiting:
                return
            done, _ = self._ray.wait(list(waiting), num_returns=1)
            key, actor = waiting.pop(done[0])
            free.append(actor)
            yield key, self._ray.get(done[0])

    def close(self) -> None:
        for actor in self._actors:
            self._ray.kill(actor)


@dataclass(frozen=True)
class _Shipped:
    """A subject as plain bytes and arrays, as it goes to another process."""

    model: bytes
    blocks: tuple[dict[str, Array], ...]
    scales: Scales
    per_tensor: bool
    zero_points: bool
    labels: Array | None
    compared: int | None

    @classmethod
    def of(cls, subject: Subject) -> _Shipped:
        blocks = tuple(dict(block) for block in subject.blocks)
        model = to_proto(subject.prepared.model).SerializeToString(deterministic=True)
        return cls(
            model, blocks, subject.scales, subject.per_tensor, subject.zero_points, subject.labels, subject.compared
        )

    def subject(self) -> Subject:
        from anybit.quantization.prepare import prepare

        return Subject(
            prepared=prepare(self.model),
            blocks=self.blocks,
            scales=self.scales,
            per_tensor=self.per_tensor,
            zero_points=self.zero_points,
            labels=self.labels,
            compared=self.compared,
        )


class _Remote:
    """What one actor has."""

    def __init__(self, shipped: _Shipped) -> None:
        self._answers = Answers(shipped.subject())

    def answer(self, bits: dict[str, int]) -> Divergence:
        """The divergence for a choice of bits."""
        return self._answers.answer(bits)


class _Kept:
    """The file of the measurements: a line each with a checksum, behind one that says of what they are."""

    def __init__(self, folder: Path, decides: Mapping[str, Any]) -> None:
        self._path = folder / _FILE
        self._header = {"format": _FORMAT, "decides": dict(decides)}
        self._lock = filelock.FileLock(folder / f"{_FILE}.lock", timeout=0)

    def open(self) -> dict[str, Divergence]:
        """What is there."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except filelock.Timeout:
            raise UsageError("another process writes the measurements", node=str(self._path)) from None
        except OSError as error:
            raise self._unusable(error) from error
        try:
            found, end = self._read()
            self._file = self._path.open("r+b" if end else "wb", buffering=0)
            self._file.truncate(end)
            self._file.seek(end)
            if not end:
                self._file.write(checked_line(self._header))
        except OSError as error:
            self._lock.release()
            raise self._unusable(error) from error
        except UsageError:
            self._lock.release()
            raise
        return found

    def record(self, key: str, found: Divergence) -> None:
        try:
            self._file.write(checked_line({"bits": key} | asdict(found)))
        except OSError as error:
            raise self._unusable(error) from error

    def close(self) -> None:
        self._file.close()
        self._lock.release()

    def _read(self) -> tuple[dict[str, Divergence], int]:
        """The measurements of the lines that are as they were written, and where these end."""
        if not self._path.exists():
            return {}, 0
        found: dict[str, Divergence] = {}
        with open_regular(self._path) as file:
            first = file.readline()
            header = content_of_line(first)
            if header is None and checked_line(self._header).startswith(first):
                return {}, 0  # it was ended before it had begun
            if header != self._header:
                raise UsageError(
                    "the folder has measurements of another model, other samples or other options",
                    node=str(self._path),
                    hint="name another folder, or remove it",
                )
            end = len(first)
            for line in file:
                measured = _measured(line)
                if measured is None:
                    break
                found |= measured
                end += len(line)
        return found, end

    def _unusable(self, error: OSError) -> ModelFileError:
        return ModelFileError("cannot use the folder", node=str(self._path), got=error.strerror or error)


def _measured(line: bytes) -> dict[str, Divergence] | None:
    content = content_of_line(line)
    if content is None:
        return None
    try:
        kl, error, changed = (float(content[name]) for name in ("kl", "error", "changed"))
        accuracy = content["accuracy"]
        right = None if accuracy is None else float(accuracy)
        return {str(content["bits"]): Divergence(kl, error, changed, right)}
    except (KeyError, TypeError, ValueError):
        return None


def _key(bits: Bits) -> str:
    return json.dumps(dict(sorted(bits.items())), separators=(",", ":"))


def sampled(blocks: Iterator[dict[str, Array]], most: int, *, whole: bool) -> list[dict[str, Array]]:
    """Samples from all over the data, so many or fewer, at least half as many where there are that many.

    They come in blocks no larger than the given ones, and than half of `most`; the first half of the blocks is from all
    over the data, too.

    Args:
        blocks: All samples, some at a time.
        most: How many samples.
        whole: Whether blocks stay whole, which a model that is bound to its batch needs.

    Raises:
        InputError: There are none.
    """
    kept: list[tuple[int, dict[str, Array]]] = []
    every, number, largest = 1, 0, 1
    for block in blocks:
        size = max((len(a) for a in block.values() if a.ndim), default=1)
        largest = max(largest, size)
        pieces = [block] if whole or size == 1 else [{n: a[i : i + 1] for n, a in block.items()} for i in range(size)]
        for piece in pieces:
            if number % every == 0:
                kept.append((size if whole else 1, piece))
            number += 1
        while len(kept) > 1 and sum(count for count, _ in kept) > most:
            every *= 2
            kept = kept[::2]
    if not kept:
        raise InputError("no samples", expected="at least one along the first axis")
    mixed = [piece for _, piece in kept[::2] + kept[1::2]]
    return mixed if whole else _joined(mixed, min(largest, most // 2))


def _joined(pieces: list[dict[str, Array]], size: int) -> list[dict[str, Array]]:
    """Samples of equal shapes in a row in blocks of up to this size."""
    joined: list[dict[str, Array]] = []
    group: list[dict[str, Array]] = []
    for piece in pieces:
        alike = not group or all(group[0][n].shape[1:] == a.shape[1:] for n, a in piece.items())
        if group and (not alike or len(group) == size):
            joined.append({n: np.concatenate([p[n] for p in group]) for n in group[0]})
            group = []
        group.append(piece)
    joined.append({n: np.concatenate([p[n] for p in group]) for n in group[0]})
    return joined
