"""Leaves these tests out where brevitas is not installed: `make test` has an environment without it."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("brevitas") else ["test_*.py"]
