"""One page that shows a model: what it is made of, what its tensors can hold, what it costs, where it can go."""
