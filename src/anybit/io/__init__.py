"""Models from files, bytes and objects, and back; repairs of what real files get wrong; annotations."""

from anybit.io.logs import show_names

show_names()
