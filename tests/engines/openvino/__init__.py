"""Tests of anybit.engines.openvino."""
