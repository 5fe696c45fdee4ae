"""Tests of anybit.formats.thresholds.write."""
