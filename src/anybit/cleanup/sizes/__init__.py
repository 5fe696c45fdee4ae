"""Sizes of tensors as formulas: what dimensions are in terms of the free dimensions of the inputs."""
