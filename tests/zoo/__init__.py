"""Tests of anybit.zoo."""
