"""Speed of a model by several engines and by what a user would take instead."""
