"""Architectures that come from packages, with random weights, through the flows that quantise them."""
