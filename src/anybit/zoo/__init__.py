"""Models that ship with anybit, and catalogues of others: found, fetched, evaluated, published."""
