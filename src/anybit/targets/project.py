"""Project: a folder of files that a tool builds, or what stands in the way of it."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from anybit.errors import Finding, ModelFileError, Severity
from anybit.io.files.temporary import folder_beside
from anybit.io.files.whole import put_folder
from anybit.targets.handover import Rewrite

_MARK = ".anybit-project"  # in each folder, so that no other one is replaced


@dataclass(frozen=True)
class Project:
    """What came of writing a model for a tool.

    Attributes:
        name: Of the project.
        files: By path inside its folder, what they hold; none if something stands in the way.
        rewrites: What was changed in the model.
        findings: What stands in the way (errors), and what a user should know (warnings).
        figures: Numbers that the command prints, by what they are.
    """

    name: str
    files: Mapping[str, bytes]
    rewrites: tuple[Rewrite, ...] = ()
    findings: tuple[Finding, ...] = ()
    figures: Mapping[str, int | float | str] = field(default_factory=dict[str, int | float | str])

    @property
    def ready(self) -> bool:
        """Whether there is a project to write."""
        return not any(f.severity is Severity.ERROR for f in self.findings)

    def write(self, folder: Path) -> None:
        """Writes the folder, which appears whole or not at all; an earlier project in its place is replaced.

        Raises:
            ModelFileError: Something stands in the way, there is something else at the place, or it cannot be written.
        """
        if not self.ready:
            raise ModelFileError("no project to write", node=str(folder), got=str(self.findings[0]))
        with project_folder(folder) as temporary:
            for name, content in self.files.items():
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                (temporary / name).write_bytes(content)


@contextmanager
def project_folder(folder: str | os.PathLike[str]) -> Generator[Path]:
    """An empty folder to fill, which takes its place when the block ends well; an earlier project there is replaced.

    Raises:
        ModelFileError: There is something else at the place, or it cannot be written.
    """
    try:
        place = Path(os.path.realpath(folder))
        if place.exists() and not (place.is_dir() and ((place / _MARK).is_file() or not any(place.iterdir()))):
            raise ModelFileError("no earlier project", node=str(folder), expected="a new or empty folder")
    except (OSError, ValueError) as error:
        raise ModelFileError("cannot write the folder", node=str(folder), got=error) from error
    try:
        with folder_beside(place) as temporary:
            (temporary / _MARK).touch()
            yield temporary
            put_folder(temporary, place)
    except OSError as error:
        raise ModelFileError("cannot write the folder", node=str(folder), got=error.strerror or str(error)) from error
