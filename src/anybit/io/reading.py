"""read_file, read_bytes, read_proto: a model as onnx-ir reads it, or why it cannot be read."""

from __future__ import annotations

import logging
import mmap
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from anybit.errors import AnybitError, Finding, LimitError, ModelFileError
from anybit.graph.tensors import replace_tensors
from anybit.io.checks.protobuf import attribute_findings, file_findings, refusal_findings
from anybit.io.checks.structure import NAMELESS, size_findings, structure_findings
from anybit.io.checks.text import is_utf8, text_findings
from anybit.io.files.external import ExternalFiles
from anybit.io.files.wire import InMemory, OpenFile, Payload, tensor_of, without_payloads
from anybit.io.repair.lost_annotations import LOST_ANNOTATIONS, lost_annotations
from anybit.io.repair.normalize import REPAIRS, Repair
from anybit.io.repair.sparse import make_dense
from anybit.ops.broken import error_of

_LARGE_FILE = 1 << 26  # from here on weights stay in the file
_MIDDLE_FILE = 1 << 16  # from here on they stay in its bytes, which are read at once
_WHOLE_BYTES = frozenset(
    d.value for d in ir.DataType if d not in (ir.DataType.UNDEFINED, ir.DataType.STRING) and d.itemsize >= 1
)


@dataclass(frozen=True)
class Reading:
    """What a source holds, and what is wrong with it.

    Attributes:
        model: The model; None where none can be made of the source.
        findings: What stands in the way of reading it, or of walking its graph; empty where nothing does.
        error: The first of them, as `load` raises it.
    """

    model: ir.Model | None
    findings: tuple[Finding, ...] = ()
    error: AnybitError | None = None


def read_file(path: Path, folder: Path) -> Reading:
    """The model of an .onnx file, not normalised.

    Args:
        path: The file.
        folder: Where its external data is.

    Raises:
        ModelFileError: The file is no ONNX model at all.
    """
    where = str(path)
    try:
        size = path.stat().st_size
        if size == 0:
            raise ModelFileError("the file is empty", node=where, expected="an ONNX model")
        if size < _LARGE_FILE:
            return read_bytes(path.read_bytes(), folder, where)
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            return _read_slim(mapped, OpenFile(path), folder, where)
    except OSError as error:
        raise ModelFileError(
            "cannot read the file", node=where, got=error.strerror or error, expected="a path of an ONNX model"
        ) from error


def read_bytes(data: bytes, folder: Path | None, where: str) -> Reading:
    """The model of the bytes of an .onnx file, not normalised; it holds the bytes for its large tensors.

    Args:
        data: The bytes.
        folder: Where its external data is; None if that is not known.
        where: How messages name the model.

    Raises:
        ModelFileError: The bytes are no ONNX model at all.
    """
    if len(data) < _MIDDLE_FILE:
        return read_proto(_parse(data, where), folder, where, is_text=is_utf8(data))
    return _read_slim(data, InMemory(data), folder, where)


def _read_slim(data: bytes | mmap.mmap, source: OpenFile | InMemory, folder: Path | None, where: str) -> Reading:
    """A model whose weights stay where they are; see `anybit.io.files.wire`."""
    try:
        slim, payloads = without_payloads(data)
    except ValueError as error:
        raise ModelFileError("not an ONNX model, or a truncated one", node=where, got=error) from error
    proto = _parse(slim, where)
    absent: list[tuple[onnx.TensorProto, Payload]] = []
    for payload in payloads:
        tensor = proto.graph.initializer[payload.index]
        if tensor.data_type in _WHOLE_BYTES:
            absent.append((tensor, payload))
        else:
            tensor.raw_data = source.read(payload)
    reading = read_proto(proto, folder, where, sizes={t.name: p.length for t, p in absent}, is_text=is_utf8(slim))
    if reading.model is None:
        return reading
    for tensor, payload in absent:
        value = reading.model.graph.initializers[tensor.name]
        dtype, shape = ir.DataType(tensor.data_type), ir.Shape(tensor.dims)
        value.const_value = tensor_of(source, payload, tensor.name, dtype, shape)
    return reading


def _parse(data: bytes, where: str) -> onnx.ModelProto:
    """The protobuf message in these bytes.

    Raises:
        ModelFileError: There is none.
    """
    try:
        return onnx.ModelProto.FromString(data)
    except DecodeError as error:
        raise ModelFileError(
            "not an ONNX model, or a truncated one", node=where, got="bytes that are no ONNX protobuf"
        ) from error


