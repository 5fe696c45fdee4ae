"""A quantised network as a circuit of da4ml, in which every number is exact."""
