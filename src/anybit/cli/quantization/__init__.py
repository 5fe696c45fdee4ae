"""Commands of quantisation after training."""
