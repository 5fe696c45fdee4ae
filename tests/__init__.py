"""Tests of anybit, laid out as src/anybit is."""
