"""Leaves these tests out where one of the packages is not installed: `make test-frontends` has them all."""

from __future__ import annotations

from importlib.util import find_spec

NEEDED = ("brevitas", "timm", "torchao", "torchvision", "transformers")
collect_ignore_glob = [] if all(map(find_spec, NEEDED)) else ["*.py"]
