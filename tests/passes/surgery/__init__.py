"""Tests of anybit.passes.surgery."""
