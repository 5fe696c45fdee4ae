"""Folders of projects: they appear whole, replace what anybit wrote, and keep what others did."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from anybit.errors import Finding, ModelFileError
from anybit.targets.project import Project, project_folder


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def project(**files: bytes) -> Project:
    return Project("net", {name.replace("__", "/"): content for name, content in files.items()})


def test_a_project_as_it_was_written_is_replaced(tmp_path):
    place = tmp_path / "p"
    project(a=b"1", sub__b=b"2").write(place)
    project(a=b"3").write(place)
    assert {n: c for n, c in contents(place).items() if n != ".anybit-project"} == {"a": b"3"}


def _edit(place: Path) -> None:
    (place / "a").write_bytes(b"mine")


def _add(place: Path) -> None:
    (place / "sub" / "notes").write_bytes(b"mine")


def _link(place: Path) -> None:
    (place / "link").symlink_to(place / "a")


def _pipe(place: Path) -> None:
    os.mkfifo(place / "pipe")


def _swap(place: Path) -> None:
    """The content of one file under the name of another."""
    (place / "a").write_bytes((place / "sub" / "b").read_bytes())


@pytest.mark.parametrize("work", [_edit, _add, _link, _pipe, _swap])
def test_work_of_others_in_a_project_is_kept(tmp_path, work):
    place = tmp_path / "p"
    project(a=b"1", sub__b=b"2").write(place)
    work(place)
    before = contents(place)
    with pytest.raises(ModelFileError, match="changed or added since"):
        project(a=b"3").write(place)
    assert contents(place) == before


def test_a_file_that_was_removed_is_no_work(tmp_path):
    place = tmp_path / "p"
    project(a=b"1", b=b"2").write(place)
    (place / "a").unlink()
    project(a=b"3").write(place)
    assert (place / "a").read_bytes() == b"3"


def test_a_folder_without_a_record_is_kept(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a").write_bytes(b"mine")
    (tmp_path / "file").write_bytes(b"mine")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / ".anybit-project").symlink_to(tmp_path / "file")
    for name in ("p", "file", "linked"):
        with pytest.raises(ModelFileError, match="no earlier project"):
            project(a=b"3").write(tmp_path / name)


def test_a_block_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(ModelFileError, match="cannot write the folder"), project_folder(tmp_path / "p") as folder:
        folder.write_bytes(b"1")
    assert not any(tmp_path.iterdir())


def test_a_project_that_something_stands_in_the_way_of_is_not_written(tmp_path):
    refused = Project("net", {}, findings=(Finding(rule="r", problem="a reason"),))
    with pytest.raises(ModelFileError, match="a reason"):
        refused.write(tmp_path / "p")
    assert not (tmp_path / "p").exists()
