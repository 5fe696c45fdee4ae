"""Scan, and calls of model-local functions."""

from __future__ import annotations

import numpy as np
from onnx import helper

from tests.graphs.builder import Builder, Unfit
from tests.graphs.quantisers import quant_of


def scan(b: Builder) -> None:
    """A running sum along the second axis, s = s / 2 + x, and the activation of each step."""
    if b.opset < 13:
        raise Unfit
    x = b.pick(lambda a: a.ndim >= 2 and bool(np.abs(a).max() < 10))
    array, name = b.samples[x], b.fresh("scan")
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(b.dtype))
    s, e, half, t, out = (f"{name}_{part}" for part in ("s", "e", "h", "t", "o"))
    nodes = [
        helper.make_node("Constant", [], [half], value_float=0.5),
        helper.make_node("CastLike", [half, s], [f"{half}_own"])
        if b.opset >= 15
        else helper.make_node("Cast", [half], [f"{half}_own"], to=kind),
        helper.make_node("Mul", [s, f"{half}_own"], [f"{s}_half"]),
        helper.make_node("Add", [f"{s}_half", e], [t]),
        helper.make_node("Relu", [t], [out]),
    ]
    values = [helper.make_tensor_value_info(n, kind, None) for n in (s, e)]
    results = [helper.make_tensor_value_info(n, kind, None) for n in (t, out)]
    body = helper.make_graph(nodes, f"body_{name}", values, results)
    start = b.node("Gather", [x, b.constant(0, np.int64)], axis=1)[0]
    state, steps = b.samples[start], []
    for k in range(array.shape[1]):
        state = (state * b.dtype(0.5) + array[:, k]).astype(b.dtype)
        steps.append(np.maximum(state, 0))
    outputs = [f"{name}_last", name]
    proto = helper.make_node(
        "Scan",
        [start, x],
        outputs,
        name=name,
        body=body,
        num_scan_inputs=1,
        scan_input_axes=[1],
        scan_output_axes=[1],
    )
    b.pool.extend(b.adopt(proto, [state, np.stack(steps, axis=1)]))


def function(b: Builder) -> None:
    """A model-local function of a quantiser and an activation, called on one tensor or on two."""
    x = b.pick()
    start = len(b.nodes)
    inner = quant_of(b, x) if b.chance(0.6) else x
    y = b.node(b.choose(["Relu", "Neg", "Identity", "Tanh"]), [inner])[0]
    nodes = b.nodes[start:]
    del b.nodes[start:]
    made = {o for node in nodes for o in node.output}
    formal = list(dict.fromkeys(n for node in nodes for n in node.input if n and n not in made))
    name = b.fresh("function")
    imports = [helper.make_opsetid(d, v) for d, v in b.opsets.items()]
    b.functions.append(helper.make_function("tests", name, formal, [y], nodes, imports))
    b.pool.extend(b.adopt(helper.make_node(name, formal, [y], name=name, domain="tests"), [b.samples[y]]))


STEPS = {"scan": scan, "function": function}
