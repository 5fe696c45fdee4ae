"""QuantAvgPoolToChannelsLast: the same elements, with the pool on channels last."""

from __future__ import annotations

import numpy as np
from onnx import helper

import anybit
from tests.models import DOMAIN, model


def test_the_pool_alone_is_turned():
    attributes = {"kernel": 2, "stride": 2, "ibits": 4, "obits": 4, "signed": 0}
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], "relu"),
        helper.make_node("QuantAvgPool2d", ["r"], ["y"], "pool", domain=DOMAIN, **attributes),
    ]
    proto = model(nodes, {}, inputs={"x": [1, 3, 4, 6]}, outputs=["y"])
    applied = anybit.apply(proto, ["quant-avg-pool-to-channels-last"])
    turned = applied.model
    assert [n.op_type for n in turned.graph] == ["Relu", "Transpose", "QuantAvgPool2d", "Transpose"]
    assert list(turned.graph[2].outputs[0].shape) == [1, 2, 3, 3]
    assert anybit.check(turned) == ()
    x = np.random.default_rng(0).integers(0, 16, (1, 3, 4, 6)).astype(np.float32)
    np.testing.assert_array_equal(anybit.run(turned, x)["y"], anybit.run(proto, x)["y"])
    assert not anybit.apply(turned, ["quant-avg-pool-to-channels-last"]).steps[0].modified
