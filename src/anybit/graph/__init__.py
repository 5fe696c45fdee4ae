"""An ``onnx_ir`` graph: walks, names, constants, annotations, rewriting; no meaning of operators."""
