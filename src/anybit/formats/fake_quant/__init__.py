"""Quantisers that are written as arithmetic around a rounding operator."""
