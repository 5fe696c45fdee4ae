"""Tests of anybit.cleanup."""
