"""External data: weights in files beside the model. No path that a model names leaves the model's folder."""

from __future__ import annotations

from pathlib import Path

import onnx

from anybit.errors import ModelFileError
from anybit.io.protos import tensors


def check_external_data(proto: onnx.ModelProto, folder: Path | None) -> bool:
    """Whether the model has external tensors; each of them lies whole inside `folder`.

    Raises:
        ModelFileError: There is no folder, a path leaves it, or a file is missing or too short.
    """
    found = False
    for tensor in tensors(proto):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        found = True
        if folder is None:
            raise ModelFileError(
                "a tensor's data is in another file",
                node=f"initializer '{tensor.name}'",
                hint="load the model from its path, or give base_dir",
            )
        _check_tensor(tensor, folder)
    return found


def _check_tensor(tensor: onnx.TensorProto, folder: Path) -> None:
    entries = {e.key: e.value for e in tensor.external_data}
    location = entries.get("location", "")
    where = f"initializer '{tensor.name}'"
    root = folder.resolve()
    named = bool(location) and "\0" not in location and not Path(location).is_absolute()
    path = (root / location).resolve() if named else root
    if not named or not path.is_relative_to(root):
        raise ModelFileError(
            "external data outside of the model's folder is refused",
            node=where,
            got=repr(location),
            expected="a file beside the model",
        )
    if not path.is_file():
        raise ModelFileError(
            "external data is missing", node=where, got=repr(location), hint="put the file beside the model"
        )
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", 0))
    except ValueError:
        raise ModelFileError("external data has a broken offset or length", node=where, got=dict(entries)) from None
    size = path.stat().st_size
    if offset < 0 or length < 0 or offset + length > size:
        raise ModelFileError(
            "external data is truncated", node=where, got=f"{size} bytes", expected=f"at least {offset + length}"
        )
