"""write_resizes: Resize nodes that repeat pixels, in the one form from which FINN makes its upsampling layer."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from anybit.graph.constants import constant, new_initializer
from anybit.graph.names import Names
from anybit.graph.walk import label, shape_of
from anybit.ops.evaluate import EVALUATION_ERRORS, compiled, known_value
from anybit.targets.handover import Rewrite

_IMAGE = 4
_HAS_REGION = 11  # from this opset on, scales are the third input of a Resize


def write_resizes(model: ir.Model, rewrites: list[Rewrite]) -> None:
    """Writes every Resize that repeats each pixel as one by whole scales, in place.

    FINN reads the scales alone, and the layer of its emulation takes the pixel before a position. What a Resize takes
    is found by its own kernel on the numbers of the pixels; one that does anything else stays as it is, and is refused
    by the checker.
    """
    if model.opset_imports.get("", 0) < _HAS_REGION:
        return
    names = Names.of_tensors(model)
    for node in model.graph:
        factors = _repeats(node, model) if node.op_type == "Resize" and node.domain == "" else None
        x = node.inputs[0] if factors is not None else None
        if factors is None or x is None or _is_plain(node, factors):
            continue
        roi = new_initializer(model.graph, names.fresh(f"{node.outputs[0].name}_roi"), np.zeros(0, np.float32))
        by = np.asarray([1, 1, *factors], np.float32)
        scales = new_initializer(model.graph, names.fresh(f"{node.outputs[0].name}_scales"), by)
        node.resize_inputs(3)
        node.replace_input_with(1, roi)
        node.replace_input_with(2, scales)
        node.attributes.clear()
        for name, text in _PLAIN.items():
            node.attributes[name] = ir.AttrString(name, text)
        rewrites.append(Rewrite(problem="repeats pixels", node=label(node), got=f"{factors[0]} by {factors[1]}"))


_PLAIN = {"coordinate_transformation_mode": "asymmetric", "mode": "nearest", "nearest_mode": "floor"}


def factors_of(node: ir.Node) -> tuple[int, int] | None:
    """How often a Resize as `write_resizes` writes it repeats rows and columns; None of another one."""
    scales = constant(node.inputs[2]) if len(node.inputs) == 3 else None
    if scales is None or scales.shape != (_IMAGE,) or (scales != np.rint(scales)).any() or scales[:2].max() != 1:
        return None
    factors = int(scales[2]), int(scales[3])
    return factors if _is_plain(node, factors) else None


def _is_plain(node: ir.Node, factors: tuple[int, int]) -> bool:
    scales = constant(node.inputs[2]) if len(node.inputs) == 3 else None
    texts = {name: a.as_string() for name, a in node.attributes.items() if a.type == ir.AttributeType.STRING}
    has_roi = len(node.inputs) == 3 and constant(node.inputs[1]) is not None
    return scales is not None and scales.tolist() == [1, 1, *factors] and texts == _PLAIN and has_roi


def _repeats(node: ir.Node, model: ir.Model) -> tuple[int, int] | None:
    """How often a Resize repeats each row and each column; None where it does anything else."""
    before, after = (None if v is None else shape_of(v) for v in (node.inputs[0], node.outputs[0]))
    kernel = compiled(node, model.opset_imports)
    known = [known_value(v, model.opset_imports) for v in node.inputs[1:]]
    unknown = any(k is None and v is not None for k, v in zip(known, node.inputs[1:], strict=True))
    if kernel is None or unknown or before is None or after is None or None in before or None in after:
        return None
    if len(before) != _IMAGE or before[:2] != after[:2]:
        return None
    (_, _, rows, columns), (height, width) = ([n or 0 for n in before], [n or 0 for n in after[2:]])
    if not rows * columns or height % rows or width % columns or not height * width:
        return None
    factors = height // rows, width // columns
    pixels = np.arange(rows * columns, dtype=np.float32).reshape(rows, columns)
    try:
        (taken,) = kernel([np.broadcast_to(pixels, [n or 1 for n in before]).copy(), *known])
    except EVALUATION_ERRORS:
        return None
    repeated = pixels.repeat(factors[0], axis=0).repeat(factors[1], axis=1)
    return factors if taken.shape[2:] == repeated.shape and (taken == repeated).all() else None
