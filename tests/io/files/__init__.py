"""Tests of anybit.io.files."""
