"""Left out where the framework is not installed: HGQ2 and QKeras each have an environment of their own, in which
`pytest tests/frontends/keras` runs its folder (`hgq2/`, `qkeras/`). Both read these variables when they are imported,
and both are imported here, because warnings of theirs would be errors in a test."""

from __future__ import annotations

import os
import warnings
from importlib import import_module
from importlib.util import find_spec

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

_NEEDED = {"hgq2": ("hgq", "torch"), "qkeras": ("qkeras", "tf_keras")}
_HERE = [folder for folder, needed in _NEEDED.items() if all(find_spec(name) for name in needed)]
collect_ignore_glob = [f"{folder}/*" for folder in _NEEDED if folder not in _HERE]

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for folder in _HERE:
        import_module(_NEEDED[folder][0])
