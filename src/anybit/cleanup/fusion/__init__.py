"""Layers of one operator that were several: fusions that round elsewhere than what they replace."""
