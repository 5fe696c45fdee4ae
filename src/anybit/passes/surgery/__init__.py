"""Passes that cut, join and name parts of a graph."""
