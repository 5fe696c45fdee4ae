"""Operators: one file each, with formula, numpy reference, ONNX function body, rules and number format together."""
