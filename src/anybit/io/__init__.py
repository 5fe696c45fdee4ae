"""Models from files, bytes and objects, and back; repairs of what real files get wrong; annotations."""
