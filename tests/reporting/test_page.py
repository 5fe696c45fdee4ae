"""The page as text: it loads nothing, it runs nothing but its own script, and no name can leave its data."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from importlib.resources import files

import pytest

import anybit
from anybit.reporting.describe import describe
from anybit.reporting.page import render, report
from tests.models import DIGITS
from tests.reporting.models import HOSTILE, chain, hostile


class _Elements(HTMLParser):
    """The elements of a page, by an HTML parser that is none of ours."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.texts, self._open = [], {}, None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._open = len(self.elements) - 1

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self._open = None

    def handle_data(self, data):
        if self._open is not None:
            self.texts[self._open] = self.texts.get(self._open, "") + data

    def of(self, tag):
        return [(a, self.texts.get(i, "")) for i, (t, a) in enumerate(self.elements) if t == tag]


@pytest.fixture(scope="module")
def page():
    return report(hostile())


def test_the_same_elements_whatever_the_names_are(page):
    ordinary = _Elements(report(chain(2)))
    assert [t for t, _ in _Elements(page).elements] == [t for t, _ in ordinary.elements]


def test_names_arrive_unchanged(page):
    (data,) = [text for attributes, text in _Elements(page).of("script") if attributes.get("id") == "report"]
    names = {o["name"] for b in json.loads(data)["report"]["blocks"] for o in b["operations"]}
    assert {n for n in HOSTILE if len(n) < 100 and n.isprintable()} <= names


def test_the_policy_names_the_script_and_the_style_and_nothing_else(page):
    elements = _Elements(page)
    (policy,) = [a["content"] for a, _ in elements.of("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    runs = [text for attributes, text in elements.of("script") if "type" not in attributes]
    texts = runs + [text for _, text in elements.of("style")]
    hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(t.encode()).digest()).decode()}'" for t in texts}
    assert set(re.findall(r"'sha256-[^']+'", policy)) == hashes
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "http" not in policy


def test_nothing_is_loaded_from_anywhere(page):
    elements = _Elements(page)
    loading = {"src", "href", "srcset", "poster", "action", "formaction", "data", "background", "style"}
    assert not [(t, a) for t, a in elements.elements if loading & set(a) or any(n.startswith("on") for n in a)]
    (style,) = [text for _, text in elements.of("style")]
    assert set(re.findall(r"url\(([^)]*)\)", style)) <= {'"#arrow"', '"#arrow-touched"', '"#mixed"'}
    assert "@import" not in style
    assert "sourceMappingURL" not in page


def test_own_scripts_make_no_markup_of_texts():
    folder = files("anybit.reporting") / "assets"
    scripts = [f.read_text("utf-8") for f in folder.iterdir() if f.name.endswith(".js")]
    assert len(scripts) == 17
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setTimeout\(\s*[\"'`]"
    assert not [s for s in scripts if re.search(forbidden, s)]


def test_what_is_vendored_is_what_the_table_says():
    folder = files("anybit.reporting") / "vendor"
    table = (folder / "VENDORED.md").read_text("utf-8")
    assert hashlib.sha256((folder / "dagre.min.js").read_bytes()).hexdigest() in table
    assert "Permission is hereby granted" in (folder / "dagre.LICENSE.txt").read_text("utf-8")


def test_the_licence_of_the_library_goes_along(page):
    assert "Copyright (c) 2012-2014 Chris Pettitt" in page


def test_the_same_model_makes_the_same_page():
    assert report(DIGITS / "model.onnx") == report(DIGITS / "model.onnx")


def test_a_page_names_the_file_and_no_folder():
    page = report(DIGITS / "model.onnx")
    assert "<title>model.onnx · anybit report</title>" in page
    assert str(DIGITS.parent) not in page
    assert "<title>digits · anybit report</title>" in report(DIGITS / "model.onnx", name="digits")


def test_a_described_model_can_be_drawn_later():
    assert render(describe(chain(2))) == report(chain(2))


def test_two_files_of_one_name_are_told_apart_by_their_folders(tmp_path):
    for folder in ("before", "after"):
        (tmp_path / folder).mkdir()
        anybit.save(chain(2), tmp_path / folder / "model.onnx")
    after, before = (tmp_path / folder / "model.onnx" for folder in ("after", "before"))
    page = report(after, before=before, targets=False)
    assert "after/model.onnx" in page
    assert "before/model.onnx" in page
    assert "after/model.onnx" not in report(after, targets=False)
