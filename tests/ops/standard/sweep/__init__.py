"""Every standard operator at every version from 7 on: the reference engine against ONNX Runtime."""
