"""QONNX in files: packed weights, bodies of operators as model-local functions."""
