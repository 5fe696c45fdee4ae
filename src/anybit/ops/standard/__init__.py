"""What standard ONNX operators mean: numpy with float64 accumulation, and onnx's own reference for the rest."""