def read_proto(
    proto: onnx.ModelProto,
    folder: Path | None,
    where: str,
    *,
    sizes: Mapping[str, int] | None = None,
    is_text: bool = False,
) -> Reading:
    """The model of a message, which becomes part of it; not normalised.

    Args:
        proto: The message.
        folder: Where its external data is; None if that is not known.
        where: How messages name the model.
        sizes: Initializers whose data was left in the file, with its size in bytes.
        is_text: Whether its texts are known to be UTF-8.

    Raises:
        ModelFileError: The message is no ONNX model at all.
    """
    if not proto.HasField("graph") or not (proto.graph.node or proto.graph.output) or proto.ir_version < 1:
        raise ModelFileError(
            "no ONNX model", node=where, got="a protobuf without a graph", expected="an ONNX ModelProto"
        )
    findings = () if is_text else tuple(text_findings(proto, where))
    if findings:
        return _refused(findings)
    findings = tuple(file_findings(proto, where, elsewhere=sizes or {}))
    if findings:
        return _refused((*findings, *refusal_findings(proto, where)))
    files = ExternalFiles(folder)
    try:
        model = _model_of(proto, files, where)
        findings = tuple(attribute_findings(proto, model))
        if findings:
            return _refused(findings)
        replace_tensors(model, files.bound)
    except (LimitError, ModelFileError) as error:
        findings = tuple(refusal_findings(proto, where))
        return _refused(findings) if findings else unreadable(error)
    judgement = judged(model)
    if any(f.rule == NAMELESS for f in judgement.findings):
        return _refused(tuple(refusal_findings(proto, where)) or judgement.findings)
    return judgement


def _refused(findings: tuple[Finding, ...]) -> Reading:
    """A file of which nothing can be made."""
    first = findings[0]
    error = ModelFileError(first.problem, node=first.node, got=first.got, expected=first.expected, hint=first.hint)
    return Reading(None, findings, error)


def judged(model: ir.Model) -> Reading:
    """The model, and what is wrong with its graph and its functions."""
    findings = tuple(structure_findings(model))
    if not findings:
        findings = tuple(size_findings(model))
        if findings:  # nothing can be made of it
            return Reading(None, findings, error_of(findings[0]))
    return Reading(model, findings, error_of(findings[0]) if findings else None)


def _model_of(proto: onnx.ModelProto, files: ExternalFiles, where: str) -> ir.Model:
    """The model as onnx-ir reads it, and what was repaired in the message before."""
    sparse = make_dense(proto, files)
    lost = tuple(lost_annotations(proto))
    _merge_annotations(proto)
    try:
        with _silent():
            model = ir.from_proto(proto)
    except (ValueError, TypeError, KeyError, RuntimeError, ir.serde.SerdeError) as error:
        raise ModelFileError("a broken ONNX model", node=where, got=cause(error)) from error
    if lost:
        model.meta[LOST_ANNOTATIONS] = lost
    done: list[Repair] = []
    if sparse:
        done.append(Repair("sparse", "sparse tensors made dense", sparse))
    if proto.training_info:
        done.append(Repair("training-info", "information for training dropped", len(proto.training_info)))
    model.meta[REPAIRS] = tuple(done)
    return model


@contextmanager
def _silent() -> Generator[None]:
    """Keeps onnx-ir from logging what is wrong with a model: findings say it."""
    logger = logging.getLogger("onnx_ir.serde")
    logger.addFilter(_refuse)
    try:
        yield
    finally:
        logger.removeFilter(_refuse)


def _refuse(record: logging.LogRecord) -> bool:
    del record
    return False


def cause(error: BaseException) -> str:
    """The text of the error that an error comes from, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__


def _merge_annotations(proto: onnx.ModelProto) -> None:
    """Several annotations of one tensor become one: onnx-ir keeps only the last."""
    first: dict[str, onnx.TensorAnnotation] = {}
    annotations = proto.graph.quantization_annotation
    if len({a.tensor_name for a in annotations}) == len(annotations):
        return
    for annotation in annotations:
        merged = first.setdefault(annotation.tensor_name, onnx.TensorAnnotation(tensor_name=annotation.tensor_name))
        known = {entry.key for entry in merged.quant_parameter_tensor_names}
        merged.quant_parameter_tensor_names.extend(
            e for e in annotation.quant_parameter_tensor_names if e.key not in known
        )
    del annotations[:]
    annotations.extend(first.values())


def unreadable(error: AnybitError) -> Reading:
    """A reading that came to nothing, because of one thing."""
    rule = "file" if isinstance(error, ModelFileError) else "model"
    said = error.diagnosis
    finding = Finding(
        rule=rule, problem=said.problem, node=said.node, got=said.got, expected=said.expected, hint=said.hint
    )
    return Reading(None, (finding,), error)
