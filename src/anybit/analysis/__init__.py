"""Analyses: model to frozen value, nothing changed."""
