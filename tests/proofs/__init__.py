"""Proofs that take minutes; their results are recorded in the package."""
