"""A quantised network as dependency-free C."""
