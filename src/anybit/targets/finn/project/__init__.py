"""A FINN project: the model, the steps of FINN's builder that it needs, and a script that builds and compares."""
