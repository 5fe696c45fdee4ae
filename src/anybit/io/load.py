"""load: any form of an ONNX model as a normalised `onnx_ir.Model`."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import onnx
import onnx_ir as ir

from anybit.arguments import checked
from anybit.errors import Finding, InvalidModelError, ModelFileError
from anybit.graph.tensors import replace_tensors, replaced
from anybit.io.checks.in_memory import memory_findings
from anybit.io.copying import copied
from anybit.io.files.external import ExternalFiles
from anybit.io.reading import Reading, cause, judged, read_bytes, read_file, read_proto, unreadable
from anybit.io.repair.normalize import normalize
from anybit.ops.broken import broken_calls, error_of

ModelSource = str | os.PathLike[str] | bytes | onnx.ModelProto | ir.Model


@checked
def load(
    source: ModelSource, *, base_dir: str | os.PathLike[str] | None = None, overridable: bool | None = None
) -> ir.Model:
    """Reads a model and repairs what real files get wrong (see `anybit.repairs`); the source stays as it is.

    Weights in external files stay there, memory-mapped, and those files open; those of a large .onnx file stay in it
    until they are used. A file that is replaced later changes nothing for the model.

    A model is judged once, here: names, types, data, functions, and the inputs, outputs and attributes of every known
    operator are as everything else takes for granted. `check` reads a broken model, too, and lists what is wrong.

    Args:
        source: Path of an .onnx file, its bytes, an ``onnx.ModelProto`` or an ``onnx_ir.Model``.
        base_dir: Folder of the external data, where the source is not a path.
        overridable: Whether initializers that are also listed as inputs are defaults, which a caller may override, or
            constants. None takes them for defaults from version 4 of the format on, unless the file lists them by
            habit: all of its initializers (two or more), or all parameters of a PyTorch module; see `repairs`.

    Raises:
        ModelFileError: The source cannot be read as an ONNX model, or external data is missing or out of bounds.
        InvalidModelError: The model contradicts itself in a way that has no obvious repair.
    """
    reading = read(source, base_dir=base_dir, overridable=overridable)
    if reading.error is not None or reading.model is None:
        raise reading.error or ModelFileError("no model can be made of the source")
    for _, finding in broken_calls(reading.model):
        raise error_of(finding)
    return reading.model


def read(
    source: ModelSource, *, base_dir: str | os.PathLike[str] | None = None, overridable: bool | None = None
) -> Reading:
    """As `load`, also of a broken model; the operators are not judged.

    Raises:
        ModelFileError: The source is no ONNX model at all.
    """
    folder = None if base_dir is None else Path(base_dir)
    if isinstance(source, ir.Model):
        return _of_model(source, folder, overridable=overridable)
    if isinstance(source, onnx.ModelProto):
        own = onnx.ModelProto()
        own.CopyFrom(source)  # tensors of the model are views of its proto
        return _normalized(read_proto(own, folder, "the ModelProto"), overridable=overridable)
    if isinstance(source, bytes):
        return _normalized(read_bytes(source, folder, "the bytes"), overridable=overridable)
    path = Path(source)
    return _normalized(read_file(path, folder or path.parent), overridable=overridable)


def _of_model(source: ir.Model, folder: Path | None, *, overridable: bool | None) -> Reading:
    broken = tuple(memory_findings(source))
    if broken:
        return Reading(None, broken, error_of(broken[0]))
    judgement = judged(source)
    if judgement.model is None:
        return judgement
    copy = None if judgement.findings else copied(source)
    if copy is None:
        return _of_uncopied(source, folder, judgement.findings, overridable=overridable)
    try:
        replace_tensors(copy, ExternalFiles(folder).bound)
    except ModelFileError as error:
        return unreadable(error)
    return _normalized(Reading(copy), overridable=overridable)


def _of_uncopied(
    source: ir.Model, folder: Path | None, findings: tuple[Finding, ...], *, overridable: bool | None
) -> Reading:
    """A model that onnx-ir cannot copy, as it would be read from a file of it, where one can be written."""
    where = f"graph '{source.graph.name}'"
    try:
        with replaced(partial(replace_tensors, source), ExternalFiles(folder).bound):
            proto = ir.to_proto(source)
    except ModelFileError as error:
        return unreadable(error)
    except (ValueError, TypeError, AttributeError, KeyError, RuntimeError, ir.serde.SerdeError) as error:
        if findings:
            return Reading(None, findings, error_of(findings[0]))
        return unreadable(InvalidModelError("the graph cannot be copied", node=where, got=cause(error)))
    return _normalized(read_proto(proto, folder, where), overridable=overridable)


def _normalized(reading: Reading, *, overridable: bool | None) -> Reading:
    if reading.model is None:
        return reading
    try:
        normalize(reading.model, overridable=overridable)
    except InvalidModelError as error:
        return reading if reading.findings else unreadable(error)
    return reading
