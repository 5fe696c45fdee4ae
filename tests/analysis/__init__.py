"""Tests of anybit.analysis."""
