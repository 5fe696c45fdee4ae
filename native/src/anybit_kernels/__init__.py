"""Integer kernels by which anybit runs the plans of quantised networks."""

from anybit_kernels._kernels import Net, departing, isa, isas, version

__all__ = ["Net", "departing", "isa", "isas", "version"]
