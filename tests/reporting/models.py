"""Models that the tests of the report draw."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from tests.models import model, parameters, quant

HOSTILE = (
    "</script><script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=1>",
    '"><svg onload="window.pwned=1">',
    "'-window.pwned=1-'",
    "{{7*7}}${window.pwned=1}",
    "<!--<script>",
    "../../etc/passwd",
    "a\u2028b\u2029c\u202ed\x07e",
    "javascript:window.pwned=1",
    "n" * 5000,
)


def chain(blocks: int) -> onnx.ModelProto:
    """Convolutions of 1 to 8 bits, with a residual around each two of them: 4 or 5 nodes a block."""
    rng = np.random.default_rng(0)
    nodes, initializers, x, skip = [], {}, "x", "x"
    for i in range(blocks):
        bits = float((1, 2, 3, 4, 5, 8)[i % 6])
        initializers[f"w{i}"] = rng.normal(size=(8, 8, 3, 3)).astype(np.float32)
        initializers |= parameters(f"wq{i}", scale=0.25, bits=bits) | parameters(f"a{i}", scale=0.5, bits=bits)
        nodes += [
            quant(f"w{i}", f"wq{i}", narrow=int(bits > 1)),
            helper.make_node("Conv", [x, f"wq{i}"], [f"c{i}"], name=f"/block{i}/conv", pads=[1] * 4),
            helper.make_node("Relu", [f"c{i}"], [f"r{i}"], name=f"/block{i}/relu"),
            quant(f"r{i}", f"a{i}", signed=0),
        ]
        if i % 2:
            nodes.append(helper.make_node("Add", [f"a{i}", skip], [f"s{i}"], name=f"/block{i}/add"))
            x = f"s{i}"
        else:
            x, skip = f"a{i}", x
    return model(nodes, initializers, inputs={"x": [1, 8, 8, 8]}, outputs=[x])


def hostile() -> onnx.ModelProto:
    """A chain of nodes and tensors whose names try to leave the page's data."""
    nodes, initializers, x = [], {}, HOSTILE[0]
    for i, name in enumerate(HOSTILE):
        weight, product, out = f"w{name}", f"p{name}", f"{name}#{i}"
        initializers[weight] = np.eye(4, dtype=np.float32)
        initializers |= parameters(f"q{i}", scale=0.5)
        nodes += [
            helper.make_node("MatMul", [x, weight], [product], name=name),
            helper.make_node(
                "Quant", [product, f"q{i}_scale", f"q{i}_zeropt", f"q{i}_bits"], [out], domain=nodes_domain(i)
            ),
        ]
        x = out
    return model(
        nodes,
        initializers,
        inputs={HOSTILE[0]: [HOSTILE[1], 4]},
        outputs=[x],
        imports={"": 21, "qonnx.custom_op.general": 1, HOSTILE[0]: 1},
    )


def nodes_domain(index: int) -> str:
    """One of the quantisers is of a domain that nobody knows, with a name that nobody should have."""
    return HOSTILE[0] if index == 3 else "qonnx.custom_op.general"
