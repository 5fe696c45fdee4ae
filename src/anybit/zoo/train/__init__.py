"""Training scripts, one a model: each is named after it and writes its files again.

`digits_mlp_2w2a` is plain numpy. The others train with Brevitas: a `Recipe` says what, `make` does it.
"""
