"""The models that are measured: published ones from beside the project, and generated ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from anybit.cleanup.set_batch import SetBatch
from anybit.io.load import load
from anybit.io.save import to_proto
from anybit.ops.operator import DOMAIN

SHARED = Path(__file__).parents[2] / "shared"
TFC = SHARED / "zoo" / "TFC_2W2A.onnx"
JET = SHARED / "zoo" / "qkeras_jettagging.onnx"
CNV = SHARED / "corpus" / "cnv_2w2a" / "model.onnx"

_OPSET = 17
_IR_VERSION = 8
_INPUT, _OUTPUT = "x", "y"


class _Builder:
    """Collects nodes and initializers of a model in which each node reads the one before."""

    def __init__(self, seed: int = 0) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.last = _INPUT
        self.random = np.random.default_rng(seed)
        self.zero = self.constant("zero", np.float32(0))

    def constant(self, name: str, value: npt.ArrayLike) -> str:
        """Adds an initializer and returns its name."""
        self.initializers.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    def node(self, op_type: str, inputs: list[str], **attributes: int | str | list[int]) -> str:
        """Adds a node and returns its output's name."""
        output = f"{op_type}_{len(self.nodes)}"
        domain = DOMAIN if op_type in {"Quant", "BipolarQuant"} else None
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=output, domain=domain, **attributes))
        return output

    def quant(self, x: str, scale: float, bits: str, *, signed: bool) -> str:
        """Adds a Quant whose scale is its own initializer, as exporters write it."""
        scale_name = self.constant(f"scale_{len(self.nodes)}", scale)
        return self.node(
            "Quant", [x, scale_name, self.zero, bits], signed=int(signed), narrow=int(signed), rounding_mode="ROUND"
        )

    def weight(self, rows: int, columns: int, bits: str | None) -> str:
        """Adds a weight, behind a Quant where bits are given, and returns what a MatMul reads."""
        values = self.random.normal(0, 1 / np.sqrt(rows), (rows, columns))
        name = self.constant(f"weight_{len(self.nodes)}", values)
        return name if bits is None else self.quant(name, 1 / np.sqrt(rows), bits, signed=True)

    def batch_normalization(self, features: int) -> str:
        """Adds a BatchNormalization of the last tensor."""
        ranges = {"gain": (0.5, 1.5), "bias": (-0.5, 0.5), "mean": (-0.5, 0.5), "variance": (0.5, 1.5)}
        prefix = len(self.nodes)
        names = [self.constant(f"{n}_{prefix}", self.random.uniform(*r, features)) for n, r in ranges.items()]
        return self.node("BatchNormalization", [self.last, *names])

    def model(self, *features: int, classes: int) -> onnx.ModelProto:
        """The model, for a batch of 1."""
        self.nodes[-1].output[0] = _OUTPUT
        graph = helper.make_graph(
            self.nodes,
            "benchmark",
            [helper.make_tensor_value_info(_INPUT, TensorProto.FLOAT, [1, *features])],
            [helper.make_tensor_value_info(_OUTPUT, TensorProto.FLOAT, [1, classes])],
            self.initializers,
        )
        imports = [helper.make_opsetid("", _OPSET), helper.make_opsetid(DOMAIN, 1)]
        return helper.make_model(graph, opset_imports=imports, ir_version=_IR_VERSION)


def keyword_spotting() -> onnx.ModelProto:
    """An MLP of the size used for keyword spotting: 490 inputs, 3 hidden layers of 256, 12 classes, 3 bits.

    A layer is MatMul, BatchNormalization, Relu and Quant, as training leaves it.
    """
    b = _Builder()
    bits, input_bits = b.constant("bits", 3), b.constant("input_bits", 8)
    b.last = b.quant(b.last, 1 / 64, input_bits, signed=True)
    rows = 490
    for _ in range(3):
        b.last = b.node("MatMul", [b.last, b.weight(rows, 256, bits)])
        b.last = b.batch_normalization(256)
        b.last = b.node("Relu", [b.last])
        b.last = b.quant(b.last, 0.25, bits, signed=False)
        rows = 256
    b.last = b.node("MatMul", [b.last, b.weight(rows, 12, bits)])
    return b.model(490, classes=12)


