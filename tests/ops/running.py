"""The ways to run an operator: its reference, and its body in ONNX Runtime, whole or expanded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx import TensorProto, helper

from anybit.ops.bodies.rounding import rounded
from anybit.ops.expand import Expander
from anybit.ops.operator import Operator

OPSETS = (helper.make_opsetid("", 21), helper.make_opsetid("anybit", 1))


def assert_same(actual: np.ndarray, expected: np.ndarray) -> None:
    """Equal in type, shape and every bit, but for the sign of zero and the payload of NaN."""
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    np.testing.assert_array_equal(actual, expected)


def session(model: onnx.ModelProto, *, optimize: bool) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def _info(name: str, dtype: Any) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), None)


def _model(graph: onnx.GraphProto, functions: Sequence[onnx.FunctionProto] = ()) -> onnx.ModelProto:
    return helper.make_model(graph, opset_imports=OPSETS, ir_version=10, functions=functions)


@cache
def _body_session(
    name: str, since: int, dtypes: tuple[Any, ...], attributes: tuple[tuple[str, Any], ...]
) -> onnxruntime.InferenceSession:
    operator = OPERATORS[name, since]
    names = [i.name for i in operator.inputs]
    body = operator.body.to_function_proto()
    if all(o.domain != "anybit" for o in body.opset_import):  # onnxscript overlooks calls that stand inside an If
        body.opset_import.append(helper.make_opsetid("anybit", 1))
    node = helper.make_node(body.name, names, ["y"], domain=body.domain, **dict(attributes))
    nodes = [node, helper.make_node("Identity", ["y"], ["Y"])]
    if dtypes[0] == np.float16:
        node.input[0] = "wide"
        nodes = [
            helper.make_node("Cast", ["X"], ["wide"], to=TensorProto.FLOAT),
            node,
            helper.make_node("Cast", ["y"], ["Y"], to=TensorProto.FLOAT16),
        ]
    inputs = [_info(n, d) for n, d in zip(names, dtypes, strict=True)]
    graph = helper.make_graph(nodes, "whole", inputs, [_info("Y", dtypes[0])])
    return session(_model(graph, [rounded.to_function_proto(), body]), optimize=False)


def run_body(operator: Operator, inputs: Sequence[np.ndarray], attributes: Mapping[str, Any]) -> np.ndarray:
    """Y of the body as a model-local function; X of float16 is cast to float32 before, and back after."""
    OPERATORS[operator.name, operator.since] = operator
    made = _body_session(
        operator.name, operator.since, tuple(x.dtype for x in inputs), tuple(sorted(attributes.items()))
    )
    return _run(made, operator, inputs)


def expanded_model(
    operator: Operator, inputs: Sequence[np.ndarray | np.dtype], attributes: Mapping[str, Any]
) -> onnx.ModelProto:
    """A model of one call, expanded: arrays become constants, element types become graph inputs."""
    names = [i.name for i in operator.inputs]
    node = helper.make_node(operator.name, names, ["Y"], "call", domain=operator.domain, **attributes)
    pairs = list(zip(names, inputs, strict=True))
    graph = helper.make_graph(
        [node],
        "expanded",
        [_info(n, v) for n, v in pairs if not isinstance(v, np.ndarray)],
        [_info("Y", inputs[0].dtype if isinstance(inputs[0], np.ndarray) else inputs[0])],
        [onnx.numpy_helper.from_array(v, n) for n, v in pairs if isinstance(v, np.ndarray)],
    )
    proto = _model(graph)
    proto.opset_import.append(helper.make_opsetid(operator.domain, operator.since))
    model = ir.from_proto(proto)
    (call,) = model.graph
    Expander(model.graph).expand(call, operator)
    del model.opset_imports[operator.domain]
    return ir.to_proto(model)


@lru_cache(maxsize=512)
def _dynamic_session(
    name: str, since: int, dtypes: tuple[Any, ...], attributes: tuple[tuple[str, Any], ...]
) -> onnxruntime.InferenceSession:
    return session(expanded_model(OPERATORS[name, since], dtypes, dict(attributes)), optimize=True)


def run_expanded(operator: Operator, inputs: Sequence[np.ndarray], attributes: Mapping[str, Any]) -> np.ndarray:
    """Y of the expanded body, all parameters being graph inputs."""
    OPERATORS[operator.name, operator.since] = operator
    made = _dynamic_session(
        operator.name, operator.since, tuple(x.dtype for x in inputs), tuple(sorted(attributes.items()))
    )
    return _run(made, operator, inputs)


def run_folded(operator: Operator, inputs: Sequence[np.ndarray], attributes: Mapping[str, Any]) -> np.ndarray:
    """Y of the expanded body, all parameters being constants."""
    x, *parameters = inputs
    made = session(expanded_model(operator, [x.dtype, *parameters], attributes), optimize=True)
    return made.run(None, {operator.inputs[0].name: x})[0]


def _run(made: onnxruntime.InferenceSession, operator: Operator, inputs: Sequence[np.ndarray]) -> np.ndarray:
    return made.run(None, dict(zip((i.name for i in operator.inputs), inputs, strict=True)))[0]


OPERATORS: dict[tuple[str, int], Operator] = {}
