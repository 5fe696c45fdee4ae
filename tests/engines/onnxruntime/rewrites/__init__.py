"""Tests of anybit.engines.onnxruntime.rewrites."""
