"""Tests of anybit.io."""
