"""Tests of anybit.evaluation."""
