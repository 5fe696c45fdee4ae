"""Tests of anybit.io.checks."""
