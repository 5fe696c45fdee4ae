"""split_findings: how the number of outputs that a Split states departs from those that it has."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from anybit.errors import Finding
from anybit.graph.walk import label


def split_findings(node: ir.Node) -> Iterator[Finding]:
    """The finding that ``num_outputs`` of a Split is another number; ONNX Runtime may end the process at it."""
    stated = node.attributes.get("num_outputs")
    if node.op_type != "Split" or node.domain != "" or stated is None or stated.is_ref():
        return
    if stated.type == ir.AttributeType.INT and stated.value != len(node.outputs):
        yield Finding(
            rule="outputs",
            problem="number of outputs",
            node=label(node),
            got=str(len(node.outputs)),
            expected=f"num_outputs, {stated.value}",
        )
