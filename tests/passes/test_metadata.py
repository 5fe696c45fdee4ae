"""What a file says of its nodes and tensors is said of what replaces them, by every pass, writer and reader."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

import anybit
from anybit import load
from anybit.formats.convert import WRITERS, to_hub, translate
from anybit.formats.dialect import Dialect, Outcome
from anybit.formats.qonnx.functions import embed_functions
from anybit.formats.qonnx.pack import pack
from anybit.formats.standard import write_standard
from anybit.graph.annotations import ANNOTATIONS
from anybit.passes.catalog import catalog, parse_pass
from tests.models import DOMAIN, model, parameters, quant

_RNG = np.random.default_rng
_KEY = "said"

# Nodes that these passes take away have nothing in their place: constants, copies, what nothing reads.
_REMOVING = frozenset(
    ("fold-constants", "fold-shapes", "merge-initializers", "merge-quantizers", "remove-identities", "remove-unused")
)
_ADDING = frozenset(("insert-identity", "insert-quantizers", "insert-top-k"))  # nodes that stand for none
_OPTIONS = {
    "convert-opset": "convert-opset:version=22",
    "expose-tensors": "expose-tensors:tensors=r",
    "extract-quant-scale": "extract-quant-scale",
    "fold-batch-norm": "fold-batch-norm:float_weights=true",
    "insert-quantizers": 'insert-quantizers:tensors={"h":{"bits":4,"scale":0.5}}',
    "insert-top-k": "insert-top-k:k=1",
    "prune-by-magnitude": "prune-by-magnitude:sparsity=0.5",
    "quantize-parameters": "quantize-parameters:number_format=FIXED<8,4>",
    "rebalance-im2col": "rebalance-im2col:channels=2",
    "set-batch": "set-batch:batch=2",
    "set-input-shape": 'set-input-shape:shapes={"x":[1,3,16,16]}',
    "sub-to-add": "sub-to-add:dynamic=true",
}


def _net() -> onnx.ModelProto:
    """Quantised Conv, BatchNormalization, pool with Trunc, transposed weights, Gemm, Sub and Div."""
    rng = _RNG(0)
    trunc = ["pooled", *(f"t_{k}" for k in ("scale", "zeropt", "in", "out_scale", "out"))]
    nodes = [
        quant("x", "q"),
        quant("w", "wq", narrow=1),
        helper.make_node("Conv", ["q", "wq", "b"], ["c"], "conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "g", "beta", "mean", "var"], ["n"], "norm"),
        helper.make_node("Relu", ["n"], ["r"], "relu"),
        quant("r", "rq", signed=0),
        helper.make_node("AveragePool", ["rq"], ["pooled"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Trunc", trunc, ["t"], "trunc", domain=DOMAIN, rounding_mode="FLOOR", signed=0),
        helper.make_node("GlobalAveragePool", ["t"], ["m"], "mean"),
        helper.make_node("Flatten", ["m"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "v", "k"], ["h"], "gemm", alpha=2.0, transB=1),
        quant("u", "uq"),
        helper.make_node("Transpose", ["uq"], ["ut"], "transpose", perm=[1, 0]),
        helper.make_node("MatMul", ["h", "ut"], ["p"], "matmul"),
        helper.make_node("Sub", ["p", "four"], ["s"], "sub"),
        helper.make_node("Div", ["s", "four"], ["y"], "div"),
    ]
    drawn = {"w": (4, 3, 3, 3), "b": (4,), "beta": (4,), "mean": (4,), "v": (5, 4), "k": (5,), "u": (6, 5)}
    constants = {k: rng.normal(size=s).astype(np.float32) for k, s in drawn.items()}
    constants |= {k: rng.uniform(0.5, 1, 4).astype(np.float32) for k in ("g", "var")} | {"four": np.float32(4)}
    scales = {"scale": 0.125, "zeropt": 0, "in": 6, "out_scale": 0.5, "out": 4}
    constants |= {f"t_{k}": np.float32(v) for k, v in scales.items()}
    for name in ("q", "wq", "rq", "uq"):
        constants |= parameters(name)
    return model(nodes, constants, inputs={"x": [1, 3, 8, 8]}, outputs=["y"])


def _layers() -> onnx.ModelProto:
    """Two quantised products with arithmetic and a quantiser behind them: what integer formats and thresholds take."""
    rng = _RNG(1)
    nodes = [
        quant("x", "q"),
        quant("w", "wq", narrow=1),
        helper.make_node("MatMul", ["q", "wq"], ["c"], "first"),
        helper.make_node("Mul", ["c", "half"], ["d"], "scaled"),
        helper.make_node("Relu", ["d"], ["r"], "relu"),
        quant("r", "rq", signed=0),
        helper.make_node("Reshape", ["rq", "shape"], ["e"], "reshape"),
        quant("v", "vq", narrow=1),
        helper.make_node("MatMul", ["e", "vq"], ["h"], "second"),
        quant("h", "y"),
    ]
    constants = {"w": rng.normal(size=(6, 4)), "v": rng.normal(size=(4, 3)), "half": np.array(0.5)}
    constants = {k: v.astype(np.float32) for k, v in constants.items()} | {"shape": np.int64([1, 4])}
    for name in ("q", "wq", "rq", "vq", "y"):
        constants |= parameters(name, scale=0.25)
    return model(nodes, constants, inputs={"x": [1, 6]}, outputs=["y"])


def _one_dimensional() -> onnx.ModelProto:
    nodes = [helper.make_node("Conv", ["x", "w"], ["r"], "conv"), helper.make_node("Relu", ["r"], ["y"], "relu")]
    return model(nodes, {"w": np.ones((4, 3, 3), np.float32)}, inputs={"x": [1, 3, 8]}, outputs=["y"])


def _enlarged() -> onnx.ModelProto:
    constants = {"scales": np.float32([1, 1, 2, 2]), "w": np.ones((4, 3, 3, 3), np.float32)}
    nodes = [
        helper.make_node("Resize", ["x", "", "scales"], ["r"], "resize", mode="nearest",
                         coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
        helper.make_node("Conv", ["r", "w"], ["y"], "conv", pads=[1, 1, 1, 1]),
    ]  # fmt: skip
    return model(nodes, constants, inputs={"x": [1, 3, 8, 8]}, outputs=["y"])


def _subpixel() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["r"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("DepthToSpace", ["r"], ["y"], "shuffle", blocksize=2),
    ]
    constants = {"w": np.ones((8, 3, 3, 3), np.float32)}
    return model(nodes, constants, inputs={"x": [1, 3, 8, 8]}, outputs=["y"])


def _double() -> onnx.ModelProto:
    nodes = [helper.make_node("Mul", ["x", "w"], ["r"], "mul"), helper.make_node("Relu", ["r"], ["y"], "relu")]
    return model(nodes, {"w": np.float64([1, 2])}, inputs={"x": [2]}, outputs=["y"], input_type=TensorProto.DOUBLE)


_MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    "conv-1d-to-2d": _one_dimensional,
    "double-to-float": _double,
    "resize-conv-to-deconv": _enlarged,
    "subpixel-to-deconv": _subpixel,
}


def _marked(loaded: ir.Model) -> ir.Model:
    """The model; each node and tensor says its name, in metadata, doc string and annotation."""
    for node in loaded.graph.all_nodes():
        node.metadata_props[f"of {node.name or node.outputs[0].name}"] = "yes"
        node.doc_string = f"doc of {node.name or node.outputs[0].name}"
        for value in node.outputs:
            value.meta[ANNOTATIONS] = {_KEY: str(value.name)}
    return loaded


def _check(before: list[tuple[ir.Node, str, str]], annotated: set[str], after: ir.Model, *, all_nodes: bool) -> None:
    """What each node that is gone said is said by another one; tensors that still have their name say it."""
    nodes = list(after.graph.all_nodes())
    old = {node for node, _, _ in before}
    for node in (n for n in nodes if all_nodes and any(o.uses() or o.is_graph_output() for o in n.outputs)):
        assert node in old or (node.metadata_props and node.doc_string), f"a {node.op_type} comes from nowhere"
    keys = {k for n in nodes for k in n.metadata_props}
    docs = "\n".join(n.doc_string or "" for n in nodes)
    for node, key, doc in before if all_nodes else ():
        assert key in keys, f"the metadata of {node.op_type} is lost"
        assert doc in docs, f"the doc string of {node.op_type} is lost"
    for value in (o for n in nodes for o in n.outputs if o.name in annotated):
        assert (value.meta.get(ANNOTATIONS) or {}).get(_KEY) == value.name, f"what was said of {value.name} is lost"


def _traces(loaded: ir.Model) -> tuple[list[tuple[ir.Node, str, str]], set[str]]:
    nodes = list(loaded.graph.all_nodes())
    said = [(n, next(k for k in n.metadata_props if k.startswith("of ")), str(n.doc_string)) for n in nodes]
    return said, {str(o.name) for n in nodes for o in n.outputs}


@pytest.mark.parametrize("name", [n for n in catalog() if n != "annotate-types"])
def test_passes(name: str):
    loaded = _marked(load(_MODELS.get(name, _net)()))
    said, annotated = _traces(loaded)
    result = parse_pass(_OPTIONS.get(name, name))(loaded)
    _check(said, annotated, result.model, all_nodes=name not in _REMOVING | _ADDING)


def test_the_passes_that_replace_nodes_did_so():
    for name in ("average-pool-to-integer", "batch-norm-to-affine", "conv-1d-to-2d", "conv-to-matmul", "div-to-mul",
                 "double-to-float", "extract-conv-bias", "extract-quant-scale", "fold-batch-norm", "fold-transpose",
                 "gemm-to-matmul", "resize-conv-to-deconv", "sub-to-add", "subpixel-to-deconv",
                 "to-channels-last"):  # fmt: skip
        loaded = load(_MODELS.get(name, _net)())
        assert parse_pass(_OPTIONS.get(name, name))(loaded).modified, name


@pytest.mark.parametrize("dialect", list(Dialect))
@pytest.mark.parametrize("source", [_net, _layers])
def test_writers(dialect: Dialect, source: Callable[[], onnx.ModelProto]):
    hub = _marked(to_hub(source())[0])
    said, annotated = _traces(hub)
    WRITERS[dialect](hub)
    _check(said, annotated, hub, all_nodes=True)


@pytest.mark.parametrize("write", [lambda m: write_standard(m, Outcome()), pack, embed_functions])
@pytest.mark.parametrize("source", [_net, _layers])
def test_other_writers(write: Callable[[ir.Model], object], source: Callable[[], onnx.ModelProto]):
    hub = _marked(to_hub(source())[0])
    said, annotated = _traces(hub)
    write(hub)
    _check(said, annotated, hub, all_nodes=True)


@pytest.mark.parametrize("dialect", [d for d in Dialect if d is not Dialect.QONNX])
def test_readers(dialect: Dialect):
    written = _marked(load(anybit.to_proto(translate(_layers(), dialect).model)))
    said, annotated = _traces(written)
    hub, _ = to_hub(written)
    _check(said, annotated, hub, all_nodes=True)
