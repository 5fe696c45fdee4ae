"""write_inference_forms: nodes whose sizes onnx's inference counts wrongly, in forms of which it counts them right.

- Pools with `ceil_mode`. Along an axis of n elements, b of padding before and e behind it, windows of extent K and step
  s are ceil((n + b + e - K) / s) + 1, or one less if the last of them would start in the padding behind the input.
  Before version 22 that one is counted too. It is the number of windows of a pool without `ceil_mode` that has
  min(K - 1, e + s - 1) of padding behind the input, whatever n is.
- Squeeze before version 11, of which the axes are taken for sorted ones.

Both were found by running every operator at every version, and comparing the shapes with those of the results.
"""

from __future__ import annotations

from typing import Any

import onnx

from anybit.io.protos import nodes

_POOLS = frozenset(("AveragePool", "LpPool", "MaxPool"))


def write_inference_forms(proto: onnx.ModelProto) -> None:
    """Rewrites the copy of a model that inference is given, in place; some nodes compute something else then."""
    for node in nodes(proto):
        if node.domain == "" and node.op_type in _POOLS:
            given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute if not a.ref_attr_name}
            if len(given) == len(node.attribute) and given.get("ceil_mode", 0):
                _floor(node, given)
        elif node.domain == "" and node.op_type == "Squeeze":
            _sort_axes(node)


def _floor(node: onnx.NodeProto, given: dict[str, Any]) -> None:
    kernel = given.get("kernel_shape", [])
    rank, pad = len(kernel), given.get("auto_pad", b"NOTSET")
    pads = given.get("pads", [0] * 2 * rank) if pad == b"NOTSET" else [0] * 2 * rank
    strides, dilations = given.get("strides", [1] * rank), given.get("dilations", [1] * rank)
    if pad not in (b"NOTSET", b"VALID") or not len(pads) == 2 * len(strides) == 2 * len(dilations) == 2 * rank:
        return
    ends = [min((k - 1) * d, end + s - 1) for k, d, end, s in zip(kernel, dilations, pads[rank:], strides, strict=True)]
    kept = [a for a in node.attribute if a.name not in ("auto_pad", "ceil_mode", "pads")]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute("pads", [*pads[:rank], *ends])])


def _sort_axes(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        if attribute.name == "axes" and min(attribute.ints, default=-1) >= 0:
            attribute.ints[:] = sorted(attribute.ints)
