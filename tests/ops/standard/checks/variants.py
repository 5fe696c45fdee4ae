"""One call of an operator as a model, its findings, and what ONNX Runtime makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper
from onnxruntime.capi import onnxruntime_pybind11_state as state

from anybit import check
from anybit.errors import Finding, Severity

MICROSOFT = "com.microsoft"
_NOT_FED = (
    ml_dtypes.int2,
    ml_dtypes.uint2,
    ml_dtypes.int4,
    ml_dtypes.uint4,
    ml_dtypes.float4_e2m1fn,
    ml_dtypes.float8_e4m3fn,
    ml_dtypes.float8_e5m2,
)
_NOT_FETCHED = "No corresponding Numpy type"  # the model ran
_REFUSALS = (
    state.Fail,
    state.InvalidGraph,
    state.InvalidArgument,
    state.NotImplemented,
    state.RuntimeException,
    state.InvalidProtobuf,
)


@dataclass(frozen=True)
class Variant:
    """One call; the first input is fed, the others are initializers.

    Attributes:
        op_type: Operator.
        inputs: Inputs, None for one that is left out.
        attributes: Attributes of the node.
        opset: Version of the standard operators.
        domain: Domain of the operator.
        rule: The rule that it breaks.
        runs: What of the specification ONNX Runtime does not enforce here; empty where it refuses.
        outputs: Number of outputs.
        output_type: Element type that the file states for the first output; 0 for none.
    """

    op_type: str
    inputs: tuple[Any, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    opset: int = 21
    domain: str = ""
    rule: str = ""
    runs: str = ""
    outputs: int = 1
    output_type: int = 0

    def __str__(self) -> str:
        shapes = ",".join(
            "-" if i is None else f"{np.asarray(i).dtype}{list(np.asarray(i).shape)}" for i in self.inputs
        )
        return f"{self.domain}{self.op_type}-{self.opset}({shapes};{dict(self.attributes)})".replace(" ", "")

    def node(self) -> onnx.NodeProto:
        """The call, as a node named `node`."""
        names = ["" if i is None else f"i{k}" for k, i in enumerate(self.inputs)]
        outputs = [f"o{k}" for k in range(self.outputs)]
        return helper.make_node(self.op_type, names, outputs, name="node", domain=self.domain, **self.attributes)

    def tensors(self) -> dict[str, onnx.TensorProto]:
        """The inputs by name."""
        given = {f"i{k}": np.asarray(i) for k, i in enumerate(self.inputs) if i is not None}
        return {name: numpy_helper.from_array(array, name) for name, array in given.items()}

    def model(self) -> onnx.ModelProto:
        """The call alone."""
        tensors = self.tensors()
        infos = [helper.make_tensor_value_info(n, tensors[n].data_type, tensors[n].dims) for n in self.fed()]
        outputs = [onnx.ValueInfoProto(name=f"o{k}") for k in range(self.outputs)]
        if self.output_type:
            outputs[0].type.tensor_type.elem_type = self.output_type
        constants = [t for n, t in tensors.items() if n not in self.fed()]
        graph = helper.make_graph([self.node()], "one", infos, outputs, constants)
        return helper.make_model(graph, opset_imports=self.imports(), ir_version=10 if self.opset < 23 else 12)

    def unknown(self) -> onnx.ModelProto:
        """The call alone, of inputs of which the file states no shape."""
        tensors = self.tensors()
        infos = [helper.make_tensor_value_info(n, t.data_type, None) for n, t in tensors.items()]
        outputs = [onnx.ValueInfoProto(name=f"o{k}") for k in range(self.outputs)]
        graph = helper.make_graph([self.node()], "one", infos, outputs)
        return helper.make_model(graph, opset_imports=self.imports(), ir_version=10 if self.opset < 23 else 12)

    def in_branch(self) -> onnx.ModelProto:
        """The call in a branch of an If, its inputs captured from outside."""
        proto = self.model()
        node = proto.graph.node.pop()
        outputs = [onnx.ValueInfoProto(name=o) for o in node.output]
        branches = [helper.make_graph([node], f"b{k}", [], outputs) for k in range(2)]
        for name, branch in zip(("x", "y"), branches, strict=True):
            branch.node[0].output[:] = [f"{name}{o}" for o in node.output]
            for info, output in zip(branch.output, branch.node[0].output, strict=True):
                info.name = output
        chosen = helper.make_node("If", ["c"], list(node.output), then_branch=branches[0], else_branch=branches[1])
        proto.graph.node.append(chosen)
        proto.graph.input.append(helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, []))
        return proto

    def in_function(self) -> onnx.ModelProto:
        """The call in a function, which gets its inputs from the caller."""
        proto = self.model()
        node = proto.graph.node.pop()
        given = [n for n in node.input if n]
        function = helper.make_function("local", "F", given, list(node.output), [node], self.imports())
        proto.functions.append(function)
        proto.graph.node.append(helper.make_node("F", given, list(node.output), domain="local"))
        proto.opset_import.append(helper.make_opsetid("local", 1))
        return proto

    def imports(self) -> list[onnx.OperatorSetIdProto]:
        """Versions of the domains."""
        own = [helper.make_opsetid(self.domain, 1)] if self.domain else []
        return [helper.make_opsetid("", self.opset), *own]

    def fed(self) -> dict[str, np.ndarray]:
        """What a run is fed; ONNX Runtime cannot be fed types that numpy does not have itself."""
        first = np.asarray(self.inputs[0])
        return {} if first.dtype in _NOT_FED else {"i0": first}

    def refused_by_stock(self) -> str:
        """What ONNX Runtime says against it, with nothing optimised; empty if it runs it."""
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        try:
            data = self.model().SerializeToString()
            session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
            session.run(None, self.fed())
        except _REFUSALS as error:
            return str(error)
        except RuntimeError as error:
            if _NOT_FETCHED not in str(error):
                raise
        return ""


def floats(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.ones(shape, dtype)


def signed(*shape: int) -> np.ndarray:
    return np.ones(shape, np.int8)


def unsigned(*shape: int) -> np.ndarray:
    return np.ones(shape, np.uint8)


def sums(*shape: int, value: int = 1) -> np.ndarray:
    return np.full(shape, value, np.int32)


def errors(model: onnx.ModelProto) -> list[Finding]:
    """The errors that `check` finds."""
    return [f for f in check(model) if f.severity is Severity.ERROR]
