"""anybit beside the qonnx package, in the environment that has both: `make test-qonnx`; elsewhere they are skipped."""
