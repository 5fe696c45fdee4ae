"""Tests of anybit.frontends.brevitas."""
