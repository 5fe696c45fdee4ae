"""QuantizeLinear, Clip and DequantizeLinear: the dialects QDQ and QCDQ, read and written."""
