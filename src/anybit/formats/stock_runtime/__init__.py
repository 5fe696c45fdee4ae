"""What stock ONNX Runtime makes of exact files, and forms that it leaves alone."""
