"""Removal of channels, and of everything that belongs to them."""
