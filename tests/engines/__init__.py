"""Tests of anybit.engines."""
