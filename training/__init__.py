"""Training scripts, one a model: each is named after it and writes its files again."""
