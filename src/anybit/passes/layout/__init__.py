"""Passes that move axes: channels last, one-dimensional convolutions as two-dimensional ones."""
