"""The pages under docs/: their code runs and prints what they say, and what they point to is there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from anybit.ops.registry import operators
from anybit.passes.catalog import catalog
from anybit.rules.table import RULES
from docs.generate.command_line import commands
from docs.generate.dataflow import NotAnExpressionError, drawn, parsed
from docs.generate.parts import PARTS, expanded
from docs.generate.pictures import pictures
from docs.generate.python_api import MODULES
from docs.generate.tree import with_tree
from tests import public
from tests.models import PROJECT
from tests.reporting.browser import CHROMIUM, DRIVER
from tests.snippets import blocks_of, commands_of, matches, run_block, run_command

_PAGES = sorted((PROJECT / "docs").rglob("*.md"))
_WITH_CODE = [p for p in _PAGES if blocks_of(p)]
_LONG = {
    "docs/how-to/smaller-file.md",
    "docs/how-to/stock-runtimes.md",
    "docs/tutorials/float-to-4-bits.md",
    "docs/tutorials/publish.md",
    "docs/tutorials/smaller-and-faster.md",
}
"""Pages whose code takes more than a second or two."""
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
    text = _FENCED.sub("", with_parts(page))
    headings = (re.sub(r"[^\w\- ]", "", h.lower()) for h in _HEADING.findall(text))
    return {h.strip().replace(" ", "-") for h in headings}


def with_parts(page: Path) -> str:
    """The text of a page with the parts that need no sphinx."""
    text = page.read_text(encoding="utf-8")
    return text if page.parent.name == "python" else expanded(text)


@pytest.mark.parametrize("page", [p for p in _WITH_CODE if _name(p) not in _LONG], ids=_name)
def test_the_code_of_a_page_runs_and_prints_what_it_says(page, tmp_path, monkeypatch, capsys):
    stem = "page_" + re.sub(r"\W", "_", page.stem)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANYBIT_CACHE", str(tmp_path / "cache"))
    before = ""
    for number, block in enumerate(blocks_of(page)):
        name = f"{stem}_{number}"
        if block.is_console:
            _run_commands(block.code, _name(page))
            continue
        run_block(before + block.code, name, tmp_path, monkeypatch)
        before = f"from {name} import *\n"  # a block goes on where the one before it ended
        printed = capsys.readouterr().out
        assert printed == (block.printed or ""), f"block {number} of {_name(page)}"


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in _WITH_CODE if _name(p) in _LONG], ids=_name)
def test_the_code_of_a_long_page_runs_and_prints_what_it_says(page, tmp_path, monkeypatch, capsys):
    test_the_code_of_a_page_runs_and_prints_what_it_says(page, tmp_path, monkeypatch, capsys)


def _run_commands(code, page):
    commands = commands_of(code)
    assert commands, f"{page}: no command in {code!r}"
    for command in commands:
        ended = run_command(command.line)
        assert ended.returncode in (0, 1), f"{page}: {command.line}: {ended.stderr}"
        assert matches(ended.stdout, command.printed or "...\n"), f"{page}: {command.line} prints\n{ended.stdout}"


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


@pytest.mark.parametrize("part", [p for p in PARTS if not p.startswith("python-")])
def test_every_generated_part_has_text_and_stands_on_a_page(part):
    assert PARTS[part]().strip()
    assert any(f"<!-- generated: {part} -->" in p.read_text(encoding="utf-8") for p in _PAGES)


def test_every_public_module_has_its_page():
    for module in MODULES:
        page = PROJECT / "docs" / "reference" / "python" / f"{module.rpartition('.')[2]}.md"
        assert f"<!-- generated: python-{module} -->" in page.read_text(encoding="utf-8"), module
    assert MODULES == public.MODULES


def test_the_reference_has_every_command_pass_operator_and_rule():
    command_line = PARTS["command-line"]()
    assert [c for c in commands() if f"# {c}\n" not in command_line] == []
    assert [p for p in catalog() if f"## {p}\n" not in PARTS["passes"]()] == []
    assert [
        o.name
        for o in operators()
        if o.domain.startswith("qonnx.")  # other tests register operators in domains of their own
        and f"### {o.name} of {o.domain}, version {o.since}" not in PARTS["operators"]()
    ] == []
    findings = PARTS["findings"]() + PARTS["errors"]()
    assert [r.name for r in RULES if f"# {r.name}\n" not in findings] == []


@pytest.mark.parametrize(
    ("printed", "expected", "fits"),
    [
        ("a\nb \nc\n", "a\nb\nc\n", True),
        ("a\nb\nc\n", "a\n...\n", True),
        ("1.25 ms\n", "... ms\n", True),
        ("a\nb\n", "a\n", False),
        ("a\nb\n", "...\nc\n", False),
        ("", "a\n", False),
    ],
)
def test_what_a_command_prints_is_held_against_its_page(printed, expected, fits):
    assert matches(printed, expected) is fits


def test_commands_of_a_console_block_may_go_over_lines():
    first, second = commands_of("$ anybit check m.onnx\n0 errors\n$ anybit zoo add \\\n    m.onnx\n")
    assert (first.line, first.printed) == ("anybit check m.onnx", "0 errors\n")
    assert second.line.split() == ["anybit", "zoo", "add", "m.onnx"]


def test_a_picture_shows_what_an_expression_computes():
    ((name, term),) = parsed("h = Mul<axis=1>(x, [1, 2]); y = Add(h, Relu(h))")
    assert (name, term.text, [i.text for i in term.inputs], term.depth) == ("y", "Add", ["Mul", "Relu"], 3)
    picture = drawn("y = Add(h', b)", "before")
    assert (picture.count("<rect"), picture.count("<path"), picture.count("<text")) == (1, 3, 4)
    for text in ("", "y", "y = ", "f(x)", "y = f(x", "y = f(x))", "y = <script>"):
        with pytest.raises(NotAnExpressionError):
            parsed(text)


def test_the_tree_has_the_pages_of_a_list_under_its_heading():
    page = "# Title\n\n## Part\n\n- [One](a.md): text\n- [Two](b/index.md): text, see [c](c.md)\n"
    tree = "\n```{toctree}\n:hidden:\n:caption: Part\n\na\nb/index\n```\n"
    assert with_tree(page) == f"{page}\n{tree}"


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="no chromium")
def test_the_pictures_are_made_by_the_script(tmp_path):
    made = pictures(tmp_path)
    assert {p.name for p in made.values()} == {p.name for p in (PROJECT / "docs" / "pictures").iterdir()}
    for file in made.values():
        with Image.open(file) as new, Image.open(PROJECT / "docs" / "pictures" / file.name) as old:
            assert new.size == old.size


def test_every_decision_has_its_four_parts():
    for page in sorted((PROJECT / "docs" / "decisions").glob("[0-9]*.md")):
        headings = _HEADING.findall(_prose(page))
        assert headings[1:] == ["Context", "Decision", "Consequences", "What would end it"], _name(page)


def test_every_page_is_in_the_list_of_its_folder():
    for folder in {p.parent for p in _PAGES}:
        listed = {(folder / t).resolve() for t in _LINK.findall((folder / "index.md").read_text(encoding="utf-8"))}
        assert {p for p in _PAGES if p.parent == folder and p.name != "index.md"} <= listed, _name(folder)
