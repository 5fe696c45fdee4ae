"""An hls4ml project: number formats and reuse of each layer, their file, and a script that builds and compares."""
