"""Tests of anybit.benchmarking."""
