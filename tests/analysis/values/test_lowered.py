"""Im2Col and QuantAvgPool2d: no tensor leaves its bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from tests.analysis.values.soundness import bounds_of, check_sound
from tests.models import DOMAIN, model, parameters, quant
from tests.strategies import examples


@given(st.integers(0, 99), st.sampled_from([0, 1, 2]), st.booleans())
@examples(25)
def test_im2col_and_a_product(seed, pad, per_channel):
    rng = np.random.default_rng(seed)
    scale = 2.0 ** rng.integers(-1, 2, (1, 1, 1, 3) if per_channel else ()).astype(np.float32)
    values = parameters("q", scale=scale) | {"w": rng.integers(-2, 3, (12, 4)).astype(np.float32)}
    attributes = {"stride": [1, 1], "kernel_size": [2, 2], "pad_amount": [pad] * 4, "pad_value": pad // 2}
    nodes = [quant("x", "q"), helper.make_node("Im2Col", ["q"], ["r"], name="rows", domain=DOMAIN, **attributes)]
    nodes += [helper.make_node("MatMul", ["r", "w"], ["y"], name="product")]
    proto = model(nodes, values, inputs={"x": [1, 4, 5, 3]}, outputs=["y"])
    known = check_sound(proto, {"x": (-9.0, 9.0)}, engines=("reference", "onnxruntime"))
    assert (bounds_of(known, "r").grid is None) == (pad == 2 and bool((scale == 2).any()))
    if not per_channel and bounds_of(known, "r").grid is not None:
        assert len(known.accumulators) == 1


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@given(st.integers(1, 3), st.integers(1, 8), st.integers(1, 8), st.booleans())
@examples(15)
def test_pools(layout, kernel, ibits, obits, quantized):
    attributes = {"kernel": kernel, "stride": 1, "ibits": ibits, "obits": obits, "signed": 1, "data_layout": layout}
    pool = helper.make_node("QuantAvgPool2d", ["q"], ["y"], name="pool", domain=DOMAIN, **attributes)
    values = parameters("q", scale=1.0 if quantized else 0.3, bits=float(ibits))
    proto = model([quant("x", "q"), pool], values, inputs={"x": [2, 4, 5, 4]}, outputs=["y"])
    known = check_sound(proto, {"x": (-300.0, 300.0)}, engines=("reference", "onnxruntime"))
    assert bounds_of(known, "y").grid is not None
