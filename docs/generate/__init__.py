"""Parts of pages that the code itself writes: they stand in a page as ``<!-- generated: NAME -->``."""
