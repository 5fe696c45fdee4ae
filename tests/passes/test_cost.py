"""Every pass of the catalogue, and `clean`, on chains of 100 and of 1,000 nodes: ten times the calls, not a hundred."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

import anybit
from anybit.cleanup.infer_shapes import InferShapes
from anybit.io.load import load
from anybit.ops.operator import DOMAIN
from anybit.passes.catalog import catalog, parse_pass
from tests.counting import calls
from tests.models import model

SHORT, LONG = 100, 1000
LIMIT = 12
"""Of the costs of both lengths: ten for what is linear, and something for sets that are sorted."""

Link = Callable[[str, str, str], list[onnx.NodeProto]]
"""Nodes of one link of a chain: from its input, its output, and a prefix for the names in between."""

RNG = np.random.default_rng(0)
CONSTANTS: Mapping[str, np.ndarray] = {
    "one": np.float32(1), "zero": np.float32(0), "two": np.float32(2), "bits": np.float32(4), "six": np.float32(6),
    "step": np.float32(0.25), "fine": np.float32(0.0625), "c": RNG.normal(size=(4, 1, 1)).astype(np.float32),
    "b": np.float32([1, 2, 3, 4]), "yes": np.array(True), "wide": np.float64(1.5), "row": np.array([1, 4]),
    "k": RNG.normal(size=(4, 4, 1, 1)).astype(np.float32), "k1": RNG.normal(size=(4, 4, 1)).astype(np.float32),
    "k3": RNG.normal(size=(4, 4, 3, 3)).astype(np.float32), "k16": RNG.normal(size=(16, 4, 1, 1)).astype(np.float32),
    "w": RNG.normal(size=(4, 4)).astype(np.float32), "rows": np.array([-1, 4]), "none": np.float32([]),
    "double": np.float32([1, 1, 2, 2]), "from": np.array([0]), "to": np.array([4]), "axis": np.array([1]),
    "border": np.array([0, 0, 0, 0, 0, 0, 1, 1]), "image": np.array([1, 4, 4, 1]),
}  # fmt: skip


def node(op_type: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op_type, inputs, [output], f"{output}_node", **attributes)


def quant(x: str, y: str) -> onnx.NodeProto:
    settings = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
    return node("Quant", [x, "step", "zero", "bits"], y, domain=DOMAIN, **settings)


def image(x: str, y: str, p: str) -> list[onnx.NodeProto]:
    return [
        quant("k", f"{p}k"),
        node("Conv", [x, f"{p}k", "b"], f"{p}1", kernel_shape=[1, 1]),
        node("BatchNormalization", [f"{p}1", "b", "b", "b", "b"], f"{p}2"),
        node("Relu", [f"{p}2"], f"{p}3"),
        quant(f"{p}3", f"{p}4"),
        node("Sub", [f"{p}4", "one"], f"{p}5"),
        node("Div", [f"{p}5", "two"], f"{p}6"),
        node("Add", ["c", f"{p}6"], f"{p}7"),
        node("Identity", [f"{p}7"], f"{p}8"),
        node("MaxPool", [f"{p}8"], y, kernel_shape=[1, 1]),
    ]


def floats(x: str, y: str, p: str) -> list[onnx.NodeProto]:
    return [
        node("Conv", [x, "k", "b"], f"{p}1", kernel_shape=[1, 1]),
        node("BatchNormalization", [f"{p}1", "b", "b", "b", "b"], f"{p}2"),
        node("Relu", [f"{p}2"], y),
    ]


def dense(x: str, y: str, p: str) -> list[onnx.NodeProto]:
    return [
        node("Gemm", [x, "w", "b"], f"{p}1", transB=1),
        node("Relu", [f"{p}1"], f"{p}2"),
        node("Transpose", [f"{p}2"], f"{p}3", perm=[1, 0]),
        node("Transpose", [f"{p}3"], f"{p}4", perm=[1, 0]),
        node("Reshape", [f"{p}4", "rows"], f"{p}5"),
        node("Slice", [f"{p}5", "from", "to", "axis"], y),
    ]


def twice(x: str, y: str, p: str) -> list[onnx.NodeProto]:
    """Two equal branches, a constant that is computed, and a shape."""
    return [
        node("Abs", [x], f"{p}1"),
        node("Abs", [x], f"{p}2"),
        node("Exp", ["b"], f"{p}3"),
        node("Sum", [f"{p}1", f"{p}2", f"{p}3"], f"{p}4"),
        node("Shape", [f"{p}4"], f"{p}5"),
        node("Reshape", [f"{p}4", f"{p}5"], y),
    ]


def branches(x: str, y: str, p: str) -> list[onnx.NodeProto]:
    graphs = {
        name: helper.make_graph(
            [node(kind, [x], f"{p}{name}")], name, [], [helper.make_tensor_value_info(f"{p}{name}", 1, None)]
        )
        for name, kind in (("then_branch", "Neg"), ("else_branch", "Abs"))
    }
    return [node("If", ["yes"], f"{p}1", **graphs), node("Neg", [f"{p}1"], y)]


def weights_turned(x: str, y: str, p: str) -> list[onnx.NodeProto]:
    return [quant("w", f"{p}1"), node("Transpose", [f"{p}1"], f"{p}2"), node("MatMul", [x, f"{p}2"], y)]


def doubles(x: str, y: str, p: str) -> list[onnx.NodeProto]:
    return [node("Mul", [x, "wide"], f"{p}1"), node("Neg", [f"{p}1"], y)]


def signals(x: str, y: str, p: str) -> list[onnx.NodeProto]:
    return [node("Conv", [x, "k1", "b"], f"{p}1", kernel_shape=[1]), node("Relu", [f"{p}1"], y)]


def pools(x: str, y: str, p: str) -> list[onnx.NodeProto]:
    return [
        quant(x, f"{p}1"),
        node("AveragePool", [f"{p}1"], f"{p}2", kernel_shape=[2, 2]),
        node("Trunc", [f"{p}2", "fine", "zero", "six", "bits"], f"{p}3", domain=DOMAIN, rounding_mode="FLOOR"),
        node("Pad", [f"{p}3", "border"], y),
    ]


def integer_pools(x: str, y: str, p: str) -> list[onnx.NodeProto]:
    del p
    settings = {"kernel": 1, "stride": 1, "ibits": 4, "obits": 4, "signed": 1, "data_layout": "NCHW"}
    return [node("QuantAvgPool2d", [x], y, domain=DOMAIN, **settings)]


def enlarged(x: str, y: str, p: str) -> list[onnx.NodeProto]:
    return [
        node("Resize", [x, "none", "double"], f"{p}1", mode="nearest", coordinate_transformation_mode="asymmetric",
             nearest_mode="floor"),
        node("Conv", [f"{p}1", "k3"], f"{p}2", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("MaxPool", [f"{p}2"], y, kernel_shape=[2, 2], strides=[2, 2]),
    ]  # fmt: skip


def subpixels(x: str, y: str, p: str) -> list[onnx.NodeProto]:
    return [
        node("Conv", [x, "k16"], f"{p}1", kernel_shape=[1, 1]),
        node("DepthToSpace", [f"{p}1"], f"{p}2", blocksize=2),
        node("MaxPool", [f"{p}2"], y, kernel_shape=[2, 2], strides=[2, 2]),
    ]


def windows(x: str, y: str, p: str) -> list[onnx.NodeProto]:
    settings = {"kernel_size": [2, 2], "stride": [2, 2], "pad_amount": [0] * 4, "dilations": [1, 1], "depthwise": 0}
    return [
        node("Im2Col", [x], f"{p}1", domain=DOMAIN, input_shape="(1,4,4,1)", pad_value=0, **settings),
        node("Reshape", [f"{p}1", "image"], y),
    ]


def padded(x: str, y: str, p: str) -> list[onnx.NodeProto]:
    return [node("Pad", [x], f"{p}1", pads=[0, 0, 0, 0]), node("Neg", [f"{p}1"], y)]


def reshaped(x: str, y: str, p: str) -> list[onnx.NodeProto]:
    return [node("Neg", [x], f"{p}1"), node("Reshape", [f"{p}1", "row"], y)]


def cut(x: str, y: str, p: str) -> list[onnx.NodeProto]:
    return [
        node("Slice", [x, "from", "to", "axis"], f"{p}1"),
        node("Slice", [f"{p}1", "from", "to", "from"], y),
    ]


def dead(x: str, y: str, p: str) -> list[onnx.NodeProto]:
    return [node("Neg", [x], y), node("Abs", [x], f"{p}1")]


def weighted(x: str, y: str, p: str) -> list[onnx.NodeProto]:
    """Each link has weights of its own, all of them equal."""
    return [node("MatMul", [x, f"{p}own"], f"{p}1"), node("Relu", [f"{p}1"], y)]


SHAPES: Mapping[Link, Sequence[int | str]] = {
    dense: ("N", 4), twice: (2, 4), branches: (2, 4), weights_turned: (2, 4), doubles: (2, 4), signals: (1, 4, 5),
    windows: (1, 4, 4, 1), padded: (2, 4), reshaped: (1, 4), cut: (2, 4), dead: (2, 4), weighted: (2, 16),
}  # fmt: skip
IMAGE = (1, 4, 4, 4)

pytestmark = pytest.mark.slow


@cache
def chain(link: Link, length: int, *, defaults: bool = False) -> ir.Model:
    """So many links that there are about so many nodes; weights of links may be inputs with defaults."""
    count = length // len(link("a", "b", "c"))
    nodes = [n for i in range(count) for n in link(f"t{i}", f"t{i + 1}", f"m{i}_")]
    used = {name for n in nodes for name in n.input} | {"yes"}
    constants = {k: v for k, v in CONSTANTS.items() if k in used}
    own = {name: np.eye(16, dtype=np.float32) for name in sorted(used) if name.endswith("own")}
    inputs = {"t0": SHAPES.get(link, IMAGE)} | (dict.fromkeys(own, (16, 16)) if defaults else {})
    kind = onnx.TensorProto.DOUBLE if link is doubles else onnx.TensorProto.FLOAT
    proto = model(nodes, constants | own, inputs=inputs, outputs=[f"t{count}"], input_type=kind)
    proto.graph.output[0].type.tensor_type.elem_type = kind
    loaded = ir.from_proto(proto) if link is padded else load(proto)  # load repairs what is padded
    InferShapes()(loaded)
    return loaded


CASES: Mapping[str, tuple[str, Link]] = {
    "apply-configuration": ('nodes={"m#_4_node": {"narrow": 1}}', image),
    "average-pool-to-integer": ("", pools),
    "conv-1d-to-2d": ("", signals),
    "convert-opset": ("version=23", image),
    "create-partitions": ('patterns={"p#": ["m#_1_node", "m#_2_node"]}', image),
    "double-to-float": ("", doubles),
    "expose-tensors": ('tensors=["m*_4"]', image),
    "fix-defaults": ("", weighted),
    "fold-branches": ("", branches),
    "fold-constants": ("", twice),
    "fold-shapes": ("", twice),
    "fold-transpose": ("", weights_turned),
    "fuse-linear": ("", floats),
    "gemm-to-matmul": ("", dense),
    "inline-partitions": ("", image),
    "insert-quantizers": ('tensors={"m#_3": {"bits": 4, "scale": 0.5}}', image),
    "mask-channels": ('tensors={"m#_1": {"1": [1]}}', floats),
    "merge-equal-nodes": ("", twice),
    "merge-initializers": ("", weighted),
    "merge-movements": ("", dense),
    "merge-slices": ("", cut),
    "pad-to-inputs": ("", padded),
    "prune-by-magnitude": ("sparsity=0.25", floats),
    "prune-channels": ('masks={"m#_1_node": [1]}', floats),
    "quant-avg-pool-to-channels-last": ("", integer_pools),
    "quantize-parameters": ("number_format=FIXED<8,4>", image),
    "rebalance-im2col": ("channels=2", windows),
    "remove-unused": ("", dead),
    "resize-conv-to-deconv": ("", enlarged),
    "set-batch": ("batch=3", reshaped),
    "set-input-shape": ('shapes={"t0": [3, 4]}', dense),
    "subpixel-to-deconv": ("", subpixels),
    "unique-parameters": ("operators=[]", image),
}
"""Options, where # stands for the number of each link, and a chain with something to do; else it is `image`."""
FINDS_NOTHING = {"infer-shapes", "sort-nodes"}
"""Their work is what they look at."""


