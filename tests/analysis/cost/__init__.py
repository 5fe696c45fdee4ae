"""Tests of anybit.analysis.cost."""
