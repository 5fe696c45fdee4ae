"""The analysis of values: what every tensor of a model can hold."""
