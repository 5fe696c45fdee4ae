"""Integer products and MultiThreshold, the dialect of FINN, read and written."""
