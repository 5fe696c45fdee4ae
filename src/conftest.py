"""Leaves what imports torch, Brevitas or da4ml when it is imported out of the doctests where they are absent."""

from __future__ import annotations

import warnings
from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("torch") else ["anybit/frontends/torch/*"]
if not find_spec("da4ml"):
    collect_ignore_glob.append("anybit/targets/da4ml/tracer.py")
if not find_spec("brevitas"):
    collect_ignore_glob.append("anybit/frontends/brevitas/*")
else:
    with warnings.catch_warnings():  # Brevitas warns about its own packages when they are imported
        warnings.simplefilter("ignore")
        import brevitas.export  # noqa: F401
