"""External data: tensors in files beside the model. No path that a model names leaves the model's folder.

Each file is opened when the model is loaded and stays open: what is read later, from whatever directory, is that file,
also when another one has taken its name. Links are followed, and their targets judged: hard links are plain files.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir

from anybit.errors import ModelFileError
from anybit.io.files.regular import open_regular

_SMALL_FILE = 1 << 16  # up to this many bytes are read at once; a mapping would hold a file descriptor
_BUFFER = 1 << 22


class ExternalTensor(ir.LazyTensor):
    """A tensor whose values stay in a file beside the model until they are asked for.

    Unlike `onnx_ir.ExternalTensor` it is serialised with its values: nothing that is written refers to its file.

    Attributes:
        path: The file.
    """

    def __init__(self, file: _File, offset: int, like: ir.ExternalTensor) -> None:
        super().__init__(
            self._view,
            like.dtype,
            like.shape,
            name=like.name,
            doc_string=like.doc_string,
            metadata_props=dict(like.metadata_props),
        )
        self._file, self._offset = file, offset
        self.path = file.path

    def pieces(self) -> Iterator[bytes]:
        """The bytes of the tensor, some at a time, of which none stays resident."""
        return self._file.pieces(self._offset, self.nbytes)

    def _view(self) -> ir.TensorProtocol:
        """The tensor over the bytes of the file, of which no copy is made unless they are packed."""
        raw = np.frombuffer(self._file.content, np.uint8, self.nbytes, self._offset)
        if self.dtype.bitwidth < 8:
            return ir.PackedTensor(raw, self.dtype, shape=self.shape, name=self.name)
        array = raw.view(self.dtype.numpy().newbyteorder("<")).reshape(self.shape.numpy())
        return ir.Tensor(array, dtype=self.dtype, name=self.name)


class _File:
    """A file of external data, open as long as a tensor needs it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with open_regular(path) as file:
            small = os.fstat(file.fileno()).st_size <= _SMALL_FILE
            self.content = file.read() if small else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.size = len(self.content)

    def pieces(self, offset: int, size: int) -> Iterator[bytes]:
        end = offset + size
        for start in range(offset, end, _BUFFER):
            stop = min(start + _BUFFER, end)
            yield self.content[start:stop]
            if isinstance(self.content, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
                page = start - start % mmap.PAGESIZE
                self.content.madvise(mmap.MADV_DONTNEED, page, stop - page)


class ExternalFiles:
    """The files of external data of one model, each opened once.

    Args:
        folder: Where they are; None if the model's folder is not known.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._files: dict[Path, _File] = {}

    def bound(self, where: str, tensor: ir.TensorProtocol) -> ir.TensorProtocol:
        """The tensor, bound to its file now where it names one.

        Args:
            where: How messages name the tensor.
            tensor: Any tensor.

        Raises:
            ModelFileError: There is no folder, a path leaves it, or a file is missing or too short.
        """
        if not isinstance(tensor, ir.ExternalTensor):
            return tensor
        folder = Path(tensor.base_dir) if tensor.base_dir else self._folder
        if folder is None:
            raise ModelFileError(
                "a tensor's data is in another file",
                node=where,
                hint="load the model from its path, or give base_dir",
            )
        file, offset = self._opened(_inside(folder, str(tensor.location), where), where), tensor.offset or 0
        length = tensor.nbytes if tensor.length is None else tensor.length
        if length != tensor.nbytes:
            raise ModelFileError(
                "external data does not fill the shape",
                node=where,
                got=f"{length} bytes",
                expected=f"{tensor.nbytes} for {tensor.shape}",
            )
        if offset < 0 or offset + length > file.size:
            raise ModelFileError(
                "external data is truncated",
                node=where,
                got=f"{file.size} bytes",
                expected=f"at least {offset + length}",
            )
        return ExternalTensor(file, offset, tensor)

    def _opened(self, path: Path, where: str) -> _File:
        if path not in self._files:
            try:
                self._files[path] = _File(path)
            except OSError as error:
                raise ModelFileError("external data cannot be read", node=where, got=error.strerror or error) from error
        return self._files[path]


def _inside(folder: Path, location: str, where: str) -> Path:
    """The file of this location, with all links followed."""
    root = Path(os.path.realpath(folder))
    named = bool(location) and "\0" not in location and not Path(location).is_absolute()
    path = Path(os.path.realpath(root / location)) if named else root  # of a loop of links, the place where it begins
    if not named or not path.is_relative_to(root):
        raise ModelFileError(
            "external data outside of the model's folder is refused",
            node=where,
            got=repr(location),
            expected="a file beside the model",
        )
    if not os.path.isfile(path):  # noqa: PTH113  (Path.is_file raises for names that are too long)
        raise ModelFileError(
            "external data is missing", node=where, got=repr(location), hint="put the file beside the model"
        )
    return path
