"""The client is a script for hls4ml's own environment; here it cannot be imported."""

from __future__ import annotations

collect_ignore = ["client.py"]
