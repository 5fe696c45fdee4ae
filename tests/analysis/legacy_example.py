"""A model with one node of each kind that QONNX's inference treats in a way of its own."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from tests.models import DOMAIN, model, parameters, quant

# What InferDataTypes(allow_scaledint_dtypes=True) of qonnx 1.0.0 wrote, tensor by tensor.
_MEASURED_BY_FORMAT = {
    "INT4": "unit weight both transposed flattened resized",
    "UINT4": "unsigned",
    "SCALEDINT<4>": "scaled scaled_weight clipped max_pool",
    "FLOAT32": """asymmetric listed_width scaled_bipolar truncated half_staircase float_conv biased_conv halved divided
    negated relu average_pool normalised""",
    "BIPOLAR": "one_bit bipolar sign",
    "SCALEDINT<1>": "scaled_one_bit",
    "FLOAT<4,3,7>": "float8",
    "UINT2": "staircase",
    "INT32": "integer_conv mixed_conv sum difference",
    "SCALEDINT<32>": "scaled_conv product",
    "UINT32": "unsigned_product",
}
MEASURED_WITH_SCALES = {name: text for text, names in _MEASURED_BY_FORMAT.items() for name in names.split()}
# What it wrote with allow_scaledint_dtypes=False, its default.
MEASURED = {name: "FLOAT32" if "SCALEDINT" in text else text for name, text in MEASURED_WITH_SCALES.items()}


def legacy_example() -> onnx.ModelProto:
    """(1, 4, 6, 6) in; every tensor is an output."""

    def node(op_type: str, inputs: str, output: str, domain: str = "", **attributes: object) -> onnx.NodeProto:
        return helper.make_node(op_type, inputs.split(), [output], name=output, domain=domain, **attributes)

    nodes = [
        quant("x", "unit"),
        quant("x", "unsigned", signed=0),
        quant("x", "scaled"),
        quant("x", "asymmetric"),
        quant("x", "one_bit"),
        quant("x", "scaled_one_bit"),
        quant("x", "listed_width"),
        node("BipolarQuant", "x one", "bipolar", DOMAIN),
        node("BipolarQuant", "x half", "scaled_bipolar", DOMAIN),
        node("FloatQuant", "x one four three seven most", "float8", DOMAIN),
        node("Trunc", "scaled half zero four half two", "truncated", DOMAIN, signed=1),
        node("MultiThreshold", "x steps", "staircase", DOMAIN, out_dtype="UINT2"),
        node("MultiThreshold", "x steps", "half_staircase", DOMAIN, out_dtype="UINT2", out_scale=0.5),
        node("Conv", "unit kernel", "float_conv"),
        quant("kernel", "weight"),
        quant("kernel", "scaled_weight"),
        node("Conv", "unit weight", "integer_conv"),
        node("Conv", "unsigned weight", "mixed_conv"),
        node("Conv", "unit scaled_weight", "scaled_conv"),
        node("Conv", "unit weight offset", "biased_conv"),
        node("MatMul", "unsigned unsigned", "unsigned_product"),
        node("Add", "unit unsigned", "sum"),
        node("Sub", "unsigned unsigned", "difference"),
        node("Mul", "unit scaled", "product"),
        node("Mul", "unit half", "halved"),
        node("Div", "unit half", "divided"),
        node("Neg", "unit", "negated"),
        node("Relu", "unit", "relu"),
        node("Sign", "x", "sign"),
        node("Clip", "scaled zero one", "clipped"),
        node("MaxPool", "scaled", "max_pool", kernel_shape=[2, 2]),
        node("AveragePool", "scaled", "average_pool", kernel_shape=[2, 2]),
        node("Concat", "unit scaled", "both", axis=1),
        node("Transpose", "unit", "transposed"),
        node("Reshape", "unit flat", "flattened"),
        node("Resize", "unit nothing scales", "resized", mode="nearest"),
        node("BatchNormalization", "unit c0 c1 c0 c1", "normalised"),
    ]
    scalars = {"one": 1.0, "half": 0.5, "zero": 0.0, "two": 2.0, "three": 3.0, "four": 4.0, "seven": 7.0, "most": 448.0}
    initializers = {name: np.asarray(v, np.float32) for name, v in scalars.items()}
    initializers |= {
        "kernel": np.ones((2, 4, 1, 1), np.float32),
        "offset": np.float32([0.5, 1.5]),
        "steps": np.float32([[0.0, 1.0, 2.0]]),
        "flat": np.int64([1, -1]),
        "nothing": np.zeros(0, np.float32),
        "scales": np.float32([1, 1, 2, 2]),
        "c0": np.zeros(4, np.float32),
        "c1": np.ones(4, np.float32),
    }
    for name in ("unit", "unsigned", "weight"):
        initializers |= parameters(name, scale=1.0)
    for name in ("scaled", "scaled_weight"):
        initializers |= parameters(name)
    initializers |= parameters("asymmetric", zeropt=3.0) | parameters("one_bit", scale=1.0, bits=1.0)
    initializers |= parameters("scaled_one_bit", bits=1.0)
    initializers |= parameters("listed_width", scale=1.0, bits=np.float32([4.0]))
    outputs = [n.output[0] for n in nodes]
    imports = {"": 21, DOMAIN: 2}
    return model(nodes, initializers, inputs={"x": [1, 4, 6, 6]}, outputs=outputs, imports=imports)
