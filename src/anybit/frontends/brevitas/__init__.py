"""anybit.frontends.brevitas: modules of Brevitas as hub models."""

from __future__ import annotations

from anybit.frontends.brevitas.export import export_brevitas

__all__ = ["export_brevitas"]
