"""What ``--json`` prints keeps to the published schemas, and what was printed before is read by those of today."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from jsonschema import Draft202012Validator

from docs.generate.schemas import FOLDER, OUTPUTS, VERSION, current, recorded
from tests.cli.command import anybit
from tests.models import PROJECT, mlp, samples

_SAMPLES = PROJECT / "tests" / "cli" / "samples"
_CALLS = {
    "apply": ("apply", "m.onnx", "-o", "out.onnx", "-p", "sort-nodes"),
    "bench": ("bench", "m.onnx", "--rounds", "1", "--batch-size", "1", "--engine", "onnxruntime", "--no-peers"),
    "check": ("check", "bad.onnx"),
    "clean": ("clean", "m.onnx", "-o", "out.onnx"),
    "compare": ("compare", "m.onnx", "m.onnx"),
    "convert": ("convert", "m.onnx", "--to", "qcdq", "-o", "out.onnx"),
    "convert-dry-run": ("convert", "m.onnx", "--dry-run"),
    "cost": ("cost", "m.onnx", "--by", "layer", "--sparsity"),
    "explain": ("explain", "bit-width"),
    "info": ("info", "m.onnx"),
    "passes": ("passes",),
    "plan": ("plan", "m.onnx"),
    "prepare-finn": ("prepare", "finn", "m.onnx", "-o", "out.onnx"),
    "prepare-hls4ml": ("prepare", "hls4ml", "m.onnx", "-o", "out.onnx"),
    "quantize": ("quantize", "float.onnx", "--calibration", "x.npz", "-o", "out.onnx"),
    "ranges": ("ranges", "m.onnx"),
    "run": ("run", "m.onnx", "-i", "x.npz"),
    "sensitivity": ("sensitivity", "float.onnx", "--data", "x.npz", "--bits", "4"),
    "stats": ("stats", "m.onnx", "-i", "x.npz"),
    "types": ("types", "m.onnx"),
    "verify": ("verify", "m.onnx", "m.onnx"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("models")
    model = mlp()
    onnx.save(model, made / "m.onnx")
    np.savez(made / "x.npz", x=samples(64, 6))
    broken = onnx.ModelProto()
    broken.CopyFrom(model)
    broken.graph.node[0].attribute[0].type = onnx.AttributeProto.STRING
    onnx.save(broken, made / "bad.onnx")
    weights = onnx.numpy_helper.from_array(samples(6, 4), "w")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"], "fc")],
        "float",
        [onnx.helper.make_tensor_value_info("x", 1, ["N", 6])],
        [onnx.helper.make_tensor_value_info("y", 1, ["N", 4])],
        [weights],
    )
    opsets = [onnx.helper.make_opsetid("", 21)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10), made / "float.onnx")
    return made


def printed(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    ended = anybit(*_CALLS[name], "--json")
    assert ended.returncode in (0, 1), ended.stderr
    return json.loads(ended.stdout)


def test_every_command_with_json_has_a_schema_and_a_sample():
    assert set(_CALLS) == set(OUTPUTS)
    files = {f"{name}-{VERSION}.json" for name in OUTPUTS}
    assert files <= {p.name for p in FOLDER.glob("*.json")}, "python -m docs.generate.schemas writes new ones"
    assert files <= {p.name for p in _SAMPLES.glob("*.json")}


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_reader_of_the_published_schema_reads_what_is_printed(name, folder, monkeypatch):
    Draft202012Validator(recorded(name)).validate(printed(name, folder, monkeypatch))


@pytest.mark.parametrize("name", OUTPUTS)
def test_what_was_printed_once_fits_the_schemas_of_then_and_now(name):
    sample = json.loads((_SAMPLES / f"{name}-{VERSION}.json").read_text(encoding="utf-8"))
    Draft202012Validator(recorded(name)).validate(sample)
    now = Draft202012Validator(without_new_keys(current(name), recorded(name)))
    now.validate(sample)


def without_new_keys(now, then):
    """The schema of now, in which keys that were added since are not required."""
    if not isinstance(now, dict):
        return now
    then = then if isinstance(then, dict) else {}
    known = then.get("properties", {}) if isinstance(then.get("properties"), dict) else {}
    kept = {key: without_new_keys(value, then.get(key)) for key, value in now.items()}
    if isinstance(now.get("required"), list):
        kept["required"] = [key for key in now["required"] if key in known]
    return kept


def test_a_schema_can_fail(folder, monkeypatch):
    for name in OUTPUTS:
        assert not Draft202012Validator(recorded(name)).is_valid({"findings": 1, "steps": 2}), name
    value = printed("check", folder, monkeypatch)
    value["findings"][0].pop("rule")
    assert not Draft202012Validator(recorded("check")).is_valid(value)
