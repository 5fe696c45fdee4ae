"""Tests on real models and with real tools."""
