"""Passes that change or state element types and number formats."""
