"""The reference engine: every operator by its numpy reference."""
