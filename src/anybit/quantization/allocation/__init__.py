"""Allocation: bits of all tensors under a budget of bit operations, bits of weights and activations, bytes or loss."""
