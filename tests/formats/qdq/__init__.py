"""Tests of anybit.formats.qdq.qdq."""
