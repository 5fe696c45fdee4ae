"""Tests of anybit.io.repair."""
