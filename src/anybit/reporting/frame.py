"""What pages share: the engine of their templates, the policy that keeps them from loading anything, the colours."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from anybit.errors import visible


def environment() -> Environment:
    """Templates that escape what they are given, show what cannot be printed, and refuse names that they lack."""
    engine = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True, finalize=_printable)
    engine.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return engine


def _printable(value: object) -> object:
    """A text line by line as `visible` makes it; what a template marks as safe stays."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return "\n".join(map(visible, value.split("\n")))


def policy(style: str, *scripts: str) -> str:
    """Nothing may be loaded, and of what stands in the page only these texts count as style and script."""
    allowed = " ".join(map(_hash, scripts)) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src {_hash(style)}; worker-src blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def theme() -> str:
    """The style sheet of colours and fonts, light and dark."""
    return (files("anybit.reporting") / "assets" / "theme.css").read_text("utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
