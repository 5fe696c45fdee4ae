"""Every operator that changed between opsets, alone in a model, before and after its conversion."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from anybit import Session, load
from anybit.errors import UnsupportedError, UsageError
from anybit.io.opset import NEWEST, OLDEST_TARGET, convert_opset
from anybit.io.opset_adapters import ADAPTERS
from anybit.io.save import to_proto
from anybit.ops.standard_schemas import standard_schema
from tests.ops.running import session

RNG = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


X = floats(2, 3, 4, 5)
EMPTY = np.zeros(0, np.float32)
CORNERS = {"coordinate_transformation_mode": "align_corners", "mode": "linear"}
NORM = [floats(3), floats(3), floats(3), np.abs(floats(3))]

# Operator, opset, inputs (the first is fed, the others are constants), attributes, number of outputs.
Case = tuple[str, int, list[np.ndarray | None], dict[str, Any], int]
UP: list[Case] = [
    ("Softmax", 7, [X], {}, 1),
    ("Softmax", 12, [X], {"axis": 2}, 1),
    ("Softmax", 12, [X], {"axis": 3}, 1),
    ("Softmax", 11, [X], {"axis": -1}, 1),
    ("Softmax", 12, [floats(2, 5, 1, 1)], {}, 1),
    ("LogSoftmax", 9, [X], {}, 1),
    ("Hardmax", 12, [X], {"axis": 0}, 1),
    ("Clip", 7, [np.float32([1, np.inf, -np.inf, np.nan])], {}, 1),
    ("Clip", 10, [X], {"min": 0.0}, 1),
    ("Clip", 10, [X.astype(np.float64)], {"max": 0.5, "min": -0.5}, 1),
    ("Pad", 7, [X], {"pads": [0, 0, 1, 2, 0, 0, 3, 4]}, 1),
    ("Pad", 10, [X], {"pads": [0, 0, 1, 2, 0, 0, 3, 1], "value": 2.0}, 1),
    ("Pad", 10, [X], {"pads": [0, 0, 1, 2, 0, 0, 1, 1], "mode": "reflect"}, 1),
    ("Slice", 9, [X], {"starts": [1, 0], "ends": [3, 1000], "axes": [2, 3]}, 1),
    ("Slice", 7, [X], {"starts": [0, 1, -2], "ends": [1, 3, 100]}, 1),
    ("TopK", 9, [X], {"k": 2, "axis": 2}, 2),
    ("Upsample", 7, [X], {"scales": [1.0, 1.0, 2.0, 3.0]}, 1),
    ("Upsample", 9, [X, np.float32([1, 1, 2, 3])], {}, 1),
    ("Upsample", 9, [X, np.float32([1, 1, 2, 2])], {"mode": "linear"}, 1),
    ("Resize", 10, [X, np.float32([1, 1, 3, 3])], {}, 1),
    ("Resize", 10, [X, np.float32([1, 1, 0.6, 0.5])], {}, 1),
    ("Resize", 10, [X, np.float32([1, 1, 1.7, 2.3])], {"mode": "linear"}, 1),
    ("Resize", 11, [X, EMPTY, EMPTY, ints(2, 3, 7, 9)], CORNERS, 1),
    ("ReduceSum", 12, [X], {"axes": [1, 3], "keepdims": 0}, 1),
    ("ReduceSum", 7, [X], {}, 1),
    ("ReduceMean", 9, [X], {"axes": [2, 3]}, 1),
    ("ReduceMax", 17, [X], {"axes": [-1]}, 1),
    ("ReduceL2", 13, [X], {"axes": [0]}, 1),
    ("ReduceLogSumExp", 11, [X], {}, 1),
    ("Squeeze", 9, [floats(1, 3, 1)], {"axes": [0]}, 1),
    ("Squeeze", 12, [floats(1, 3, 1)], {}, 1),
    ("Unsqueeze", 11, [X], {"axes": [0, -1]}, 1),
    ("Split", 12, [X], {"axis": 3, "split": [2, 3]}, 2),
    ("Split", 7, [X], {"axis": 2}, 2),
    ("Split", 13, [X], {"axis": 2}, 4),
    ("Dropout", 7, [X], {"ratio": 0.3}, 1),
    ("Dropout", 10, [X], {}, 1),
    ("BatchNormalization", 8, [X, *NORM], {"spatial": 1}, 1),
    ("BatchNormalization", 13, [X, *NORM], {"epsilon": 1e-3}, 1),
    ("GridSample", 16, [X, np.tanh(floats(2, 3, 3, 2))], {}, 1),
    ("GridSample", 16, [X, np.tanh(floats(2, 3, 3, 2))], {"mode": "bicubic"}, 1),
    ("DFT", 17, [floats(2, 8, 3, 1)], {"axis": 2}, 1),
    ("DFT", 19, [floats(2, 8, 1)], {}, 1),
    ("GroupNormalization", 18, [floats(2, 6, 4), floats(3), floats(3)], {"num_groups": 3}, 1),
    (
        "RoiAlign",
        10,
        [floats(1, 2, 8, 8), np.float32([[0, 0, 5, 6]]), ints(0)],
        {"output_height": 3, "output_width": 2},
        1,
    ),
    ("Scatter", 9, [floats(3, 4), ints(0, 2).reshape(1, 2), floats(1, 2)], {"axis": 1}, 1),
    ("MaxPool", 8, [X], {"kernel_shape": [2, 2], "strides": [2, 2]}, 1),
    ("MaxPool", 12, [X], {"kernel_shape": [2, 2], "strides": [3, 3], "ceil_mode": 1, "pads": [1, 1, 1, 1]}, 1),
    ("AveragePool", 19, [X], {"kernel_shape": [2, 2], "strides": [3, 3], "ceil_mode": 1, "pads": [1, 1, 1, 1]}, 1),
    ("ConvTranspose", 7, [X, floats(3, 2, 3, 3)], {"strides": [2, 2], "pads": [1, 1, 1, 1]}, 1),
    ("Gemm", 7, [floats(2, 3), floats(3, 4), floats(4)], {}, 1),
    ("DepthToSpace", 7, [floats(1, 8, 2, 2)], {"blocksize": 2}, 1),
    ("DequantizeLinear", 10, [np.int8([[1, 2], [3, 4]]), np.float32(0.5), np.int8(1)], {}, 1),
    ("QuantizeLinear", 10, [X, np.float32(0.5), np.int8(1)], {}, 1),
    ("LSTM", 7, [floats(3, 2, 4), floats(1, 20, 4), floats(1, 20, 5)], {"hidden_size": 5}, 3),
    ("Shape", 7, [X], {}, 1),
    ("Reshape", 7, [X, ints(2, 0, -1)], {}, 1),
]
DOWN: list[Case] = [
    ("Softmax", 21, [X], {"axis": 1}, 1),
    ("Softmax", 13, [X], {}, 1),
    ("Softmax", 21, [floats(2, 5, 1, 1)], {"axis": 1}, 1),
    ("ReduceSum", 21, [X, ints(1, 3)], {"keepdims": 0}, 1),
    ("ReduceMean", 21, [X, ints(-1)], {"noop_with_empty_axes": 1}, 1),
    ("ReduceMax", 20, [X], {}, 1),
    ("ReduceMax", 20, [X, ints()], {}, 1),
    ("Squeeze", 21, [floats(1, 3, 1), ints(2)], {}, 1),
    ("Unsqueeze", 13, [X, ints(0, -1)], {}, 1),
    ("Split", 21, [X, ints(2, 3)], {"axis": 3}, 2),
    ("Split", 21, [X], {"axis": 3, "num_outputs": 2}, 2),
    ("Split", 21, [X], {"axis": 2, "num_outputs": 4}, 4),
    ("Pad", 21, [X, ints(1, 2, 3, 4), None, ints(-1, 2)], {}, 1),
    ("Pad", 21, [X, ints(0, 0, 1, 2, 0, 0, 1, 1), np.float32(3)], {"mode": "constant"}, 1),
    ("Resize", 21, [X, None, np.float32([1, 1, 2, 2])], {"antialias": 0, "keep_aspect_ratio_policy": "stretch"}, 1),
    ("Resize", 13, [X, None, None, ints(2, 3, 7, 9)], CORNERS, 1),
    ("Reshape", 21, [X, ints(6, -1)], {"allowzero": 1}, 1),
    ("Cast", 21, [X], {"to": 6, "saturate": 1}, 1),
    ("QuantizeLinear", 21, [X, np.float32(0.5), np.int8(1)], {"axis": 1, "block_size": 0}, 1),
    ("DequantizeLinear", 23, [np.int8([[1, 2]]), np.float32(0.5), np.int8(1)], {"output_dtype": 0}, 1),
    ("Dropout", 13, [X, np.float32(0.25)], {}, 1),
    ("Shape", 19, [X], {"start": 0}, 1),
    ("AveragePool", 21, [X], {"kernel_shape": [2, 2], "dilations": [1, 1], "ceil_mode": 0}, 1),
    ("BatchNormalization", 15, [X, *NORM], {"training_mode": 0}, 1),
    ("Clip", 13, [X, np.float32(-0.5), np.float32(0.5)], {}, 1),
    ("Gemm", 13, [floats(2, 3), floats(3, 4)], {}, 1),
    ("TopK", 11, [X, ints(2)], {"axis": 2, "largest": 0}, 2),
]


def one(case: Case, *, fed: int = 1) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """A model of one node whose first inputs are fed; the others are initializers."""
    op_type, opset, inputs, attributes, outputs = case
    names = ["" if a is None else f"i{k}" for k, a in enumerate(inputs)]
    feeds = {n: a for n, a in zip(names[:fed], inputs[:fed], strict=True) if a is not None}
    node = helper.make_node(op_type, names, [f"y{k}" for k in range(outputs)], "the node", **attributes)
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in feeds.items()],
        [onnx.ValueInfoProto(name=n) for n in node.output],
        [onnx.numpy_helper.from_array(a, n) for n, a in zip(names[fed:], inputs[fed:], strict=True) if a is not None],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), feeds


def run_ort(proto: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    copy = onnx.ModelProto.FromString(proto.SerializeToString())
    copy.ir_version = min(copy.ir_version, 10)
    return session(copy, optimize=False).run(None, feeds)


def run_reference(proto: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    return list(Session(proto, engine="reference").run(feeds).values())


def assert_same(case: Case, target: int) -> None:
    proto, feeds = one(case)
    converted = to_proto(convert_opset(load(proto), target))
    assert converted.opset_import[0].version == target
    if case[0] != "GroupNormalization":  # onnx infers no type for it
        onnx.checker.check_model(converted)
    # onnx's reference, behind ours, knows no RoiAlign of 10, GridSample of 16, Scatter: there ONNX Runtime decides.
    engines = [run_ort] if case[0] in ("RoiAlign", "GridSample", "Scatter") else [run_reference, run_ort]
    if case[0] in ("GroupNormalization", "DFT") or feeds["i0"].dtype == np.float64:  # not in ONNX Runtime
        engines = [run_reference]
    for run in engines:
        for ours, theirs in zip(run(converted, feeds), run(proto, feeds), strict=True):
            assert ours.dtype == theirs.dtype
            # Kernels of two versions may add up in another order; all else would be far outside of this.
            np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


def _named(case) -> str:
    return f"{case[0]}-{case[1]}-{case[3]}" if isinstance(case, tuple) else str(case)


@pytest.mark.parametrize(("case", "target"), [(c, t) for c in UP for t in (13, 18, 21) if c[1] < t], ids=_named)
def test_up(case, target):
    assert_same(case, target)


@pytest.mark.parametrize(("case", "target"), [(c, t) for c in DOWN for t in (18, 13, 11) if c[1] > t], ids=_named)
def test_down(case, target):
    assert_same(case, target)


def test_up_to_the_newest():
    """No engine runs all of the newest operators: at least onnx's checker takes them."""
    for case in (c for c in UP if c[0] != "GroupNormalization"):
        newest = convert_opset(load(one(case)[0]), NEWEST)
        onnx.checker.check_model(to_proto(newest))
        assert newest.opset_imports[""] == NEWEST


