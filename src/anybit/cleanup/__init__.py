"""Passes that need no analysis of values, one a file, and `clean`, which applies a list of them."""
