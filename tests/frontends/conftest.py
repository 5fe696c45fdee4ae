"""What torch is imported in is left out where it is not installed: `make test` has an environment without it."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore = [] if find_spec("torch") else ["unseen.py"]
