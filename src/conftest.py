"""Leaves the front ends that import torch when they are imported out of the doctests where there is no torch."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("torch") else ["anybit/frontends/torch/*"]
if not find_spec("brevitas"):
    collect_ignore_glob.append("anybit/frontends/brevitas/*")
