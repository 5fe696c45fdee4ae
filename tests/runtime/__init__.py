"""Tests of anybit.runtime."""
