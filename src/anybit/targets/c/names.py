"""Names of a model as C may have them: identifiers, and comments that nothing can end or continue.

Names in files are not trusted. An identifier is made of letters, digits and underscores alone, and begins with the
name of the project, or with `in_` or `out_`; a comment holds no star, question mark, backslash or line break.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from anybit.errors import UsageError

_LONGEST = 24
_RESERVED = re.compile(
    r"(str|mem|wcs|is|to|atomic|e[0-9a-z]|sig|lc|int|uint|pri|scn|fe|clock|time|cmplx)", re.IGNORECASE
)
"""What names of the C library begin with, now or one day."""
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:-+=,()[]/ #@;")


def project_name(wish: str) -> str:
    """A name that all identifiers of a project begin with, made of letters, digits and underscores.

    Example:
        >>> project_name("Größe 3*/"), project_name("int8"), project_name("9")
        ('gr_e_3', 'net_int8', 'net_9')
    """
    name = _letters(wish)
    return name if name and name[0].isalpha() and not _RESERVED.match(name) else f"net_{name}".rstrip("_")


def given_name(wish: str) -> str:
    """A name that a caller asks for, as it is.

    Raises:
        UsageError: It cannot begin the identifiers of a project.
    """
    if project_name(wish) != wish:
        expected = "small letters, digits and underscores; none that the C library begins names with"
        raise UsageError("name of the project", got=repr(wish), expected=expected, hint=f"take {project_name(wish)}")
    return wish


def identifiers(prefix: str, names: Iterable[str]) -> tuple[str, ...]:
    """One identifier a name, each another one, in order.

    Example:
        >>> identifiers("in_", ["x.1", "x 1", "for", ""])
        ('in_x_1', 'in_x_1_2', 'in_for', 'in_4')
    """
    taken: set[str] = set()
    found: list[str] = []
    for index, name in enumerate(names, start=1):
        wish = prefix + (_letters(name) or str(index))
        identifier, count = wish, 1
        while identifier in taken:
            count += 1
            identifier = f"{wish}_{count}"
        taken.add(identifier)
        found.append(identifier)
    return tuple(found)


def comment(text: str) -> str:
    r"""The text as a comment may hold it: what could end one, or mean something, is shown by its number.

    Example:
        >>> print(comment("a*/b??/\n"))
        a<2A>/b<3F><3F>/<A>
    """
    return "".join(c if c in _PLAIN else f"<{ord(c):X}>" for c in text)


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower())[:_LONGEST].strip("_")
