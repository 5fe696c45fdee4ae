"""The pages under docs/: their code runs and prints what they say, and what they point to is there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.models import PROJECT
from tests.snippets import blocks_of, run_block

_PAGES = sorted((PROJECT / "docs").rglob("*.md"))
_WITH_CODE = [p for p in _PAGES if blocks_of(p)]
_FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_FOLDERS = r"(?:src|tests|docs|examples|benchmarks|training|native|\.ci)"
_PATH = re.compile(rf"`({_FOLDERS}/[\w./-]*|[A-Z]+\.md|pyproject\.toml)`")  # of this project, in backticks


def _name(page: Path) -> str:
    return page.relative_to(PROJECT).as_posix()


def _prose(page: Path) -> str:
    return _FENCED.sub("", page.read_text(encoding="utf-8"))


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and myst make them."""
    headings = (re.sub(r"[^\w\- ]", "", h.lower()) for h in _HEADING.findall(_prose(page)))
    return {h.strip().replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", _WITH_CODE, ids=_name)
def test_the_code_of_a_page_runs_and_prints_what_it_says(page, tmp_path, monkeypatch, capsys):
    stem = "page_" + re.sub(r"\W", "_", page.stem)
    monkeypatch.chdir(tmp_path)
    before = ""
    for number, block in enumerate(blocks_of(page)):
        name = f"{stem}_{number}"
        run_block(before + block.code, name, tmp_path, monkeypatch)
        before = f"from {name} import *\n"  # a block goes on where the one before it ended
        printed = capsys.readouterr().out
        assert printed == (block.printed or ""), f"block {number} of {_name(page)}"


@pytest.mark.parametrize("page", _PAGES, ids=_name)
def test_every_link_of_a_page_leads_somewhere(page):
    for target in _LINK.findall(_prose(page)):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        assert place.exists(), f"{_name(page)}: {target}"
        assert not anchor or anchor in _anchors(place), f"{_name(page)}: {target}"


@pytest.mark.parametrize("page", _PAGES, ids=_name)
def test_every_path_that_a_page_names_exists(page):
    missing = [p for p in _PATH.findall(_prose(page)) if not (PROJECT / p).exists()]
    assert not missing, f"{_name(page)}: {missing}"


def test_the_architecture_names_every_layer():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (layers,) = (c["layers"] for c in contracts if c["type"] == "layers")
    page = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = {room.strip().removeprefix("anybit.") for layer in layers for room in re.split(r"[:|]", layer)}
    assert {r for r in rooms if not re.search(rf"\b{r}\b", page)} == set()
    folders = {p.parent.name for p in (PROJECT / "src" / "anybit").glob("*/__init__.py")}
    assert {f for f in folders if not re.search(rf"\b{f}\b", page)} == set()


def test_every_decision_has_its_four_parts():
    for page in sorted((PROJECT / "docs" / "decisions").glob("[0-9]*.md")):
        headings = _HEADING.findall(_prose(page))
        assert headings[1:] == ["Context", "Decision", "Consequences", "What would end it"], _name(page)


def test_every_page_is_in_the_list_of_its_folder():
    for folder in {p.parent for p in _PAGES}:
        listed = {(folder / t).resolve() for t in _LINK.findall((folder / "index.md").read_text(encoding="utf-8"))}
        assert {p for p in _PAGES if p.parent == folder and p.name != "index.md"} <= listed, _name(folder)
