"""Tests of anybit.passes.layout."""
