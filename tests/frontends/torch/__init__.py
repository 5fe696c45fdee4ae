"""Tests of anybit.frontends.torch."""
