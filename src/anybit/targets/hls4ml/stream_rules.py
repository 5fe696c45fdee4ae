"""What hls4ml 1.3 does not compute in io_stream, beside what it does not compute at all."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from anybit.errors import Finding
from anybit.graph.walk import label


def stream(node: ir.Node) -> Iterator[Finding]:
    """Findings about one node of a prepared model."""
    if node.op_type == "MaxPool" and any(node.attributes.get_ints("pads", ())):
        yield Finding(
            rule="stream",
            node=label(node),
            problem="a pool with padding, which hls4ml does not have in io_stream",
            got=f"pads {list(node.attributes.get_ints('pads', ()))}",
            expected="none",
            hint="ask for io_parallel (--io-type parallel)",
        )
