"""Products of bytes: QLinearConv, QLinearMatMul, ConvInteger and MatMulInteger, read and written."""
