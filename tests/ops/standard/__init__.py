"""Tests of the reference kernels of standard operators."""
