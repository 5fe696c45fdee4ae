"""RebalanceIm2Col: neighbours along a row of a one-channel image become channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.errors import Refusal, UsageError
from anybit.graph.editor import Editor
from anybit.graph.walk import all_nodes
from anybit.ops.calls import call_of, is_call
from anybit.ops.im2col import IM2COL
from anybit.ops.operator import Call

_FIRST_ZERO_COPIES = 5  # Reshape takes its shape as an input, in which 0 copies a size


@dataclass(frozen=True)
class RebalanceIm2Col(ir.passes.InPlacePass):
    """Lets Im2Col read c neighbours along the width of a one-channel image as c channels; its rows stay the same.

    Before: ``y = Im2Col(x, kernel_size=[4, 4], stride=[4, 4])`` with ``float[1,28,28,1] x``; after
    ``RebalanceIm2Col(2)``: the same of ``Reshape(x)``, ``float[1,28,14,2]``, with ``kernel_size=[4, 2]`` and
    ``stride=[4, 2]``. Hardware then works on 2 channels side by side. Width, stride, kernel and padding along the width
    have to be multiples of the number of channels, and taps neighbours.

    Attributes:
        channels: How many neighbours become channels.
    """

    channels: int

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Applies the pass.

        Raises:
            UsageError: The number of channels is below 1.
        """
        if self.channels < 1:
            raise UsageError("channels", got=self.channels, expected="1 or more")
        with Editor(model, rule="rebalance-im2col") as edit:
            for node in [n for n in all_nodes(model.graph) if is_call(n, IM2COL)]:
                call = call_of(node, IM2COL)
                refusal = self._refusal(call, model)
                if refusal is not None:
                    edit.leave(node, refusal)
                elif self.channels > 1:
                    self._rewrite(edit, node, call)
        return edit.result()

    def _refusal(self, call: Call, model: ir.Model) -> Refusal | None:
        shape = call.shapes.get("X")
        if shape is None or len(shape) != 4 or shape[2] is None or shape[3] != 1:
            return Refusal(problem="no image of one channel and known width", got=str(shape), expected="(N, H, W, 1)")
        if call.attributes["depthwise"]:
            return Refusal(problem="a depthwise convolution follows, which keeps channels apart")
        if call.integers("dilations")[1] != 1:
            return Refusal(problem="taps along the width are no neighbours", got=f"{call.integers('dilations')}")
        pads = call.integers("pad_amount")
        widths = [shape[2], call.integers("kernel_size")[1], call.integers("stride")[1], pads[1], pads[3]]
        if any(w % self.channels for w in widths):
            got = "width {}, kernel {}, stride {}, padding {} and {}".format(*widths)
            return Refusal(problem="the width does not divide", got=got, expected=f"multiples of {self.channels}")
        opset = model.opset_imports.get("", _FIRST_ZERO_COPIES)
        if opset < _FIRST_ZERO_COPIES:
            return Refusal(problem="the opset is too old", got=str(opset), expected=f"{_FIRST_ZERO_COPIES} or later")
        return None

    def _rewrite(self, edit: Editor, node: ir.Node, call: Call) -> None:
        image, sizes = node.inputs[0], call.shapes["X"]
        if image is None:
            return
        height, width = sizes[1], int(sizes[2] or 0) // self.channels
        target = edit.constant(f"{image.name}/sizes", np.array([0, 0, width, self.channels], np.int64))
        reshape = edit.node("Reshape", [image, target], f"{image.name}/rebalanced", like=image)
        made = reshape.outputs[0]
        made.shape = None if image.shape is None else ir.Shape([*image.shape[:2], width, self.channels])
        edit.insert(reshape, before=node)
        edit.rewire(node, 0, made)
        for name in ("kernel_size", "stride"):
            down, across = call.integers(name)
            _set(node, name, [down, across // self.channels])
        above, left, below, right = call.integers("pad_amount")
        _set(node, "pad_amount", [above, left // self.channels, below, right // self.channels])
        stated = "" if height is None else f"({sizes[0] or 1},{height},{width},{self.channels})"
        node.attributes["input_shape"] = ir.AttrString("input_shape", stated)


def _set(node: ir.Node, name: str, values: Sequence[int]) -> None:
    node.attributes[name] = ir.AttrInt64s(name, list(values))