def binary_convolutions() -> onnx.ModelProto:
    """The layers of CNV with weights and activations of -1 and 1: images of 32 x 32, 10 classes."""
    b = _Builder()
    input_bits, one = b.constant("input_bits", 8), b.constant("one", 1)

    def signs(*shape: int) -> str:
        name = b.constant(f"weight_{len(b.nodes)}", b.random.normal(size=shape))
        return b.node("BipolarQuant", [name, one])

    b.last = b.quant(b.last, 1 / 128, input_bits, signed=True)
    channels = 3
    for outputs, is_pooled in ((64, False), (64, True), (128, False), (128, True), (256, False), (256, False)):
        b.last = b.node("Conv", [b.last, signs(outputs, channels, 3, 3)])
        b.last = b.batch_normalization(outputs)
        b.last = b.node("BipolarQuant", [b.last, one])
        if is_pooled:
            b.last = b.node("MaxPool", [b.last], kernel_shape=[2, 2], strides=[2, 2])
        channels = outputs
    b.last = b.node("Flatten", [b.last])
    for outputs in (512, 512):
        b.last = b.node("MatMul", [b.last, signs(channels, outputs)])
        b.last = b.batch_normalization(outputs)
        b.last = b.node("BipolarQuant", [b.last, one])
        channels = outputs
    b.last = b.node("MatMul", [b.last, signs(channels, 10)])
    return b.model(3, 32, 32, classes=10)


def chain(nodes: int, width: int, *, quantised_weights: bool) -> onnx.ModelProto:
    """A chain of Quant, MatMul and Relu; with quantised weights a fourth node, their Quant, belongs to each layer."""
    b = _Builder()
    bits = b.constant("bits", 4)
    for _ in range(nodes // (4 if quantised_weights else 3)):
        b.last = b.quant(b.last, 0.125, bits, signed=True)
        b.last = b.node("MatMul", [b.last, b.weight(width, width, bits if quantised_weights else None)])
        b.last = b.node("Relu", [b.last])
    return b.model(width, classes=width)


def weight_bytes(model: onnx.ModelProto) -> int:
    """Bytes of all initializers."""
    return sum(len(t.raw_data) for t in model.graph.initializer)


def write_large(path: Path, *, layers: int = 36, width: int = 4096, quantised_weights: bool) -> int:
    """Writes a chain whose weights lie in an external file, one layer at a time, and returns their bytes."""
    b = _Builder()
    bits = b.constant("bits", 4)
    values = b.random.normal(0, 1 / np.sqrt(width), (width, width)).astype(np.float32)
    data = path.with_name(f"{path.name}.data")
    with data.open("wb") as file:
        for layer in range(layers):
            name = f"weight_{layer}"
            b.initializers.append(_external(name, values, data.name, file.tell()))
            (values * np.float32(1 + layer / 1000)).tofile(file)
            weight = b.quant(name, 1 / np.sqrt(width), bits, signed=True) if quantised_weights else name
            b.last = b.quant(b.last, 0.125, bits, signed=True)
            b.last = b.node("MatMul", [b.last, weight])
            b.last = b.node("Relu", [b.last])
    path.write_bytes(b.model(width, classes=width).SerializeToString())
    return layers * values.nbytes


def _external(name: str, values: npt.NDArray[np.float32], location: str, offset: int) -> onnx.TensorProto:
    tensor = TensorProto(name=name, dims=values.shape, data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": offset, "length": values.nbytes}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def without_quantisers(path: Path) -> onnx.ModelProto:
    """The model with a free batch and every quantiser's output replaced by its input: a plain float net."""
    model = load(path)
    SetBatch("N")(model)
    for node in list(model.graph):
        if node.domain == DOMAIN:
            node.outputs[0].replace_all_uses_with(node.inputs[0], replace_graph_outputs=True)
            model.graph.remove(node, safe=True)
    return to_proto(model)
