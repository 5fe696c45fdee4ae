"""sensitivity: what the outputs lose when one tensor is quantised, for a float model or for a pair."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from anybit.arguments import checked_apart
from anybit.errors import UsageError
from anybit.evaluation.datasets import Data, Labels
from anybit.io.files.json_values import read_json
from anybit.io.load import ModelSource
from anybit.quantization.equalization import equalized, equalized_as, tensors_between
from anybit.quantization.placement import nothing_to_quantize
from anybit.quantization.prepare import Prepared, prepare
from anybit.quantization.recipe import LEAST_BITS, MOST_BITS
from anybit.quantization.samples import LABELS, blocks_of
from anybit.quantization.sensitivity.divergence import Divergence
from anybit.quantization.sensitivity.measurements import Measurements, Subject, sampled
from anybit.quantization.sensitivity.pairs import Pair, paired

_WIDTHS = (2, 3, 4, 6, 8)


@dataclass(frozen=True)
class TensorSensitivity:
    """What is lost by the quantisation of one tensor.

    Attributes:
        tensor: Its name in the float model.
        is_weight: Whether it is a weight; else an activation.
        bits: Bit width.
        divergence: How far the outputs are from the float ones with this tensor alone quantised, and the accuracy then.
    """

    tensor: str
    is_weight: bool
    bits: int
    divergence: Divergence


@dataclass(frozen=True)
class Sensitivity:
    """What is lost by the quantisation of each tensor by itself.

    Attributes:
        samples: How many samples it was measured on.
        tensors: A row for each tensor and bit width.
        accuracy: Share of correct samples of the float model; None without labels.
    """

    samples: int
    tensors: tuple[TensorSensitivity, ...]
    accuracy: float | None = None

    def to_json(self) -> str:
        """The rows as JSON."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode() + "\n"

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Sensitivity:
        """The rows from a file, as `anybit sensitivity --json` prints them.

        Raises:
            InputError: The file cannot be read, or holds no sensitivity.
        """
        return read_json(path, cls, what="sensitivity")


@checked_apart("data", "labels")
def sensitivity(
    model: ModelSource,
    data: Data,
    *,
    quantized: ModelSource | None = None,
    labels: Labels | None = None,
    bits: Sequence[int] = _WIDTHS,
    samples: int = 128,
    resume: str | os.PathLike[str] | None = None,
    ray: str | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Sensitivity:
    """Loss of the outputs with one tensor quantised and all others in float, tensor by tensor.

    Of a float model each tensor that `anybit.quantize` would quantise is quantised to each of the widths. With a
    quantised form of it, each tensor that this one quantises takes the place of the float one that it corresponds to:
    tensors correspond that hold the same elements in the order of the computation, whatever their names.

    Args:
        model: The float model: path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``.
        data: Samples as `anybit.evaluate` takes them.
        quantized: A quantised form of the model.
        labels: Array, path of an .npy file, or key in the .npz file: adds accuracy.
        bits: Widths, 2 to 16; of a pair those of the quantised model hold.
        samples: How many samples from all over the data, at most.
        resume: Folder where measurements are kept: the same call goes on from there.
        ray: Address of a Ray cluster that measures, "auto" for the one of this machine.
        workers: How many of its actors; None takes as many as it has processors.
        progress: Called with what is done and with how much there is to do.

    Raises:
        ModelFileError: A model cannot be read.
        InputError: The data cannot be read, do not fit, or are not finite.
        UnsupportedError: There is nothing to quantise, or no tensors of the pair correspond.
    """
    if samples < 1:
        raise UsageError("samples", got=samples, expected="at least 1")
    if not bits or not all(LEAST_BITS <= b <= MOST_BITS for b in bits):
        raise UsageError("bit widths", got=list(bits), expected=f"{LEAST_BITS} to {MOST_BITS}")
    prepared = prepare(model)
    blocks = sampled(blocks_of(prepared, data, labels), samples, whole=not prepared.free_batch)
    truth = None
    if labels is not None:
        truth = np.concatenate([block.pop(LABELS) for block in blocks])
    count = sum(max((len(a) for a in block.values() if a.ndim), default=1) for block in blocks)
    pair = None if quantized is None else paired(prepared, quantized)
    if pair is not None:
        prepared = equalized_as(prepared, {name: array for name, (_, array) in pair.weights.items()})
    elif tensors_between(prepared):
        prepared = equalized(prepared, None, blocks[:1])
    if pair is not None and (resume is not None or ray is not None):
        raise UsageError("a pair", got="a folder or a cluster", expected="neither: a pair is measured once, here")
    subject = Subject(prepared=prepared, blocks=blocks, labels=truth, pair=pair)
    asked = _asked(prepared, bits) if pair is None else _asked_of_pair(pair)
    if not asked:
        raise nothing_to_quantize(prepared.model)
    done = 0

    def advance(number: int) -> None:
        nonlocal done
        done += number
        if progress is not None:
            progress(done, len(asked) + 1)

    with Measurements(subject, folder=None if resume is None else Path(resume), ray=ray, workers=workers) as measure:
        found = measure.measure([{}, *({name: b} for name, _, b in asked)], advance)
    rows = tuple(
        TensorSensitivity(name, is_weight, b, one) for (name, is_weight, b), one in zip(asked, found[1:], strict=True)
    )
    return Sensitivity(count, rows, found[0].accuracy)


def _asked(prepared: Prepared, bits: Sequence[int]) -> list[tuple[str, bool, int]]:
    names = [(str(v.name), False) for v in prepared.placement.activations]
    names += [(str(layer.weights.name), True) for layer in prepared.placement.layers]
    return [(name, is_weight, b) for name, is_weight in names for b in sorted(set(bits))]


def _asked_of_pair(pair: Pair) -> list[tuple[str, bool, int]]:
    stated = [(name, False, r.grid.bits) for name, r in pair.activations.items()]
    return stated + [(name, True, width) for name, (width, _) in pair.weights.items()]
