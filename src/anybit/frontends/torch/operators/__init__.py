"""Quantisers as torch operators: one file an operator, each bit for bit what `anybit.ops` has under its name."""
