"""Standard operators on tensors whose channels are the last axis, in the domain ``qonnx.custom_op.channels_last``."""
