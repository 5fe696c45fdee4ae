"""Passes that write an operator with simpler ones, and what they share."""
