"""The native engine: plans run by the kernels of the package anybit-kernels."""
