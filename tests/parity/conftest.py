"""The bridge needs the package; tests say themselves that they are skipped without it."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("qonnx") else ["bridge.py"]
