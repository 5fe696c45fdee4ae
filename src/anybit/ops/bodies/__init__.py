"""Function bodies of operators: traced when a graph needs one, and what several of them call."""
