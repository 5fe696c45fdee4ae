"""What the specification of each operator asks of its calls: a module of rules for each family of operators."""
