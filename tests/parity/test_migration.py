"""The tables of docs/migration-from-qonnx.md name all that the installed package has, and passes that there are."""

from __future__ import annotations

import pytest

pytest.importorskip("qonnx", reason="the qonnx package is not installed: make test-qonnx")

import inspect
import pkgutil
import re
from importlib import import_module
from importlib.metadata import distribution
from typing import Any

import numpy as np
import onnx_ir
import qonnx.transformation
from qonnx.analysis import topology
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.base import Transformation
from qonnx.transformation.infer_shapes import InferShapes
from qonnx.util import basic

import anybit
from anybit.passes.catalog import catalog, parse_pass
from tests.models import PROJECT, mlp
from tests.passes.surgery.test_partitions import diamond

PAGE = (PROJECT / "docs" / "migration-from-qonnx.md").read_text()


def table(heading: str) -> dict[str, str]:
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return {cells[0].strip(): cells[1].strip() for cells in rows[2:]}


def test_every_transformation_has_a_row():
    modules = pkgutil.iter_modules(qonnx.transformation.__path__, "qonnx.transformation.")
    found = {
        value.__name__
        for module in modules
        for value in vars(import_module(module.name)).values()
        if inspect.isclass(value) and issubclass(value, Transformation) and value.__module__ == module.name
    }
    assert set(table("Transformations")) == found
    assert len(found) >= 60


def test_every_command_line_has_a_row():
    scripts = {e.name for e in distribution("qonnx").entry_points if e.group == "console_scripts"}
    assert set(table("Command lines")) == scripts


def test_every_method_of_the_wrapper_has_a_row():
    assert set(table("ModelWrapper")) == {n for n in vars(ModelWrapper) if not n.startswith("_") and n != "T"}


def test_every_pass_that_is_named_exists():
    named = re.findall(r"`([a-z0-9]+(?:-[a-z0-9]+)+)(?=[`:])", "\n".join(table("Transformations").values()))
    assert set(named) <= set(catalog())
    assert len(named) > 30
    for text in re.findall(r"`([a-z0-9-]+:[a-z_]+=[^`]*)`", "\n".join(table("Transformations").values())):
        if "DIR" not in text and "..." not in text:
            parse_pass(text)


@pytest.mark.parametrize("module", ["util.basic", "util.config", "util.onnx", "analysis.topology", "util.cleanup"])
def test_every_helper_has_a_row(module):
    found = {
        name
        for name, value in vars(import_module(f"qonnx.{module}")).items()
        if inspect.isfunction(value) and value.__module__ == f"qonnx.{module}" and not name.startswith("_")
    }
    rows = {name.strip() for cell in table("Analyses and helpers") for name in cell.split(",")}
    assert found - {"main"} <= rows | {"cleanup"}, "the last is a command line"
    assert found


def test_helpers_that_are_one_line_compute_the_same():
    """The lines of the page, run beside the package's functions."""
    lines, rng = table("Analyses and helpers"), np.random.default_rng(0)

    def line(name: str, place: int = 0, **values: Any) -> Any:
        return eval(lines[name].split("`")[2 * place + 1], {"np": np, **values})  # noqa: S307 - our own page

    for x, factor in ((1, 4), (4, 4), (9, 4), (7, 1)):
        assert line("roundup_to_integer_multiple", x=x, factor=factor) == basic.roundup_to_integer_multiple(x, factor)
    array, w = rng.normal(size=(3, 6)).astype(np.float32), rng.integers(-4, 4, (5, 3)).astype(np.float32)
    for multiples in ((2, 4), (3, 6), (7, 1)):
        np.testing.assert_array_equal(
            line("pad_tensor_to_multiple_of", array=array, multiples=multiples),
            basic.pad_tensor_to_multiple_of(array, multiples),
        )
    np.testing.assert_array_equal(
        line("interleave_matrix_outer_dim_from_partitions", matrix=array, parts=3),
        basic.interleave_matrix_outer_dim_from_partitions(array, 3),
    )
    for name in ("INT4", "UINT3", "BIPOLAR"):
        theirs = DataType[name]
        ends = [line("calculate_matvec_accumulator_range", k, w=w, lo=theirs.min(), hi=theirs.max()) for k in (1, 2)]
        assert tuple(ends) == basic.calculate_matvec_accumulator_range(w, theirs)
    one, other = DataType["INT4"], DataType["INT3"]
    p = [a * b for a in (one.min(), one.max()) for b in (other.min(), other.max())]
    ends = [line("calculate_signed_dot_prod_range", k, n=7, p=p) for k in (0, 1)]
    assert tuple(ends) == basic.calculate_signed_dot_prod_range(one, other, 7)


@pytest.mark.parametrize("proto", [mlp(), diamond()], ids=["chain", "fork"])
def test_questions_about_a_graph_have_the_same_answers(proto):
    """The lines of the page for the package's analyses of the graph."""
    wrapper = ModelWrapper(proto).transform(InferShapes())
    m = anybit.apply(wrapper.model, ["infer-shapes"]).model
    given = [*m.graph.inputs, *m.graph.initializers.values()]
    values = {v.name: v for v in [*given, *(o for n in m.graph for o in n.outputs)]}
    lines = table("Analyses and helpers")
    scope = {"values": values, "m": m, "onnx_ir": onnx_ir}
    for name in ("is_linear", "all_tensors_f32"):
        assert eval(lines[name].split("`")[1], scope) == getattr(topology, name)(wrapper)[name], name  # noqa: S307
    fanouts = eval(lines["get_per_tensor_fanouts"].split("`")[1], scope)  # noqa: S307
    assert fanouts == {k: v for k, v in topology.get_per_tensor_fanouts(wrapper).items() if k}
