"""anybit.frontends.brevitas: modules of Brevitas as hub models."""

from __future__ import annotations

from anybit.frontends.brevitas.convert import from_brevitas

__all__ = ["from_brevitas"]
