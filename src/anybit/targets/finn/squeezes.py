"""flatten_images: a Flatten behind a Squeeze reads the image itself, as FINN takes out a Flatten and no Squeeze."""

from __future__ import annotations

import onnx_ir as ir

from anybit.cleanup.remove_unused import RemoveUnused
from anybit.graph.walk import label, shape_of
from anybit.targets.handover import Rewrite

_FLATTENING = frozenset(("Flatten", "Reshape"))
_MATRIX = 2


def flatten_images(model: ir.Model) -> list[Rewrite]:
    """Lets every reshape to a matrix read what a Squeeze of single pixels reads, in place.

    A Squeeze keeps the order of the elements, and the batch is the first axis before and behind it.
    """
    rewrites: list[Rewrite] = []
    for node in model.graph:
        squeeze = node.inputs[0].producer() if node.op_type in _FLATTENING and node.inputs[0] is not None else None
        if squeeze is None or squeeze.op_type != "Squeeze" or node.attributes.get_int("axis", 1) != 1:
            continue
        image, matrix = squeeze.inputs[0], shape_of(node.outputs[0])
        whole = None if image is None else shape_of(image)
        if image is None or matrix is None or whole is None or len(matrix) != _MATRIX or matrix[0] != whole[0]:
            continue
        node.replace_input_with(0, image)
        rewrites.append(Rewrite(problem="reads the image in front of the Squeeze", node=label(node)))
    RemoveUnused()(model)
    return rewrites
