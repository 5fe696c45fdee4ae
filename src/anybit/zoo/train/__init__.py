"""Training scripts, one a model; each reproduces its files to the byte."""