REFUSED: list[tuple[Case, int, str]] = [
    (("BatchNormalization", 8, [X, *NORM], {"spatial": 0}, 1), 9, "spatial"),
    (("BatchNormalization", 12, [X, *NORM], {}, 5), 14, "training"),
    (("BatchNormalization", 15, [X, *NORM], {"training_mode": 1}, 1), 13, "training_mode"),
    (("Resize", 10, [X, np.float32([1, 1, 0.5, 2])], {}, 1), 11, "nearest"),
    (("ConvTranspose", 7, [X, floats(3, 2, 3, 3)], {"auto_pad": "SAME_UPPER"}, 1), 11, "padding"),
    (("GroupNormalization", 18, [X, *NORM[:2]], {"num_groups": 3}, 1), 20, "no operator GroupNormalization"),
    (("LayerNormalization", 17, [X, floats(5)], {}, 1), 16, "no operator LayerNormalization"),
    (("Reshape", 14, [X, ints(6, 0, -1)], {"allowzero": 1}, 1), 13, "allowzero"),
    (("Relu", 14, [ints(1)], {}, 1), 13, "type of 'X'"),
    (("Cast", 21, [X], {"to": int(onnx.TensorProto.INT4)}, 1), 20, "type of 'output'"),
    (("Pad", 19, [X, ints(0, 0, 1, 1, 0, 0, 1, 1)], {"mode": "wrap"}, 1), 18, "wrap"),
    (("Resize", 19, [X, None, np.float32([1, 1, 2, 2])], {"coordinate_transformation_mode": "half_pixel_symmetric"}, 1),
     18, "half_pixel_symmetric"),
    (("Resize", 18, [X, None, np.float32([2, 2])], {"axes": [2, 3]}, 1), 17, "axes"),
    (("ScatterND", 18, [floats(3), ints(0).reshape(1, 1), floats(1)], {"reduction": "max"}, 1), 17, "max"),
    (("RoiAlign", 16, [floats(1, 2, 8, 8), floats(1, 4), ints(0)], {}, 1), 15, "coordinate_transformation_mode"),
    (("DequantizeLinear", 13, [np.int8([[1, 2]]), np.float32([0.5, 1])], {"axis": 1}, 1), 12, "a scale per channel"),
    (("ReduceMax", 18, [X], {"noop_with_empty_axes": 1}, 1), 17, "noop_with_empty_axes"),
]  # fmt: skip


