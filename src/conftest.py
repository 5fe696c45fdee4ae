"""Leaves what imports torch when it is imported out of the doctests where there is no torch."""

from __future__ import annotations

import warnings
from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("torch") else ["anybit/frontends/torch/*"]
if not find_spec("brevitas"):
    collect_ignore_glob.append("anybit/frontends/brevitas/*")
else:
    with warnings.catch_warnings():  # Brevitas warns about its own packages when they are imported
        warnings.simplefilter("ignore")
        import brevitas.export  # noqa: F401