def step_of(name: str, links: int) -> ir.passes.PassBase:
    """The pass with its options, those with # repeated for every link but the last."""
    options = CASES.get(name, ("", image))[0]
    entry = options[options.find("{") + 1 : -1]
    if "#" in options:
        options = options.replace(entry, ",".join(entry.replace("#", str(i)) for i in range(links - 1)))
    return parse_pass(f"{name}:{options}")


def prepared(name: str, length: int) -> tuple[ir.Model, ir.passes.PassBase]:
    link = CASES.get(name, ("", image))[1]
    links = length // len(link("a", "b", "c"))
    source = chain(link, length, defaults=name == "fix-defaults").clone()
    if name == "inline-partitions":
        step_of("create-partitions", links)(source)
    return source, step_of(name, links)


def cost(name: str, length: int) -> int:
    source, step = prepared(name, length)
    return calls(lambda: step(source))


@pytest.mark.parametrize("name", catalog())
def test_a_pass_on_a_chain_is_linear(name):
    source, step = prepared(name, 40)
    assert step(source).modified or name in FINDS_NOTHING
    assert cost(name, LONG) < LIMIT * cost(name, SHORT)


@pytest.mark.parametrize("link", [image, floats, dense, twice])
def test_cleaning_a_chain_is_linear(link):
    def cost(length: int) -> int:
        source = chain(link, length)
        return calls(lambda: anybit.clean(source))

    cost(20)
    assert cost(LONG) < LIMIT * cost(SHORT)
