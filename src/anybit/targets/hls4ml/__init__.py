"""Hand-over to hls4ml 1.3: `prepare` rewrites a model into what hls4ml computes exactly, `check` says what is left."""
