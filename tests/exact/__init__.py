"""Tests of step functions and of their proofs."""
