"""Schemas of the standard operators, as the installed onnx has them."""

from __future__ import annotations

import onnx


def standard_schema(op_type: str, opset: int) -> onnx.defs.OpSchema | None:
    """onnx's schema of a standard operator at this opset, None if there was no such operator then."""
    if not 1 <= opset <= newest_opset():
        return None
    try:
        schema = onnx.defs.get_schema(op_type, opset, "")
    except onnx.defs.SchemaError:
        return None
    return None if schema.deprecated else schema


def newest_opset() -> int:
    """The newest version of the standard operators that the installed onnx knows."""
    return onnx.defs.onnx_opset_version()
