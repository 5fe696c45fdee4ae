"""Models of one node whose input has bounds, or a grid, that tell its elements apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

import anybit
from anybit.analysis.values.tensor_values import TensorValues
from tests.models import model
from tests.strategies import Array


def bounded_model(
    nodes: Sequence[onnx.NodeProto],
    lo: Any,
    hi: Any,
    shape: Sequence[int | str],
    *,
    outputs: Sequence[str] = ("y",),
    constants: Mapping[str, Array] | None = None,
    opset: int = 21,
    dtype: Any = np.float32,
    free: Mapping[str, Sequence[int | str]] | None = None,
) -> onnx.ModelProto:
    """The nodes on t, whose elements are between lo and hi; `free` names further inputs of the same type."""
    numbers = {"lo": np.asarray(lo, dtype), "hi": np.asarray(hi, dtype), **(constants or {})}
    clip = [helper.make_node("Max", ["x", "lo"], ["above"]), helper.make_node("Min", ["above", "hi"], ["t"])]
    proto = model(
        [*clip, *nodes],
        numbers,
        inputs={"x": shape, **(free or {})},
        outputs=outputs,
        opset=opset,
        imports={"": opset},
        input_type=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)),
        ir_version=8,
    )
    return with_output_types(proto)


def grid_model(
    nodes: Sequence[onnx.NodeProto],
    scale: Any,
    shape: Sequence[int | str],
    *,
    offset: Any = 0.0,
    datatype: str = "INT4",
    outputs: Sequence[str] = ("y",),
    constants: Mapping[str, Array] | None = None,
    opset: int = 21,
) -> onnx.ModelProto:
    """The nodes on t = x * scale + offset, x an integer of the annotated format."""
    numbers = {"scale": np.float32(scale), "offset": np.float32(offset), **(constants or {})}
    steps = [helper.make_node("Mul", ["x", "scale"], ["m"]), helper.make_node("Add", ["m", "offset"], ["t"])]
    proto = model(
        [*steps, *nodes],
        {k: np.asarray(v) for k, v in numbers.items()},
        inputs={"x": shape},
        outputs=outputs,
        opset=opset,
        imports={"": opset},
        ir_version=8,
    )
    entry = proto.graph.quantization_annotation.add(tensor_name="x")
    entry.quant_parameter_tensor_names.add(key="finn_datatype", value=datatype)
    return with_output_types(proto)


def with_output_types(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model, its outputs of the types that onnx infers."""
    inferred = onnx.shape_inference.infer_shapes(proto)
    types = {v.name: v.type.tensor_type.elem_type for v in inferred.graph.output}
    untyped = onnx.ModelProto()
    untyped.CopyFrom(proto)
    for output in untyped.graph.output:
        output.type.tensor_type.elem_type = _guess(untyped, output.name, types[output.name])
    return untyped


def _guess(proto: onnx.ModelProto, name: str, declared: int) -> int:
    bare = onnx.ModelProto()
    bare.CopyFrom(proto)
    for output in bare.graph.output:
        output.ClearField("type")
    inferred = onnx.shape_inference.infer_shapes(bare)
    known = {v.name: v.type.tensor_type.elem_type for v in [*inferred.graph.value_info, *inferred.graph.output]}
    return known.get(name) or declared or TensorProto.FLOAT


def moved_by(
    node: onnx.NodeProto,
    values: TensorValues,
    shape: Sequence[int],
    constants: Mapping[str, Array],
    opset: int = 21,
    engine: str = "reference",
) -> list[TensorValues]:
    """What the node makes of t, by running it on tensors that are filled with each of the bounds of t."""
    proto = model(
        [node],
        constants,
        inputs={"t": shape},
        outputs=list(node.output),
        opset=opset,
        imports={"": opset},
        ir_version=8,
    )
    session = anybit.Session(proto, engine=engine)
    runs: list[list[Array]] = []

    def run(array: Array) -> int:
        feeds = {"t": np.broadcast_to(array, shape).astype(np.float32)}
        runs.append([a.astype(np.float64) for a in session.run(feeds).values()])
        return len(runs) - 1

    places = values.moved(lambda a: np.asarray(run(a)))
    return [places.moved(lambda i, k=k: runs[int(i)][k]) for k in range(len(node.output))]


def assert_same(values: TensorValues, expected: TensorValues) -> None:
    """Element by element, the bounds and the grid are those expected."""
    pairs = [(values.lo, expected.lo), (values.hi, expected.hi)]
    assert (values.grid is None) == (expected.grid is None)
    if values.grid is not None and expected.grid is not None:
        assert values.grid.datatype == expected.grid.datatype
        names = ("scale", "zero_point", "lo", "hi")
        pairs += [(getattr(values.grid, n), getattr(expected.grid, n)) for n in names]
    for got, wanted in pairs:
        np.testing.assert_array_equal(np.broadcast_to(got, wanted.shape), wanted)
