"""Tests of anybit.passes.types."""
