"""Tests of anybit.formats.qonnx."""
