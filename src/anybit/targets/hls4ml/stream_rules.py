"""What hls4ml 1.3 does not compute in io_stream, beside what it does not compute at all."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from anybit.errors import Finding
from anybit.graph.walk import label

_MOST_READERS = 7  # of a stream that hls4ml copies
_HINT = "ask for io_parallel (--io-type parallel)"


def stream(node: ir.Node) -> Iterator[Finding]:
    """Findings about one node of a prepared model."""
    pads = list(node.attributes.get_ints("pads", ()))
    if node.op_type == "MaxPool" and any(pads):
        problem = "a pool with padding, which hls4ml does not have in io_stream"
        yield Finding(rule="stream", node=label(node), problem=problem, got=f"pads {pads}", expected="none", hint=_HINT)
    kernel, strides = (list(node.attributes.get_ints(name, ())) for name in ("kernel_shape", "strides"))
    if node.op_type == "MaxPool" and kernel != strides:
        problem = "windows of a pool that do not lie side by side, which hls4ml does not have in io_stream"
        got = f"kernel {kernel}, strides {strides}"
        yield Finding(rule="stream", node=label(node), problem=problem, got=got, expected="equal strides", hint=_HINT)
    depthwise = node.attributes.get_int("group", 1) > 1 and max(kernel, default=0) == 1 < max(strides, default=1)
    if node.op_type == "Conv" and (depthwise or (kernel and kernel[0] == 1 < strides[0] and kernel[1] > 1)):
        problem = "a kernel of one row that skips rows, or of one pixel that skips pixels by channel"
        got, expected = f"kernel {kernel}, strides {strides}", "strides of 1, or a kernel of more rows"
        yield Finding(rule="stream", node=label(node), problem=problem, got=got, expected=expected, hint=_HINT)
    for value in node.outputs:
        readers = len(value.uses()) + value.is_graph_output()
        if readers > _MOST_READERS:
            problem = "an output with more readers than hls4ml copies a stream for"
            expected = f"up to {_MOST_READERS}"
            yield Finding(
                rule="stream", node=label(node), problem=problem, got=str(readers), expected=expected, hint=_HINT
            )
