"""import_late: modules of other packages loaded when something of them is used, not when they are imported."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

# onnx-ir imports sympy for arithmetic of named dimensions, which no short command does: half of what `info` takes.
_LATE = ("sympy", "onnx_ir._symbolic_shapes")


class _Late(MetaPathFinder):
    """Finds the modules of the list where everything is found, and has Python's own `LazyLoader` load them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _LATE:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


def import_late() -> None:
    """Makes this process, which is a command, load the modules of the list late; those that are loaded stay so."""
    if not any(isinstance(finder, _Late) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Late())
