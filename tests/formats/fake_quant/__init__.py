"""Tests of anybit.formats.fake_quant.read."""
