"""Tests of anybit.quantizers."""
