"""Tests of anybit.targets."""
