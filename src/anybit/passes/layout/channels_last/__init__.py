"""What `ToChannelsLast` is made of: rules by operator, and the rewriting of a region."""
