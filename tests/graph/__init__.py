"""Tests of anybit.graph."""
