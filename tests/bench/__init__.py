"""Tests of anybit.bench."""
