"""Tests of anybit.formats.ort_contrib."""
