"""Examples of public names, one file a module: each stands on the page of its name, and runs as a doctest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

_ENTRY = re.compile(r"^# (\w+)$", re.MULTILINE)

INTRODUCTION = """\
In the examples, `digits` is the path of a model that ships with anybit, and `pixels` the images that it is tested on:

```python
from pathlib import Path

import numpy as np

import anybit

digits = Path(anybit.__file__).parent / "zoo" / "models" / "digits_mlp_2w2a" / "model.onnx"
pixels = np.load(digits.with_name("test.npz"))["pixels"]
```"""


def examples_of(module: str) -> Mapping[str, str]:
    """The examples of a public module by name; none where there is no file."""
    file = Path(__file__).parent / f"{module.rpartition('.')[2]}.txt"
    if not file.exists():
        return {}
    parts = _ENTRY.split(file.read_text(encoding="utf-8"))
    return dict(zip(parts[1::2], (text.strip() for text in parts[2::2]), strict=True))
