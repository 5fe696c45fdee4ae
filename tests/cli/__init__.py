"""Tests of anybit.cli."""
