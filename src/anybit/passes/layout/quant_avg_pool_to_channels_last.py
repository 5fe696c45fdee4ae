"""QuantAvgPoolToChannelsLast: each QuantAvgPool2d on (N, H, W, C), between two Transposes."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from anybit.graph.annotations import annotate_layout
from anybit.graph.editor import Editor
from anybit.graph.walk import all_nodes
from anybit.ops.calls import is_call
from anybit.ops.channels_last.layout import to_first, to_last
from anybit.ops.quant_avg_pool import QUANT_AVG_POOL

_RANK = 4
_ATTRIBUTE, _LAST = "data_layout", "NHWC"


@dataclass(frozen=True)
class QuantAvgPoolToChannelsLast(ir.passes.InPlacePass):
    """Turns each QuantAvgPool2d on (N, C, H, W) into one on (N, H, W, C), alone.

    Before: ``y = QuantAvgPool2d(x)``; after: ``t = Transpose(x, [0,2,3,1]); u = QuantAvgPool2d(t, data_layout=NHWC);
    y = Transpose(u, [0,3,1,2])``. `ToChannelsLast` does it for whole graphs, with few Transposes.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        with Editor(model, rule="quant-avg-pool-to-channels-last") as edit:
            for node in list(all_nodes(model.graph)):
                if is_call(node, QUANT_AVG_POOL) and node.attributes.get_string(_ATTRIBUTE, "NCHW") != _LAST:
                    _turn(edit, node)
        return edit.result()


def _turn(edit: Editor, node: ir.Node) -> None:
    y, name = node.outputs[0], node.outputs[0].name
    before = _transpose(edit, node.inputs[0], to_last(_RANK), f"{name}/input_channels_last")
    attributes = {**node.attributes, _ATTRIBUTE: ir.AttrString(_ATTRIBUTE, _LAST)}
    pool = edit.node(node.op_type, before.outputs, f"{name}/channels_last", domain=node.domain, attributes=attributes)
    pool.outputs[0].type = y.type
    pool.outputs[0].shape = _moved(y.shape, to_last(_RANK))
    after = _transpose(edit, pool.outputs[0], to_first(_RANK), f"{name}/channels_first")
    edit.replace(y, [before, pool, after])


def _transpose(edit: Editor, value: ir.Value | None, perm: tuple[int, ...], name: str) -> ir.Node:
    node = edit.node("Transpose", [value], name, attributes={"perm": ir.AttrInt64s("perm", list(perm))})
    made = node.outputs[0]
    made.type, made.shape = (None, None) if value is None else (value.type, _moved(value.shape, perm))
    annotate_layout(made, None)
    return node


def _moved(shape: ir.Shape | None, perm: tuple[int, ...]) -> ir.Shape | None:
    return None if shape is None or len(shape) != _RANK else ir.Shape([shape[a] for a in perm])
