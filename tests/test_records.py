"""Results in a notebook and as tables, and results as what functions take."""

from __future__ import annotations

import sys
import types

import pytest

import anybit
from anybit.errors import UsageError
from tests.models import DIGITS, mlp

MODEL = DIGITS / "model.onnx"


def test_records_are_tables_in_a_notebook():
    page = anybit.cost(MODEL)._repr_html_()
    assert page.count("<table>") >= 2
    assert "layers" in page
    assert "&lt;script" in anybit.info(renamed("<script>"))._repr_html_()


def renamed(name):
    model = anybit.load(mlp())
    model.graph.inputs[0].name = name
    return model


def test_records_become_tables_of_pandas_where_it_is(monkeypatch):
    made = types.ModuleType("pandas")
    made.DataFrame = list
    monkeypatch.setitem(sys.modules, "pandas", made)
    rows = anybit.cost(MODEL).to_pandas("layers")
    assert [row["operator"] for row in rows] == [layer.operator for layer in anybit.cost(MODEL).layers]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ModuleNotFoundError, match="pip install pandas"):
        anybit.cost(MODEL).to_pandas()


def test_tuples_of_records_are_tables_and_tuples(monkeypatch):
    made = types.ModuleType("pandas")
    made.DataFrame = list
    monkeypatch.setitem(sys.modules, "pandas", made)
    found = anybit.types(MODEL)
    assert isinstance(found, tuple)
    assert found == tuple(found)
    page = found._repr_html_()
    assert page.count("<tr>") == min(len(found), 30) + 1
    assert found[0].name in page
    assert [row["name"] for row in found.to_pandas()] == [t.name for t in found]
    assert anybit.check(MODEL)._repr_html_() == "<p>nothing</p>"
    assert anybit.check(MODEL).to_pandas() == []
    assert "refusals" in anybit.capabilities(MODEL)._repr_html_()


RESULTS = {
    "summary": lambda: anybit.info(MODEL),
    "types": lambda: anybit.types(MODEL),
    "ranges": lambda: anybit.ranges(MODEL),
    "cost": lambda: anybit.cost(MODEL),
    "statistics": lambda: anybit.stats(MODEL),
    "comparison": lambda: anybit.compare(MODEL, MODEL, samples=1),
    "certificate": lambda: anybit.verify(MODEL, MODEL),
    "conversion": lambda: anybit.convert(MODEL, "qcdq", check=False),
    "export": lambda: anybit.results.Imported(anybit.load(MODEL), agreement=None),
    "applied": lambda: anybit.apply(MODEL, ["remove-unused"]),
    "hand-over": lambda: anybit.prepare_finn(MODEL, compared=False),
    "project": lambda: anybit.prepare_c(MODEL, logits=True),
}


@pytest.mark.parametrize("name", RESULTS)
def test_every_result_is_a_table_of_bounded_size(name):
    result = RESULTS[name]()
    page = result._repr_html_()
    assert page.startswith("<table>")
    assert page.count("<table>") == page.count("</table>")
    assert len(page) < 100_000
    assert callable(result.to_pandas)


def test_a_result_that_holds_a_model_is_saved(tmp_path):
    result = anybit.convert(MODEL, "qcdq", check=False)
    assert len(repr(result)) < 2000
    anybit.save(result, tmp_path / "m.onnx")
    assert anybit.info(tmp_path / "m.onnx").operators["DequantizeLinear"]


def test_a_session_says_what_it_is_in_a_line():
    assert repr(anybit.Session(MODEL, engine="reference")).startswith("<Session by reference: ")


def test_a_path_is_no_data_of_a_report():
    with pytest.raises(UsageError, match=r"data of a report: got 'x\.npz'"):
        anybit.report(MODEL, "x.npz")


def test_dir_names_what_is_public():
    names = [name for name in dir(anybit) if not name.startswith("_")]
    assert "import_module" not in names
    assert "annotations" in names
