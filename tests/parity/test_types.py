"""`types --legacy` says of each operator of the package what its InferDataTypes says, with both of its settings."""

from __future__ import annotations

import pytest

pytest.importorskip("qonnx", reason="the qonnx package is not installed: make test-qonnx")

import numpy as np
from onnx import helper
from qonnx.core.datatype import DataType
from qonnx.transformation.infer_datatypes import InferDataTypes

import anybit
from tests.models import DOMAIN, model
from tests.parity.bridge import wrapped

CHANNELS_LAST = "qonnx.custom_op.channels_last"
POOL = {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0] * 4}
IM2COL = {"kernel_size": [2, 2], "stride": [2, 2], "pad_amount": [0] * 4, "input_shape": "(1,4,4,2)"}
AVERAGE = {"kernel": 2, "stride": 2, "ibits": 4, "obits": 3, "signed": 0, "data_layout": "NHWC"}
THRESHOLDS = {"out_dtype": "UINT2", "data_layout": "NHWC"}
CONV = {"strides": [1, 1], "pads": [0] * 4, "dilations": [1, 1], "group": 1}
KERNEL, CHANNEL = np.ones((3, 1, 1, 2), np.float32), np.ones(2, np.float32)
NORM = {"s": CHANNEL, "b": CHANNEL, "mean": CHANNEL, "var": CHANNEL}

CASES = [
    ("QuantAvgPool2d", DOMAIN, AVERAGE, {}),
    ("Im2Col", DOMAIN, IM2COL, {}),
    ("MaxPoolNHWC", DOMAIN, POOL, {}),
    ("DebugMarker", DOMAIN, {"export_debug_name": "y"}, {}),
    ("MultiThreshold", DOMAIN, THRESHOLDS, {"t": np.float32([[0, 1, 2]])}),
    ("MultiThreshold", DOMAIN, THRESHOLDS | {"out_scale": 0.5}, {"t": np.float32([[0, 1, 2]])}),
    ("MaxPool", CHANNELS_LAST, POOL, {}),
    (
        "Conv",
        CHANNELS_LAST,
        {"kernel_shape": [1, 1], "strides": [1, 1], "pads": [0] * 4, "dilations": [1, 1], "group": 1},
        {"w": KERNEL},
    ),
    ("BatchNormalization", CHANNELS_LAST, {}, NORM),
    ("XnorPopcountMatMul", DOMAIN, {}, {"w": np.float32([[0, 1], [1, 1]])}),
    ("BipolarQuant", DOMAIN, {}, {"scale": np.float32(1)}),
    ("BipolarQuant", DOMAIN, {}, {"scale": np.float32(0.5)}),
]


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]} {c[1].rpartition('.')[2]} {sorted(c[2].items())[-1:]}")
def test_operators_of_the_package(case, scaled):
    op_type, domain, attributes, constants = case
    node = helper.make_node(op_type, ["x", *constants], ["y"], "node", domain=domain, **attributes)
    proto = model([node], constants, inputs={"x": [1, 4, 4, 2]}, outputs=["y"], imports={"": 13, domain: 1})
    theirs = wrapped(proto)
    binary = op_type == "XnorPopcountMatMul"
    for tensor in ("x", "w") if binary else ("x",):
        theirs.set_tensor_datatype(tensor, DataType["BINARY" if binary else "UINT4"])
    ours = anybit.apply(theirs.model, [f"annotate-types:legacy=true,allow_scaledint_dtypes={str(scaled).lower()}"])
    theirs = theirs.transform(InferDataTypes(allow_scaledint_dtypes=scaled))
    made = anybit.annotations.number_format(ours.model, "y")
    assert str(made or "FLOAT32") == theirs.get_tensor_datatype("y").name
