"""quantise_weights: integers that a file holds as float32, with their format as an annotation."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from anybit.errors import AnybitError
from anybit.exact.integer_layers import PRODUCTS
from anybit.graph.annotations import annotate_number_format, annotated_number_format
from anybit.graph.constants import constant
from anybit.graph.editor import Editor
from anybit.number_formats import BipolarFormat, IntFormat, TernaryFormat
from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from anybit.ops.operator import DOMAIN
from anybit.quantizers.quantizer import Quantizer, quant_nodes


def quantize_weights(model: ir.Model, edit: Editor) -> None:
    """A quantiser of scale 1 behind every weight of a product that is integer by annotation alone."""
    for value in list(model.graph.initializers.values()):
        users = [(n, i) for n, i in value.uses() if n.domain == "" and n.op_type in PRODUCTS and i == 1]
        array = constant(value) if users else None
        try:
            datatype = annotated_number_format(value) if users else None
        except AnybitError:  # `check` says what is wrong with the text
            continue
        if array is None or array.dtype != np.float32 or datatype is None or not datatype.allows(array).all():
            continue
        if isinstance(datatype, BipolarFormat):
            scale = edit.constant(f"{value.name}/scale", np.ones((), np.float32))
            nodes = [
                edit.node(BIPOLAR_QUANT.name, [value, scale], f"{value.name}/quantized", like=value, domain=DOMAIN)
            ]
        elif isinstance(datatype, IntFormat | TernaryFormat):
            lo, hi = (float(end) for end in (datatype.min, datatype.max))
            quantizer = Quantizer(np.ones((), np.float32), np.zeros(()), np.asarray(lo), np.asarray(hi)).between(lo, hi)
            nodes = quant_nodes(edit, value, quantizer, f"{value.name}/quantized")
        else:
            continue
        edit.insert(nodes, before=users[0][0])
        for user, position in users:
            user.replace_input_with(position, nodes[-1].outputs[0])
        annotate_number_format(value, None)
