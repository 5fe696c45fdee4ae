"""anybit in the place of other packages: their classes over anybit's functions, for scripts that move step by step."""
