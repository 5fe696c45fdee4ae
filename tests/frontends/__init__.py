"""Tests of anybit.frontends."""
