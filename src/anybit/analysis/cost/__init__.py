"""What a model costs: multiply-accumulates, bit operations, bits of weights and activations, by number format."""
