"""Many cases of one operator as one model: by the reference engine, by constant folding and by ONNX Runtime."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx import helper

from anybit.cleanup.fold_constants import FoldConstants
from anybit.engines.reference.backend import ReferenceBackend
from anybit.graph.walk import shape_of
from anybit.io.shapes import infer_shapes
from tests.ops.running import session
from tests.ops.standard.sweep.case import Array, Case

Results = list[list[Any]]
"""The outputs of each case."""


def model_of(cases: Sequence[Case], opset: int) -> onnx.ModelProto:
    """A model with a node for each case, whose inputs are those of the graph."""
    nodes: list[onnx.NodeProto] = []
    infos: list[onnx.ValueInfoProto] = []
    outputs: list[onnx.ValueInfoProto] = []
    for n, case in enumerate(cases):
        names = ["" if x is None else f"n{n}i{k}" for k, x in enumerate(case.inputs)]
        results = ["" if k in case.unnamed else f"n{n}o{k}" for k in range(case.outputs)]
        nodes.append(helper.make_node(case.op_type, names, results, f"n{n}", **case.attributes))
        infos += [_info(name, x) for name, x in zip(names, case.inputs, strict=True) if name]
        outputs += [onnx.ValueInfoProto(name=r) for r in results if r]
    graph = helper.make_graph(nodes, "cases", infos, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=13)


def _info(name: str, x: Any) -> onnx.ValueInfoProto:
    if isinstance(x, list):
        return helper.make_tensor_sequence_value_info(name, helper.np_dtype_to_tensor_dtype(x[0].dtype), None)
    dtype = onnx.TensorProto.STRING if x.dtype.kind == "U" else helper.np_dtype_to_tensor_dtype(x.dtype)
    return helper.make_tensor_value_info(name, dtype, x.shape)


def _feeds(cases: Sequence[Case]) -> dict[str, Any]:
    return {
        f"n{n}i{k}": x.astype(object) if isinstance(x, np.ndarray) and x.dtype.kind == "U" else x
        for n, case in enumerate(cases)
        for k, x in enumerate(case.inputs)
        if x is not None
    }


def _sorted(cases: Sequence[Case], values: Mapping[str, Any]) -> Results:
    return [[values[f"n{n}o{k}"] for k in range(case.outputs) if k not in case.unnamed] for n, case in enumerate(cases)]


def by_reference(cases: Sequence[Case], opset: int) -> Results:
    """The outputs of the reference engine."""
    model = ir.from_proto(model_of(cases, opset))
    values = ReferenceBackend(model, list(model.graph.outputs)).run(_feeds(cases))
    return _sorted(cases, dict(zip((str(v.name) for v in model.graph.outputs), values, strict=True)))


def by_inference(cases: Sequence[Case], opset: int) -> list[list[tuple[int | None, ...] | None]]:
    """The shapes that are inferred of the outputs of each case."""
    model = ir.from_proto(model_of(cases, opset))
    infer_shapes(model, data_propagation=True)
    return _sorted(cases, {str(v.name): shape_of(v) for v in model.graph.outputs})


def by_folding(cases: Sequence[Case], opset: int) -> Results:
    """The outputs as constant folding leaves them.

    Raises:
        KeyError: It left a node.
    """
    model = ir.from_proto(model_of(cases, opset))
    feeds = _feeds(cases)
    for value in list(model.graph.inputs):
        value.const_value = ir.tensor(feeds[str(value.name)], name=value.name)
        model.graph.inputs.remove(value)
        model.graph.register_initializer(value)
    FoldConstants(keep_quantizers=False).call(model)
    folded = {str(v.name): v.const_value.numpy() for v in model.graph.outputs if v.const_value is not None}
    return _sorted(cases, folded)


def by_onnx_runtime(cases: Sequence[Case], opset: int) -> Results:
    """The outputs of ONNX Runtime with everything that optimises turned off."""
    results: dict[int, list[Any]] = {}
    for run in (_run_tensors, _run_others):
        chosen = [n for n, case in enumerate(cases) if _is_of_tensors(case) == (run is _run_tensors)]
        if chosen:
            group = [cases[n] for n in chosen]
            made = session(model_of(group, opset), optimize=False)
            values = dict(zip((o.name for o in made.get_outputs()), run(made, _feeds(group)), strict=True))
            results.update(zip(chosen, _sorted(group, values), strict=True))
    return [results[n] for n in range(len(cases))]


def _is_of_tensors(case: Case) -> bool:
    """Whether inputs and outputs are tensors of numbers, which may be of types that numpy does not have."""
    if case.op_type.startswith(("Sequence", "SplitToSequence", "String")):
        return False
    return all(x is None or (isinstance(x, np.ndarray) and x.dtype.kind != "U") for x in case.inputs)


def _run_tensors(made: Any, feeds: Mapping[str, Any]) -> list[Any]:
    return [_array(v) for v in made.run_with_ort_values(None, {name: _ort_value(x) for name, x in feeds.items()})]


def _run_others(made: Any, feeds: Mapping[str, Any]) -> list[Any]:
    return made.run(None, feeds)


_NOT_OF_NUMPY = {np.dtype(getattr(ml_dtypes, name)) for name in dir(ml_dtypes) if name.startswith(("bfloat", "float8"))}


def _ort_value(x: Array) -> onnxruntime.OrtValue:
    if x.dtype not in _NOT_OF_NUMPY:
        return onnxruntime.OrtValue.ortvalue_from_numpy(x)
    raw = x.view(np.uint16 if x.dtype.itemsize == 2 else np.uint8)
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(raw, helper.np_dtype_to_tensor_dtype(x.dtype))


def _array(value: Any) -> Array:
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(value.element_type()))
    if dtype not in _NOT_OF_NUMPY:
        return value.numpy()
    size = int(np.prod(value.shape())) * dtype.itemsize
    raw = ctypes.string_at(value.data_ptr(), size) if size else b""
    return np.frombuffer(raw, dtype).reshape(value.shape())
