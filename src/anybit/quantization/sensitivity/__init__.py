"""Sensitivity: what each tensor loses by quantisation, measured at the outputs."""
