"""Project: a folder of files that a tool builds, or what stands in the way of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from anybit.errors import Finding, ModelFileError, Severity
from anybit.io.files.temporary import folder_beside
from anybit.io.files.whole import put_folder
from anybit.records import Record
from anybit.targets.handover import Rewrite

_RECORD = ".anybit-project"  # hash and path of each file that was written, as sha256sum prints them


@dataclass(frozen=True)
class Project(Record):
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
        """Writes the folder, which appears whole or not at all; see `project_folder`.

        Raises:
            ModelFileError: Something stands in the way, the place holds work of others, or it cannot be written.
        """
        if not self.ready:
            raise ModelFileError("no project to write", node=str(folder), got=str(self.findings[0]))
        with project_folder(folder) as temporary:
            for name, content in self.files.items():
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                (temporary / name).write_bytes(content)


@contextmanager
def project_folder(folder: str | os.PathLike[str]) -> Generator[Path]:
    """An empty folder to fill, which takes its place when the block ends well.

    An earlier project in its place is replaced where every file in it is as it was written.

    Raises:
        ModelFileError: The place holds a file that was changed or added since, or something that is no project; or the
            folder cannot be written.
    """
    try:
        place = Path(os.path.realpath(folder))
        _refuse_work(place, str(folder))
    except (OSError, ValueError) as error:
        raise ModelFileError("cannot write the folder", node=str(folder), got=error) from error
    try:
        with folder_beside(place) as temporary:
            yield temporary
            written = _hashes(temporary)
            (temporary / _RECORD).write_text("".join(f"{h}  {n}\n" for n, h in written.items()), "utf-8")
            put_folder(temporary, place)
    except OSError as error:
        raise ModelFileError("cannot write the folder", node=str(folder), got=error.strerror or str(error)) from error


def _refuse_work(place: Path, shown: str) -> None:
    """Raises where the place holds anything but a project as it was written."""
    if not place.exists() or (place.is_dir() and not any(place.iterdir())):
        return
    record = place / _RECORD
    if not place.is_dir() or record.is_symlink() or not record.is_file():
        raise ModelFileError("no earlier project", node=shown, expected="a new or empty folder")
    lines = set(record.read_text("utf-8", "replace").splitlines())
    kept = [n for n, h in _hashes(place).items() if f"{h}  {n}" not in lines and n != _RECORD]
    if kept:
        others = f" and {len(kept) - 1} more" if len(kept) > 1 else ""
        raise ModelFileError(
            "changed or added since the project was written",
            node=shown,
            got=kept[0] + others,
            expected="the files that were written, or a new folder",
            hint="write into another folder, or remove this one",
        )


def _hashes(folder: Path) -> dict[str, str]:
    """By path inside the folder, the hash of each file; nothing for what is neither a file nor a folder."""
    hashes: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            hashes[path.relative_to(folder).as_posix()] = ""
        elif path.is_file():
            with path.open("rb") as file:
                hashes[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes
