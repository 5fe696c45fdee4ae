"""Names that a pass gives are new ones: no node's output, in a subgraph or not, may have them already."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from anybit import load
from anybit.passes.catalog import parse_pass
from tests.models import model, parameters, quant
from tests.passes.surgery.surgery import graphs, node, valid

RNG = np.random.default_rng(0)


def _integers(*shape: int) -> np.ndarray:
    return RNG.integers(-3, 4, shape).astype(np.float32)


def _subpixel():
    nodes = [quant("w", "wq"), node("Conv", ["x", "wq", "b"], ["c"]), node("DepthToSpace", ["c"], ["y"], blocksize=2)]
    scale = np.exp2(RNG.integers(-2, 2, (4, 1, 1, 1))).astype(np.float32)
    weights = {"w": _integers(4, 2, 1, 1), "b": np.ones(4, np.float32)} | parameters("wq", scale=scale)
    return model(nodes, weights, inputs={"x": [1, 2, 3, 3]}, outputs=["y"])


def _resize():
    attributes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    nodes = [quant("w", "wq"), node("Resize", ["x", "", "s"], ["u"], **attributes), node("Conv", ["u", "wq"], ["y"])]
    weights = {"w": _integers(2, 2, 3, 3), "s": np.array([1, 1, 2, 2], np.float32)} | parameters("wq")
    return model(nodes, weights, inputs={"x": [1, 2, 3, 3]}, outputs=["y"])


def _layers():
    nodes = [
        node("MatMul", ["x", "w"], ["a"], name="first"),
        node("Reshape", ["a", "t"], ["r"]),
        node("MatMul", ["r", "v"], ["y"]),
        node("Neg", ["w"], ["other"]),  # keeps the old weight
    ]
    weights = {"w": np.zeros((4, 3), np.float32), "v": _integers(3, 2), "t": np.array([-1, 3])}
    return model(nodes, weights, inputs={"x": [2, 4]}, outputs=["y", "other"])


def _old():
    nodes = [
        node("Softmax", ["x"], ["s"], axis=1),
        node("Unsqueeze", ["s"], ["u"], axes=[0]),
        node("Clip", ["u"], ["y"], min=-1.0, max=1.0),
    ]
    return model(nodes, {}, inputs={"x": [2, 3, 2]}, outputs=["y"], opset=10)


def _new():
    return model([node("Softmax", ["x"], ["y"], axis=1)], {}, inputs={"x": [2, 3, 2]}, outputs=["y"], opset=13)


def _normalised():
    nodes = [
        quant("x", "q"),
        node("Sub", ["q", "two"], ["a"]),
        node("Div", ["a", "two"], ["d"]),
        node("Gemm", ["d", "w", "b"], ["y"], alpha=2.0, beta=2.0, transB=1),
    ]
    weights = {"two": np.float32(2), "w": _integers(3, 4), "b": _integers(3)} | parameters("q", zeropt=1)
    return model(nodes, weights, inputs={"x": [2, 4]}, outputs=["y"])


def _line():
    nodes = [node("Conv", ["x", "w", "b"], ["y"])]
    weights = {"w": _integers(2, 2, 3), "b": _integers(2)}
    return model(nodes, weights, inputs={"x": [1, 2, 5]}, outputs=["y"])


CASES = {
    "subpixel-to-deconv": _subpixel,
    "resize-conv-to-deconv": _resize,
    'prune-channels:masks={"first":[1]}': _layers,
    "convert-opset:version=21": _old,
    "convert-opset:version=12": _new,
    "sub-to-add": _normalised,
    "div-to-mul": _normalised,
    "gemm-to-matmul": _normalised,
    "extract-quant-scale": _normalised,
    "unique-parameters:operators=[]": _normalised,
    "insert-identity": _normalised,
    'insert-top-k:output="y"': _normalised,
    "extract-conv-bias": _line,
    "conv-1d-to-2d": _line,
}


def _defined(proto: onnx.ModelProto) -> set[str]:
    found: set[str] = set()
    for graph in graphs(proto.graph):
        found |= {t.name for t in graph.initializer} | {o for n in graph.node for o in n.output}
    return found


def _apply(text: str, proto: onnx.ModelProto):
    loaded = load(proto)
    assert parse_pass(text)(loaded).modified
    return loaded


@pytest.mark.parametrize("inside", [False, True], ids=["outermost", "branch"])
@pytest.mark.parametrize("text", CASES)
def test_no_name_is_given_twice(text, inside):
    proto = CASES[text]()
    known = _defined(proto)
    made = _apply(text, proto).graph
    new = sorted(({*made.initializers} | {str(o.name) for n in made for o in n.outputs}) - known)
    assert new
    _take(proto, new, inside=inside)
    valid(_apply(text, proto))


def _take(proto: onnx.ModelProto, names: list[str], *, inside: bool) -> None:
    """Nodes whose outputs have the names: in the outermost graph, or in a branch that is read."""
    constants = [node("Constant", [], [n], value=onnx.numpy_helper.from_array(np.zeros(1, np.float32))) for n in names]
    if not inside:
        proto.graph.node.extend(constants)
        return
    read = node("Sum", names, ["taken_sum"])
    output = helper.make_tensor_value_info("taken_sum", TensorProto.FLOAT, [1])
    branch = helper.make_graph([*constants, read], "branch", [], [output])
    other = helper.make_graph(
        [node("Constant", [], ["taken_other"], value=onnx.numpy_helper.from_array(np.zeros(1, np.float32)))],
        "other", [], [helper.make_tensor_value_info("taken_other", TensorProto.FLOAT, [1])],
    )  # fmt: skip
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.bool_(True), "taken_condition"))
    proto.graph.node.append(node("If", ["taken_condition"], ["taken"], then_branch=branch, else_branch=other))
    proto.graph.output.append(helper.make_tensor_value_info("taken", TensorProto.FLOAT, [1]))
