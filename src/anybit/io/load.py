"""load: any form of an ONNX model as a normalised `onnx_ir.Model`."""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from anybit.errors import InvalidModelError, ModelFileError
from anybit.io.external import ExternalFiles
from anybit.io.lost_annotations import LOST_ANNOTATIONS, lost_annotations
from anybit.io.normalize import ORDER, REPAIRS, Repair, normalize, note_order, repairs, sort_graphs
from anybit.io.order import refuse_undefined, sort
from anybit.io.protos import check_proto
from anybit.io.sparse import make_dense
from anybit.io.tensors import replace_tensors
from anybit.io.wire import OpenFile, Payload, without_payloads

_LARGE_FILE = 1 << 26  # from here on weights stay in the file
_WHOLE_BYTES = frozenset(
    d.value for d in ir.DataType if d not in (ir.DataType.UNDEFINED, ir.DataType.STRING) and d.itemsize >= 1
)

ModelSource = str | os.PathLike[str] | bytes | onnx.ModelProto | ir.Model


def load(
    source: ModelSource, *, base_dir: str | os.PathLike[str] | None = None, overridable: bool | None = None
) -> ir.Model:
    """Reads a model and repairs what real files get wrong (see `anybit.repairs`); the source stays as it is.

    Weights in external files stay there, memory-mapped, and those files open; those of a large .onnx file stay in it
    until they are used. A file that is replaced later changes nothing for the model.

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
    folder = None if base_dir is None else Path(base_dir)
    if isinstance(source, ir.Model):
        copy = _copied(source)
        replace_tensors(copy, ExternalFiles(folder).bound)
        return normalize(copy, overridable=overridable)
    if isinstance(source, onnx.ModelProto):
        own = onnx.ModelProto()
        own.CopyFrom(source)  # tensors of the model are views of its proto
        return normalize(_from_proto(own, folder, "the ModelProto"), overridable=overridable)
    if isinstance(source, bytes):
        return normalize(_from_proto(_parse(source, "the bytes"), folder, "the bytes"), overridable=overridable)
    path = Path(source)
    return normalize(_read(path, folder or path.parent), overridable=overridable)


def _copied(source: ir.Model) -> ir.Model:
    """A copy, which onnx-ir can only make of a sorted graph."""
    try:
        copy = source.clone()
    except RuntimeError:
        copy = _copied_in_order(source)
    known = repairs(copy)
    copy.meta.update({key: value for key, value in source.meta.items() if key != ORDER})
    copy.meta[REPAIRS] = (*repairs(source), *known)
    return copy


def _copied_in_order(source: ir.Model) -> ir.Model:
    """A sorted copy; the nodes of the source are sorted for as long as it takes, and then as they were."""
    tops = [source.graph, *(f.graph for f in source.functions.values())]
    graphs = [graph for top in tops for graph in (top, *top.subgraphs())]
    nodes = [list(graph) for graph in graphs]
    try:
        early = sort_graphs(source)
        copy = source.clone()
    except RuntimeError as error:  # onnx-ir's text spans lines and names its own objects
        for graph in tops:
            refuse_undefined(graph)
            sort(graph)
        raise InvalidModelError(
            "the graph cannot be copied", node=f"graph '{source.graph.name}'", hint="run `anybit check` on its file"
        ) from error
    finally:
        for graph, order in zip(graphs, nodes, strict=True):
            graph.extend(order)  # which moves them
    note_order(copy, early)
    return copy


def _read(path: Path, folder: Path) -> ir.Model:
    try:
        size = path.stat().st_size
        if size == 0:
            raise ModelFileError("the file is empty", node=str(path), expected="an ONNX model")
        if size >= _LARGE_FILE:
            return _read_large(path, folder)
        return _from_proto(_parse(path.read_bytes(), str(path)), folder, str(path))
    except OSError as error:
        raise ModelFileError(
            "cannot read the file", node=str(path), got=error.strerror or error, expected="a path of an ONNX model"
        ) from error


def _read_large(path: Path, folder: Path) -> ir.Model:
    """A large model whose weights stay in the file; see `anybit.io.wire`."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            slim, payloads = without_payloads(mapped)
    except ValueError as error:
        raise ModelFileError("not an ONNX model, or a truncated one", node=str(path), got=error) from error
    proto = _parse(slim, str(path))
    source = OpenFile(path)
    absent: list[tuple[onnx.TensorProto, Payload]] = []
    for payload in payloads:
        tensor = proto.graph.initializer[payload.index]
        if tensor.data_type in _WHOLE_BYTES:
            absent.append((tensor, payload))
        else:
            tensor.raw_data = source.read(payload)
    model = _from_proto(proto, folder, str(path), sizes={t.name: p.length for t, p in absent})
    for tensor, payload in absent:
        value = model.graph.initializers[tensor.name]
        dtype, shape = ir.DataType(tensor.data_type), ir.Shape(tensor.dims)
        value.const_value = source.tensor(payload, tensor.name, dtype, shape)
    return model


def _parse(data: bytes, where: str) -> onnx.ModelProto:
    try:
        return onnx.ModelProto.FromString(data)
    except DecodeError as error:
        raise ModelFileError(
            "not an ONNX model, or a truncated one", node=where, got="bytes that are no ONNX protobuf"
        ) from error


def _from_proto(
    proto: onnx.ModelProto, folder: Path | None, where: str, *, sizes: Mapping[str, int] | None = None
) -> ir.Model:
    if not proto.HasField("graph") or not (proto.graph.node or proto.graph.output) or proto.ir_version < 1:
        raise ModelFileError(
            "no ONNX model", node=where, got="a protobuf without a graph", expected="an ONNX ModelProto"
        )
    check_proto(proto, where, elsewhere=sizes or {})
    files = ExternalFiles(folder)
    sparse = make_dense(proto, files)
    lost = tuple(lost_annotations(proto))
    _merge_annotations(proto)
    try:
        model = ir.from_proto(proto)
    except (ValueError, TypeError, KeyError, RuntimeError, ir.serde.SerdeError) as error:
        raise ModelFileError("a broken ONNX model", node=where, got=_cause(error)) from error
    replace_tensors(model, files.bound)
    if lost:
        model.meta[LOST_ANNOTATIONS] = lost
    done: list[Repair] = []
    if sparse:
        done.append(Repair("sparse", "sparse tensors made dense", sparse))
    if proto.training_info:
        done.append(Repair("training-info", "information for training dropped", len(proto.training_info)))
    model.meta[REPAIRS] = tuple(done)
    return model


def _cause(error: BaseException) -> str:
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
