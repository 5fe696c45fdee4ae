"""join_integers: bytes flow on where they were made real and quantised again with the same scale and zero point."""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx_ir as ir

from anybit.cleanup.infer_shapes import infer_missing
from anybit.errors import Refusal
from anybit.formats.integer.storage import MOVEMENT
from anybit.graph.editor import Editor
from anybit.quantizers.linear_parameters import Parameters, parameters_of

_BYTES = frozenset((ir.DataType.INT8, ir.DataType.UINT8))
_CHANNELWISE = frozenset(("Identity", "MaxPool"))  # they leave every channel where it is
_Key = tuple[ir.Value, ir.DataType, bytes, bytes]


def join_integers(model: ir.Model) -> None:
    """Replaces QuantizeLinear(move(DequantizeLinear(q))) by move(q), in place, wherever both have the same parameters.

    `move` is any sequence of operators that only move or select elements, and Concat. DequantizeLinear of a byte is
    within two roundings of its multiple of the scale, so that QuantizeLinear recovers it.
    """
    with Editor(model, rule="join integers") as edit:
        nodes = edit.nodes("QuantizeLinear", "DequantizeLinear")
        infer_missing(model, [v for n in nodes for v in (*n.inputs, *n.outputs)])
        flow = _Flow(edit)
        for node in nodes:
            x, y = node.inputs[0], node.outputs[0]
            parameters = parameters_of(node) if node.op_type == "QuantizeLinear" else None
            if not isinstance(parameters, Parameters) or x is None or y.is_graph_output():
                continue
            source = flow.integers(x, y.dtype, parameters) if y.dtype in _BYTES and y.dtype is not None else None
            if source is not None:
                edit.redirect(y, source)


@dataclass
class _Flow:
    edit: Editor
    made: dict[_Key, ir.Value] = field(default_factory=dict[_Key, ir.Value])

    def integers(self, value: ir.Value, dtype: ir.DataType, parameters: Parameters) -> ir.Value | None:
        """The integers behind a tensor of real numbers, if they have this type and these parameters."""
        path: list[ir.Node] = []
        rest = (dtype, parameters.scale.tobytes(), parameters.zero_point.tobytes())
        node = value.producer()
        while node is not None and (value, *rest) not in self.made and self._moves(node, parameters):
            path.append(node)
            value = node.inputs[0] or value
            node = value.producer()
        source = self.made.get((value, *rest)) or self._made_real(value, dtype, parameters)
        for mover in reversed(path):
            if source is None:
                return None
            source = self._moved(mover, [source, *mover.inputs[1:]], dtype)
            self.made[(mover.outputs[0], *rest)] = source
        return source

    def _moves(self, node: ir.Node, parameters: Parameters) -> bool:
        if node.domain != "" or node.op_type not in MOVEMENT or len(node.outputs) != 1 or node.inputs[0] is None:
            return False
        return parameters.scale.size == parameters.zero_point.size == 1 or node.op_type in _CHANNELWISE

    def _made_real(self, value: ir.Value, dtype: ir.DataType, parameters: Parameters) -> ir.Value | None:
        node = value.producer()
        if node is None or node.domain != "" or node.op_type not in ("Concat", "DequantizeLinear"):
            return None
        if node.op_type == "DequantizeLinear":
            integers, own = node.inputs[0], parameters_of(node)
            same = not isinstance(own, Refusal) and own.same(parameters)
            return integers if same and integers is not None and integers.dtype == dtype else None
        if parameters.scale.size > 1 or parameters.zero_point.size > 1:
            return None
        parts = [None if v is None else self.integers(v, dtype, parameters) for v in node.inputs]
        return None if None in parts else self._moved(node, parts, dtype)

    def _moved(self, node: ir.Node, inputs: list[ir.Value | None], dtype: ir.DataType) -> ir.Value:
        old = node.outputs[0]
        new = self.edit.node(node.op_type, inputs, f"{old.name}/bytes", like=old, attributes=node.attributes)
        new.outputs[0].type = ir.TensorType(dtype)
        self.edit.insert(new, after=node, of=node)
        return new.outputs[0]
