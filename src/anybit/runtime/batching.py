"""run_in_batches: many samples through a session, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy.typing as npt

from anybit.runtime.session import Session

DEFAULT_BATCH = 64


def run_in_batches(
    session: Session,
    inputs: Mapping[str, npt.NDArray[Any]],
    *,
    batch_size: int = DEFAULT_BATCH,
    progress: Callable[[int], None] | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """The outputs for all samples, equal to those of one run.

    At most `batch_size` samples, rounded to the batch that the model was made for, are in flight, where samples are
    known to stay apart; else all are run at once.

    Args:
        session: Session to run.
        inputs: Arrays by input name, samples along the first axis of each.
        batch_size: Samples in one run.
        progress: Called with the number of samples of each batch when it is done.

    Raises:
        InputError: A name, type or shape does not fit the model.
    """
    samples = session.samples(inputs) or 0
    piece = session.piece(batch_size)
    if piece is None or samples <= piece:
        result = session.run(dict(inputs))
        if progress is not None:
            progress(max(samples, 1))
        return result
    parts: list[dict[str, npt.NDArray[Any]]] = []
    sizes: list[int] = []
    for start in range(0, samples, piece):
        stop = min(start + piece, samples)
        parts.append(session.run(session.part(inputs, start, stop)))
        sizes.append(stop - start)
        if progress is not None:
            progress(stop - start)
    return session.join(parts, sizes)
