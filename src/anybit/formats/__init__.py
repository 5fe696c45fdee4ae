"""Formats: QONNX is the hub, each file translates one other format from it and to it."""
