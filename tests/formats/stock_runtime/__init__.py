"""Tests of anybit.formats.stock_runtime."""
