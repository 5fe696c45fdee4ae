"""Models on data sets: data, metrics, statistics of activations."""
