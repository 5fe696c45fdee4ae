"""strip_quantizers: a quantised model as the float model that its quantisers work on."""

from __future__ import annotations

import onnx_ir as ir

from anybit.cleanup.fold_constants import FoldConstants
from anybit.graph.constants import constant
from anybit.graph.editor import Editor
from anybit.graph.walk import all_nodes
from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from anybit.ops.calls import is_call
from anybit.ops.quant import QUANT
from anybit.quantizers.clip_fusion import behind_bounds
from anybit.quantizers.quantizer import Quantizer, read_quant


def strip_quantizers(model: ir.Model) -> ir.Model:
    """A hub model with its weights as constants in float, each on its grid, without quantisers of activations.

    It is changed in place.
    """
    FoldConstants(keep_quantizers=False)(model)
    with Editor(model, rule="strip-quantizers") as edit:
        for node in list(all_nodes(model.graph)):
            x = node.inputs[0] if node.inputs else None
            if is_call(node, QUANT, BIPOLAR_QUANT) and x is not None and constant(x) is None:
                read = read_quant(node, model)
                last = behind_bounds(node, read)[0] if isinstance(read, Quantizer) else node
                edit.redirect(last.outputs[0], x)
    return model
