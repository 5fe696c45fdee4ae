"""Interval arithmetic that the transfer rules share."""
