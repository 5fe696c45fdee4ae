"""Tests of anybit.formats.integer."""
