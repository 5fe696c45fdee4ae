"""anybit.frontends.comparison: a hub model against the framework that it comes from."""
