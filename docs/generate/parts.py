"""The generated parts by name, and a page with all of its parts in place."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from docs.generate import command_line, findings, formats, operators, passes, python_api, schemas

PARTS: Mapping[str, Callable[[], str]] = {
    "command-line": command_line.text,
    "errors": findings.text_of_errors,
    "card": schemas.text_of_card,
    "findings": findings.text,
    "formats": formats.text,
    "json": schemas.text,
    "operators": operators.text,
    "passes": passes.text,
    "standard-operators": operators.text_of_standard,
    **{f"python-{module}": part for module, part in python_api.PARTS.items()},
}

_MARK = re.compile(r"^<!-- generated: ([\w.-]+) -->$", re.MULTILINE)


def expanded(page: str) -> str:
    """The text of a page with its generated parts.

    Raises:
        KeyError: There is no part of that name.
    """
    return _MARK.sub(lambda match: PARTS[match[1]](), page)
