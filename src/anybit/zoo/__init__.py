"""Models that ship with anybit, and the scripts that train them."""
