"""Tests of anybit.engines.reference."""
