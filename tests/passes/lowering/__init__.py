"""Tests of anybit.passes.lowering."""
