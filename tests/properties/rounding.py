"""Which elements of a random graph's outputs float rounding decides: those that move when every float result does.

Two engines add in another order; where a quantiser, a comparison or a cast reads a number beside a boundary, one of
them may take the next level. To know which elements that explains, the reference runs the graph again with noise of
the size of such errors on each float tensor, and on what is normalised: a mean that is off by rounding is large beside
a standard deviation of nearly zero. The error of a sum is a share of the sum of the magnitudes of its terms, which may
cancel.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

import anybit
from tests.strategies import Array

_ROUNDINGS = 32  # float32 roundings of the largest number of a tensor
_RUNS = 4
# What these give is exact for exact inputs: numbers that are moved, chosen, or put on a grid.
_EXACT = frozenset(
    """
    ArgMax ArgMin BipolarQuant Cast Ceil Clip Concat Constant DepthToSpace DequantizeLinear Equal Expand
    Flatten Floor FloatQuant Gather Greater Identity If Less Loop Max MaxPool Min MultiThreshold Neg Not Pad
    Quant QuantizeLinear Relu Reshape Round Scan Shape Sign Slice SpaceToDepth Split Squeeze Tile TopK
    Transpose Trunc Unsqueeze Where
    """.split()
)
_SUMS = frozenset("AveragePool Conv ConvTranspose Gemm GlobalAveragePool MatMul ReduceMean ReduceSum".split())
_NORMALISATIONS = frozenset(
    "GroupNormalization InstanceNormalization LayerNormalization LpNormalization MeanVarianceNormalization".split()
)


def tolerance(array: Array) -> float:
    """How far float rounding may move an element of a tensor."""
    if array.dtype.kind != "f":
        return 0.0
    largest = float(np.abs(array[np.isfinite(array)]).max(initial=0))
    return _ROUNDINGS * float(np.finfo(np.float32).eps) * largest


def departing(a: Array, b: Array) -> Array:
    """Where two results differ by more than float rounding; NaN equals NaN."""
    with np.errstate(invalid="ignore"):
        same = (a == b) | (np.isnan(a) & np.isnan(b)) if a.dtype.kind == "f" else a == b
        gap = np.abs(a.astype(np.float64) - b.astype(np.float64))
    return ~same & ~(gap <= tolerance(a))


def undecided(
    model: onnx.ModelProto, feeds: Mapping[str, Array], outputs: Mapping[str, Array], *, seed: int
) -> dict[str, Array]:
    """By output, where it moves by more than rounding if float tensors are off by as much."""
    tensors = dict(feeds) | anybit.Session(model, engine="reference", tensors="all").run(dict(feeds))
    found = {name: np.zeros(array.shape, np.bool_) for name, array in outputs.items()}
    for run in range(_RUNS):
        noisy = _with_noise(model, tensors, np.random.default_rng([seed, run]), alternating=run == 0)
        for name, array in anybit.Session(noisy, engine="reference").run(dict(feeds)).items():
            found[name] |= departing(outputs[name], array)
    return found


def _with_noise(
    model: onnx.ModelProto, tensors: Mapping[str, Array], rng: np.random.Generator, *, alternating: bool
) -> onnx.ModelProto:
    """The model with noise on each float tensor: of random signs, or of signs that alternate and cancel in no pair."""
    noisy = onnx.ModelProto()
    noisy.CopyFrom(model)
    nodes: list[onnx.NodeProto] = []

    def add(name: str, own: str, moved: str, size: float | None = None) -> list[onnx.NodeProto]:
        """The node that makes `moved` of the tensor `name`, which is called `own` here; none if it is not moved."""
        array = tensors.get(name)
        if array is None or array.dtype.kind != "f" or not array.size:
            return []
        size = tolerance(array) if size is None else size
        signs = rng.choice([-1.0, 1.0], array.shape)
        if alternating:
            signs = np.where(np.arange(array.size) % 2, -1.0, 1.0).reshape(array.shape)
        noise = (size * signs).astype(array.dtype)
        noisy.graph.initializer.append(numpy_helper.from_array(np.asarray(noise), f"{moved}/noise"))
        return [helper.make_node("Add", [own, f"{moved}/noise"], [moved], name=f"{moved}/add")]

    for place, node in enumerate(list(noisy.graph.node)):
        if node.op_type in _NORMALISATIONS:
            moved = f"{node.input[0]}/{place}"
            before = add(node.input[0], node.input[0], moved)
            nodes += before
            node.input[0] = moved if before else node.input[0]
        nodes.append(node)
        for position, name in enumerate(node.output):
            size = _of_terms(noisy, node, tensors) if node.op_type in _SUMS else _of_equal(noisy, node, tensors)
            after = [] if node.op_type in _EXACT else add(name, f"{name}/exact", name, size)
            nodes += after
            node.output[position] = f"{name}/exact" if after else name
    del noisy.graph.node[:]
    noisy.graph.node.extend(nodes)
    return noisy


def _of_terms(model: onnx.ModelProto, node: onnx.NodeProto, tensors: Mapping[str, Array]) -> float | None:
    """The error of sums of products: the tolerance of what the operator makes of the magnitudes of its inputs."""
    known = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer} | dict(tensors)
    own = [n.removesuffix("/exact") for n in node.input if n]
    if any(n not in known or known[n].dtype.kind not in "fi" for n in own):
        return None
    alone = onnx.NodeProto()
    alone.CopyFrom(node)
    alone.output[0] = "sums"
    for place, name in enumerate(node.input):
        alone.input[place] = name.removesuffix("/exact")
    arrays = {n: np.abs(known[n]) if known[n].dtype.kind == "f" else known[n] for n in own}
    constants = [numpy_helper.from_array(a, n) for n, a in arrays.items()]
    result = helper.make_tensor_value_info("sums", helper.np_dtype_to_tensor_dtype(known[own[0]].dtype), None)
    graph = helper.make_graph([alone], "alone", [], [result], constants)
    one = helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version)
    return tolerance(anybit.Session(one, engine="reference").run({})["sums"])


def _of_equal(model: onnx.ModelProto, node: onnx.NodeProto, tensors: Mapping[str, Array]) -> float | None:
    """The error of a normalisation of equal numbers, x * g - x * g: as large as that of x * g."""
    known = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer} | dict(tensors)
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    x = tensors.get(node.input[0].partition("/")[0]) if node.op_type in _NORMALISATIONS else None
    if x is None or len(node.input) < 2 or node.input[1] not in known:
        return None
    match node.op_type:
        case "InstanceNormalization":
            normalised = x.shape[2:]
        case "GroupNormalization":
            normalised = (x.shape[1] // attributes["num_groups"], *x.shape[2:])
        case _:
            normalised = x.shape[attributes.get("axis", -1) :]
    groups = x.reshape(-1, max(int(np.prod(normalised)), 1))
    if not (np.ptp(groups, axis=1) <= tolerance(x)).any():
        return None
    gain = np.abs(known[node.input[1]]).max(initial=0) / np.sqrt(attributes.get("epsilon", 1e-5))
    return tolerance(np.multiply(x, gain, dtype=np.float64))
