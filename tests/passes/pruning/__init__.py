"""Tests of anybit.passes.pruning."""