@pytest.mark.parametrize(("case", "target", "text"), REFUSED, ids=lambda c: str(c)[:40])
def test_refused_with_the_name_of_the_node(case, target, text):
    source = load(one(case)[0])
    with pytest.raises(UnsupportedError, match=rf"{case[0]} 'the node'.*{text}"):
        convert_opset(source, target)


def test_axes_that_are_computed_cannot_become_attributes():
    proto, _ = one(("ReduceMax", 18, [X, ints(1)], {}, 1), fed=2)
    with pytest.raises(UnsupportedError, match=r"'axes' must become an attribute.*fold constants first"):
        convert_opset(load(proto), 17)


@pytest.mark.parametrize(("opset", "target"), [(21, OLDEST_TARGET - 1), (21, NEWEST + 1), (21, 0)])
def test_versions_that_do_not_exist(opset, target):
    with pytest.raises(UsageError, match="opset"):
        convert_opset(load(one(("Relu", opset, [X], {}, 1))[0]), target)


def test_every_adapter_stands_at_a_version_at_which_its_operator_changed():
    for op_type, version in ADAPTERS:
        schema = onnx.defs.get_schema(op_type, version, "")
        changed = schema.since_version == version or (op_type, version) == ("Upsample", 10)
        assert changed, (op_type, version)


def test_operators_whose_signature_changed_have_an_adapter_or_need_none():
    """Each operator whose number of inputs differs between versions has an adapter, or only gained optional inputs."""
    names = {s.name for s in onnx.defs.get_all_schemas_with_history() if s.domain == ""}
    missing: list[tuple[str, int]] = []
    for name in sorted(names):
        for version in range(8, NEWEST + 1):
            older, newer = standard_schema(name, version - 1), standard_schema(name, version)
            if older is None or newer is None or newer.since_version != version:
                continue
            lost = [a for a in older.attributes if a not in newer.attributes]
            needed = newer.min_input > older.min_input
            if (lost or needed) and (name, version) not in ADAPTERS:
                missing.append((name, version))
    assert missing == []
