"""FINN: models in its own dialect, or in QONNX that its ingestion reads as it is meant."""
