"""The reference engine: control flow against ONNX Runtime, and how it says that a node cannot be run."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from anybit.engines.reference.backend import ReferenceBackend
from anybit.errors import AnybitError, InputError, InvalidModelError, LimitError, UnsupportedError
from tests.ops.running import session

Feeds = dict[str, Any]


def _model(nodes: list[onnx.NodeProto], feeds: Feeds, outputs: list[str], opset: int) -> onnx.ModelProto:
    infos = [
        helper.make_tensor_sequence_value_info(n, TensorProto.FLOAT, None)
        if isinstance(x, list)
        else helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for n, x in feeds.items()
    ]
    graph = helper.make_graph(nodes, "g", infos, [onnx.ValueInfoProto(name=o) for o in outputs])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def _reference(proto: onnx.ModelProto, feeds: Feeds) -> list[Any]:
    model = ir.from_proto(proto)
    return list(ReferenceBackend(model, list(model.graph.outputs)).run(feeds))


def _floats(*names: str, shape: list[int] | None = None) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in names]


@pytest.mark.parametrize("lengths", [None, np.array([4, 2, 1])])
@pytest.mark.parametrize("directions", [[0, 0], [1, 0], [1, 1]])
def test_scan_of_version_8_has_a_batch(lengths: np.ndarray | None, directions: list[int]) -> None:
    body = helper.make_graph(
        [
            helper.make_node("Add", ["s", "a"], ["t"]),
            helper.make_node("Mul", ["t", "b"], ["u"]),
            helper.make_node("Identity", ["t"], ["out"]),
        ],
        "body",
        _floats("s", "a", "b", shape=[2]),
        _floats("t", "u", "out", shape=[2]),
    )
    rng = np.random.default_rng(0)
    feeds: Feeds = {n: rng.standard_normal(s).astype(np.float32) for n, s in (("s0", (3, 2)), ("x", (3, 4, 2)))}
    feeds["y"] = feeds["x"] + 1
    names = ["" if lengths is None else "lengths", "s0", "x", "y"]
    node = helper.make_node("Scan", names, ["f", "p", "q"], body=body, num_scan_inputs=2, directions=directions)
    if lengths is not None:
        feeds["lengths"] = lengths
    model = _model([node], feeds, ["f", "p", "q"], 8)
    for ours, theirs in zip(_reference(model, feeds), session(model, optimize=False).run(None, feeds), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_sequence_map_takes_sequences_and_tensors() -> None:
    body = helper.make_graph(
        [helper.make_node("Add", ["a", "b"], ["t"]), helper.make_node("Mul", ["t", "c"], ["u"])],
        "body",
        _floats("a", "b", "c"),
        _floats("t", "u"),
    )
    feeds: Feeds = {
        "x": [np.float32([1, 2]), np.float32([[3]])],
        "y": [np.float32([5]), np.float32([7, 8])],
        "z": np.float32([2]),
    }
    node = helper.make_node("SequenceMap", ["x", "y", "z"], ["p", "q"], body=body)
    model = _model([node], feeds, ["p", "q"], 17)
    expected = session(model, optimize=False).run(None, feeds)
    for ours, theirs in zip(_reference(model, feeds), expected, strict=True):
        assert [a.tolist() for a in ours] == [a.tolist() for a in theirs]


@pytest.mark.parametrize(
    ("node", "inputs", "error", "text"),
    [
        (helper.make_node("Reshape", ["x", "s"], ["y"], "n"), {"s": np.array([5])}, InputError, "Reshape 'n'"),
        (helper.make_node("Squeeze", ["x", "s"], ["y"], "n"), {"s": np.array([1])}, InputError, "Squeeze 'n'"),
        (helper.make_node("Expand", ["x", "s"], ["y"], "n"), {"s": np.array([2**40, 2, 3])}, LimitError, "Expand 'n'"),
        (helper.make_node("LRN", ["x"], ["y"], "n"), {}, InputError, "LRN 'n'"),
        (helper.make_node("MaxRoiPool", ["x", "x"], ["y"], "n"), {}, InvalidModelError, "MaxRoiPool 'n'"),
        (helper.make_node("Resize", ["x", "", "s"], ["y"], "n", nearest_mode="up"), {"s": np.float32([1, 2])},
         InvalidModelError, "Resize 'n'"),
        (helper.make_node("RegexFullMatch", ["x"], ["y"], "n", pattern="("), {}, InputError, "RegexFullMatch 'n'"),
        (helper.make_node("NoSuch", ["x"], ["y"], "n"), {}, UnsupportedError, "NoSuch 'n'"),
    ],
)  # fmt: skip
def test_a_node_that_cannot_be_run_is_named(
    node: onnx.NodeProto, inputs: Feeds, error: type[AnybitError], text: str
) -> None:
    feeds = {"x": np.ones((2, 3), np.float32), **inputs}
    with pytest.raises(error, match=text):
        _reference(_model([node], feeds, ["y"], 21), feeds)


def test_scalars_between_nodes_stay_arrays() -> None:
    names = ("Sqrt", "Softsign", "Softplus", "Elu", "Selu", "HardSigmoid", "Neg", "Shrink", "Celu", "Mish")
    nodes = [helper.make_node(op, [f"t{k}"], [f"t{k + 1}"]) for k, op in enumerate(names)]
    feeds: Feeds = {"t0": np.array(2.0, np.float32)}
    model = _model(nodes, feeds, [f"t{len(names)}"], 18)
    (ours,) = _reference(model, feeds)
    assert isinstance(ours, np.ndarray)
    np.testing.assert_allclose(ours, session(model, optimize=False).run(None, feeds)[0], rtol=1e-5)
