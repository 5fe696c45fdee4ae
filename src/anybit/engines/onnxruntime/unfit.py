"""refuse_unfit: what ONNX Runtime takes and computes otherwise than the standard, or hands over as something else."""

from __future__ import annotations

import onnx_ir as ir

from anybit.errors import UnsupportedError
from anybit.graph.walk import all_nodes, label

_EXCHANGED = frozenset(
    ir.DataType[name]
    for name in "BOOL INT8 INT16 INT32 INT64 UINT8 UINT16 UINT32 UINT64 FLOAT16 FLOAT DOUBLE STRING".split()
)
"""Element types that its Python interface has arrays for. Others fail when it runs; float8e4m3fn comes out as uint8."""
_WINDOWS = frozenset(("AveragePool", "Conv", "LpPool", "MaxPool"))
_HINT = 'use engine="reference"'


def refuse_unfit(model: ir.Model) -> None:
    """Raises for the first input, output or node that ONNX Runtime would get wrong.

    Raises:
        UnsupportedError: There is one.
    """
    for kind, values in (("input", model.graph.inputs), ("output", model.graph.outputs)):
        for value in values:
            if isinstance(value.type, ir.TensorType) and value.type.dtype not in _EXCHANGED:
                raise UnsupportedError(
                    f"ONNX Runtime takes no {kind} of this type from Python",
                    node=f"{kind} '{value.name}'",
                    got=value.dtype,
                    expected="a float of 16 bits or more (no bfloat16), an integer of 8 or more, a bool or a string",
                    hint=f"cast it inside the model, or {_HINT}",
                )
    for node in all_nodes(model.graph):
        if node.domain == "":
            _refuse(node)


def _refuse(node: ir.Node) -> None:
    if node.op_type == "BatchNormalization" and node.attributes.get_int("training_mode", 0):
        raise UnsupportedError(
            "ONNX Runtime gives wrong results in training mode",
            node=label(node),
            got="training_mode = 1",
            hint=f"export the model for inference, or {_HINT}",
        )
    is_same = node.op_type in _WINDOWS and node.attributes.get_string("auto_pad", "").startswith("SAME")
    if is_same and max(node.attributes.get_ints("dilations", [1]), default=1) > 1:
        raise UnsupportedError(
            "ONNX Runtime does not pad for dilated windows",
            node=label(node),
            got="auto_pad = SAME with dilations",
            hint=f"state the pads, or {_HINT}",
        )
    if node.op_type == "MaxUnpool" and len(node.inputs) > 2 and node.inputs[2] is not None:
        raise UnsupportedError(
            "ONNX Runtime takes the indices for those of the larger output",
            node=label(node),
            got="output_shape",
            hint=_HINT,
        )
