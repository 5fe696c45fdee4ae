"""Spill: activations of all samples in files, block by block, while a later node reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

import numpy as np

from anybit.arrays import Array
from anybit.errors import UnsupportedError
from anybit.quantization.ranges import Range


@dataclass
class Stream:
    """A tensor on all samples: a file of blocks, and the quantiser through which they are read.

    Attributes:
        name: That of the tensor.
        path: The file.
        blocks: Offset, shape and element type of each block.
        quantizer: What is applied when a block is read.
    """

    name: str
    path: Path
    blocks: list[tuple[int, tuple[int, ...], np.dtype[Any]]] = field(default_factory=list[Any])
    quantizer: Range | None = None

    def write(self, block: Array) -> None:
        """Appends a block.

        Raises:
            UnsupportedError: It holds strings.
        """
        block = np.asarray(block, order="C")  # ascontiguousarray would give a number an axis
        if block.dtype.hasobject:
            raise UnsupportedError(
                "strings cannot be kept while calibration data pass through",
                node=f"tensor '{self.name}'",
                got=block.dtype,
            )
        with self.path.open("ab") as file:
            self.blocks.append((file.tell(), block.shape, block.dtype))
            file.write(block.reshape(-1).view(np.uint8).data if block.size else b"")  # any type: bfloat16 has no buffer

    def raw(self, number: int) -> Array:
        """A block as it was written."""
        offset, shape, dtype = self.blocks[number]
        count = int(np.prod(shape, dtype=np.int64))
        return np.fromfile(self.path, dtype, count, offset=offset).reshape(shape)

    def read(self, number: int) -> Array:
        """A block as later nodes see it."""
        block = self.raw(number)
        return block if self.quantizer is None else self.quantizer.quantized(block)

    def __len__(self) -> int:
        return len(self.blocks)

    def __iter__(self) -> Iterator[Array]:
        return (self.read(number) for number in range(len(self)))

    def seen_through(self, quantizer: Range) -> Stream:
        """The same file, read through a quantiser."""
        return Stream(self.name, self.path, self.blocks, quantizer)


class Spill:
    """A temporary folder of streams; it is gone when its block ends."""

    def __init__(self, folder: Path | None = None) -> None:
        self._holder = TemporaryDirectory(prefix="anybit-", dir=folder)
        self._root = Path(self._holder.name)
        self._made = 0

    def stream(self, name: str) -> Stream:
        """A new, empty stream of a tensor."""
        self._made += 1
        path = self._root / str(self._made)
        path.touch()
        return Stream(name, path)

    def drop(self, stream: Stream) -> None:
        """Removes the file of a stream."""
        stream.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._holder.cleanup()
