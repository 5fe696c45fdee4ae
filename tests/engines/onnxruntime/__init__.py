"""Tests of anybit.engines.onnxruntime."""
