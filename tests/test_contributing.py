"""The recipes of CONTRIBUTING.md, run as they stand there, and the code of the README."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

import anybit
from anybit.analysis.values import registry as registry_of_rules
from anybit.ops import registry
from tests.analysis.values.soundness import bounds_of, check_sound
from tests.models import PROJECT, model, parameters, quant, samples
from tests.snippets import blocks_of, run_block


def _recipe(name: str, tmp_path, monkeypatch) -> dict[str, object]:
    """What the code block behind ``<!-- test: name -->`` defines."""
    (block,) = (b for b in blocks_of(PROJECT / "CONTRIBUTING.md") if b.name == name)
    return run_block(block.code, f"recipe_{name}", tmp_path, monkeypatch)


@pytest.fixture
def operators(monkeypatch):
    monkeypatch.setattr(registry, "_operators", {k: list(v) for k, v in registry._operators.items()})


def _power_of_two(**attributes) -> onnx.ModelProto:
    node = helper.make_node("PowerOfTwo", ["x"], ["y"], name="p", domain="my.ops", **attributes)
    return model([node], {}, inputs={"x": ["N", 40]}, outputs=["y"], imports={"": 21, "my.ops": 1})


@pytest.mark.usefixtures("operators")
def test_the_operator_of_the_recipe_is_checked_and_runs_in_both_engines(tmp_path, monkeypatch):
    assert "operator" in {f.rule for f in anybit.check(_power_of_two())}
    _recipe("operator", tmp_path, monkeypatch)
    assert anybit.check(_power_of_two()) == ()
    assert [f.rule for f in anybit.check(_power_of_two(least=1))] == ["least"]
    x = np.concatenate([samples(4, 39), np.zeros((4, 1), np.float32)], axis=1)
    by_reference, by_runtime = (anybit.run(_power_of_two(), x, engine=e)["y"] for e in ("reference", "onnxruntime"))
    np.testing.assert_array_equal(by_reference, by_runtime)
    exponents = np.frexp(np.abs(x))[1] - 1
    expected = np.where(x == 0, 0, np.sign(x) * np.exp2(np.maximum(exponents, -8).astype(np.float32)))
    np.testing.assert_array_equal(by_reference, expected)


@pytest.mark.usefixtures("operators")
def test_the_operator_of_the_recipe_has_bounds_and_the_product_behind_it_an_accumulator(tmp_path, monkeypatch):
    anybit.register(_recipe("operator", tmp_path, monkeypatch)["POWER_OF_TWO"])
    nodes = [
        quant("x", "q"),
        helper.make_node("PowerOfTwo", ["q"], ["p"], domain="my.ops", least=-2),
        quant("w", "wq"),
        helper.make_node("MatMul", ["p", "wq"], ["y"], name="product"),
    ]
    constants = {"w": np.eye(8, 3, dtype=np.float32)} | parameters("q", scale=1.0) | parameters("wq", scale=1.0)
    imports = {"": 21, "my.ops": 1, "qonnx.custom_op.general": 1}
    proto = model(nodes, constants, inputs={"x": ["N", 8]}, outputs=["y"], imports=imports)
    values = check_sound(proto, {"x": (-20.0, 20.0)}, 40, engines=("reference", "onnxruntime"))
    p = bounds_of(values, "p")
    assert (p.lo, p.hi, p.grid.scale, p.grid.lo, p.grid.hi) == (-8, 8, 0.25, -32, 32)
    found = anybit.ranges(proto)
    assert [a.node for a in found.accumulators] == ["MatMul 'product'"]
    assert not found.unfollowed


@pytest.mark.usefixtures("operators")
@pytest.mark.parametrize("end", [0.0, 1e-30, 7.9999995, 8.0, 1e20, 3e38, np.inf])
def test_the_bounds_of_the_recipe_hold_next_to_powers_of_two(end, tmp_path, monkeypatch):
    anybit.register(_recipe("operator", tmp_path, monkeypatch)["POWER_OF_TWO"])
    x = np.full((1, 40), end, np.float32)
    values = check_sound(_power_of_two(), {"x": (-end, end)}, engines=("reference", "onnxruntime"))
    y = bounds_of(values, "y")
    for engine in ("reference", "onnxruntime"):
        made = anybit.run(_power_of_two(), x, engine=engine)["y"]
        assert (made <= y.hi).all()


def test_the_rule_of_the_recipe_is_sound_and_tight(tmp_path, monkeypatch):
    relu = _recipe("rule", tmp_path, monkeypatch)["relu"]
    monkeypatch.setattr(registry_of_rules, "_STANDARD", {**registry_of_rules._STANDARD, "Relu": relu})
    nodes = [quant("x", "q"), helper.make_node("Relu", ["q"], ["y"])]
    initializers = parameters("q", scale=0.5, zeropt=2.0, bits=4.0)
    values = check_sound(model(nodes, initializers, inputs={"x": [1, 8]}, outputs=["y"]), {"x": (-9.0, 9.0)})
    y = bounds_of(values, "y")
    assert (y.lo, y.hi, y.grid.lo, y.grid.hi) == (0, 2.5, 2, 7)


def test_the_pass_of_the_recipe_removes_and_notes(tmp_path, monkeypatch):
    remove = _recipe("pass", tmp_path, monkeypatch)["RemoveDoubleNegation"]
    negations = [
        helper.make_node("Neg", ["x"], ["a"]),
        helper.make_node("Neg", ["a"], ["b"]),
        helper.make_node("Abs", ["b"], ["y"]),
    ]
    plain = model(negations, {}, inputs={"x": [1, 3]}, outputs=["y"])
    applied = anybit.apply(plain, [remove()])
    assert [n.op_type for n in applied.model.graph] == ["Abs"]
    forked = model(negations, {}, inputs={"x": [1, 3]}, outputs=["y", "a"])
    applied = anybit.apply(forked, [remove()])
    assert len(list(applied.model.graph)) == 3
    assert [f.rule for f in applied.steps[0].notes] == ["remove-double-negation"]


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    from tests.models import DIGITS

    (block,) = blocks_of(PROJECT / "README.md")
    data = np.load(DIGITS / "test.npz")
    np.save(tmp_path / "images.npy", data["pixels"])
    for name in ("model", "a", "b"):
        (tmp_path / f"{name}.onnx").write_bytes((DIGITS / "model.onnx").read_bytes())
    result = run_block(block.code, "readme", tmp_path, monkeypatch)
    assert (result["logits"].argmax(axis=1) == data["labels"]).mean() > 0.98
    assert result["comparison"].equal
