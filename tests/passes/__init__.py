"""Tests of anybit.passes."""
