"""Attributes and statements to JSON and back, and what a configuration may not say."""

from __future__ import annotations

import json

import numpy as np
import pytest
from onnx import helper

import anybit
from anybit.errors import InputError, UsageError
from anybit.passes import ApplyConfiguration
from tests.cli.command import anybit as command
from tests.models import mlp, model


def folded(**attributes):
    node = helper.make_node("MVAU", ["x"], ["y"], "MVAU_0", domain="finn.custom_op", **attributes)
    return model([node], {}, inputs={"x": [1]}, outputs=["y"], imports={"": 21, "finn.custom_op": 1})


ATTRIBUTES = {"PE": 4, "ram_style": "auto", "ratio": 0.5, "shape": [1, 2], "names": ["a", "b"], "scales": [1.0, 2.5]}


def test_there_and_back():
    proto = folded(**ATTRIBUTES)
    found = json.loads(json.dumps(anybit.surgery.configuration(proto)))
    assert found == {"Defaults": {}, "MVAU_0": ATTRIBUTES}
    assert anybit.surgery.configuration(proto, attributes=["r*"])["MVAU_0"].keys() == {"ram_style", "ratio"}
    plain = anybit.apply(folded(), [ApplyConfiguration(found)]).model
    assert anybit.surgery.configuration(plain) == found
    assert not anybit.apply(plain, [ApplyConfiguration(found)]).steps[0].modified


def test_names_survive_clean_up_and_files_are_read(tmp_path):
    stated = anybit.annotations.set_number_format(mlp(), "h", "INT9")
    stated = anybit.annotations.set_layout(stated, "h", ["N", "C"])
    stated = anybit.annotations.set_sparsity(stated, "w", {1: {0, 3}})
    anybit.save(stated, tmp_path / "m.onnx")
    assert command("configuration", tmp_path / "m.onnx", "-o", tmp_path / "c.json").returncode == 0
    said = json.loads((tmp_path / "c.json").read_text())
    assert said["Annotations"] == {
        "h": {"number_format": "INT9", "layout": ["N", "C"]}, "w": {"sparsity": {"1": [0, 3]}},
    }  # fmt: skip
    said["xq_node"]["narrow"] = 1
    (tmp_path / "c.json").write_text(json.dumps(said))
    options = ("-o", tmp_path / "n.onnx", "-p", f"apply-configuration:file={tmp_path / 'c.json'}")
    anybit.save(anybit.clean(mlp()), tmp_path / "clean.onnx")
    assert command("apply", tmp_path / "clean.onnx", *options).returncode == 0
    changed = anybit.load(tmp_path / "n.onnx")
    assert next(n for n in changed.graph if n.name == "xq_node").attributes["narrow"].as_int() == 1
    assert anybit.annotations.sparsity(changed, "w") == {1: {0, 3}}
    assert str(anybit.annotations.number_format(changed, "h")) == "INT9"


def test_defaults_by_operator():
    proto = folded(PE=1)
    for operators, expected in ((["MVAU"], 8), (["all"], 8), (["Other"], 1)):
        made = anybit.apply(proto, [ApplyConfiguration({"Defaults": {"PE": [8, operators]}})]).model
        assert made.graph[0].attributes["PE"].as_int() == expected


@pytest.mark.parametrize(
    "said",
    [
        {"nothing": {"PE": 1}},
        {"MVAU_0": {"PE": "one"}},
        {"MVAU_0": {"new": {"a": 1}}},
        {"MVAU_0": {"new": [1, "a"]}},
        {"MVAU_0": {"new": None}},
        {"Defaults": {"PE": 1}},
        {"Annotations": {"nothing": {"layout": ["N"]}}},
        {"Annotations": {"x": {"colour": "red"}}},
        {"Annotations": {"x": {"number_format": "INT0"}}},
        {"Annotations": {"x": {"number_format": 4}}},
        {"Annotations": {"x": {"layout": "NC"}}},
        {"Annotations": {"x": {"sparsity": [1]}}},
    ],
)
def test_what_fits_no_model(said):
    with pytest.raises(UsageError):
        anybit.apply(folded(PE=1), [ApplyConfiguration(said)])


def test_attributes_of_our_operators_are_those_of_the_record():
    with pytest.raises(UsageError, match="colour"):
        anybit.apply(mlp(), [ApplyConfiguration({"xq_node": {"colour": 1}})])
    with pytest.raises(UsageError, match="signed"):
        anybit.apply(mlp(), [ApplyConfiguration({"xq_node": {"signed": 0.5}})])


@pytest.mark.parametrize("text", ["", "[1]", '{"a": 1}', "{" * 100_000, '{"a": {"b": NaN}}', "\udce4"])
def test_files_that_are_no_configuration(tmp_path, text):
    path = tmp_path / "c.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError):
        anybit.apply(mlp(), [f"apply-configuration:file={path}"])
    with pytest.raises(InputError):
        anybit.apply(mlp(), [f"apply-configuration:file={tmp_path / 'none.json'}"])


def test_arrays_are_left_out():
    node = helper.make_node("Constant", [], ["y"], "c", value=helper.make_tensor("v", 1, [1], np.ones(1, np.float32)))
    assert anybit.surgery.configuration(model([node], {}, inputs={}, outputs=["y"])) == {"Defaults": {}}
