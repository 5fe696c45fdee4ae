"""Passes: model to model, one a file. Each is an ``onnx_ir`` pass, so that they compose with those of onnx-ir."""
