"""Allocation: brute force over all plans is the oracle; what a plan costs is what `anybit.cost` says of the model."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import anybit
from anybit.errors import InputError, UnsupportedError, UsageError
from anybit.quantization import (
    CostBudget,
    Plan,
    Recipe,
    Target,
    allocated,
    cost_model,
    nearest,
    pareto_front,
    plan_of,
    prepare,
)
from anybit.quantization.allocation.costs import CostModel, ProductCost, StoredCost, Width
from tests.quantization.nets import attention, depthwise, images, recurrent, residual

SEQUENCES = np.random.default_rng(5).normal(size=(40, 5, 8)).astype(np.float32)
WIDTHS = (2, 3, 4, 6, 8)
W4A4 = Recipe(weights=4, activations=4)


def bits_of(plan: Plan) -> dict[str, int]:
    return {t.tensor: t.bits for t in (*plan.activations, *plan.weights) if t.bits is not None}


def measured_costs(model) -> dict[str, int]:
    found = anybit.cost(model).dense
    return {
        "bops": found.bit_operations,
        "weight_bits": found.weight_bits,
        "activation_bits": found.activation_bits,
    }


def three_tensors(macs: tuple[int, int], elements: tuple[int, int, int]) -> CostModel:
    """x times v, and the same x times w."""
    x, v, w = (Width(name) for name in "xvw")
    return CostModel(
        (ProductCost(x, v, macs[0]), ProductCost(x, w, macs[1])),
        (StoredCost(v, elements[1]), StoredCost(w, elements[2])),
        (StoredCost(x, elements[0]),),
        1000,
    )


numbers = st.integers(1, 50)
loss = st.lists(st.floats(0, 1, allow_nan=False), min_size=5, max_size=5)


@settings(max_examples=15, deadline=None)
@given(st.tuples(numbers, numbers), st.tuples(numbers, numbers, numbers), st.tuples(loss, loss, loss), st.data())
def test_the_program_finds_what_brute_force_finds(macs, elements, losses, data):
    costs = three_tensors(macs, elements)
    by_tensor = {t: dict(zip(WIDTHS, sorted(v, reverse=True), strict=True)) for t, v in zip("xvw", losses, strict=True)}
    plans = [dict(zip("xvw", bits, strict=True)) for bits in itertools.product(WIDTHS, repeat=3)]
    all_costs = [costs.costs(p) for p in plans]
    chosen = data.draw(st.sampled_from(all_costs))
    budget = CostBudget(bops=chosen["bops"], weight_bits=chosen["weight_bits"], activation_bits=10**6)
    fitting = [p for p, c in zip(plans, all_costs, strict=True) if all(c[n] <= b for n, b in budget.limits.items())]
    total = lambda p: sum(by_tensor[t][b] for t, b in p.items())  # noqa: E731
    found = allocated(by_tensor, costs, budget)
    assert found in fitting
    assert total(found) == pytest.approx(min(map(total, fitting)), abs=1e-5)
    target = CostBudget(target_loss=total(found) + 1e-6)
    cheapest = min(costs.costs(p)["bops"] for p in plans if total(p) <= target.target_loss)
    assert costs.costs(allocated(by_tensor, costs, target))["bops"] <= cheapest * (1 + 1e-5)


def test_the_nearest_plan_is_named_where_nothing_fits():
    costs = three_tensors((5, 7), (10, 20, 30))
    losses = {t: dict.fromkeys(WIDTHS, 0.1) for t in "xvw"}
    budget = CostBudget(bops=47, weight_bits=200)
    assert nearest(losses, costs, budget) == {"x": 2, "v": 2, "w": 2}
    with pytest.raises(InputError, match=r"nearest plan bops=48,weight-bits=100.*at most bops=47,weight-bits=200"):
        allocated(losses, costs, budget)


@pytest.mark.parametrize(
    "text", ["", "bops", "bops=", "bops=x", "bops=-1", "bops=0", "bops=inf", "bops=nan", "bops=1,bops=2", "flops=1"]
)
def test_a_wrong_budget_is_refused(text):
    with pytest.raises(UsageError):
        CostBudget.from_text(text)


def test_a_budget_is_read_with_its_units():
    found = CostBudget.from_text("bops=1.5G, weight-bits=440K,file-size=20")
    assert found == CostBudget(bops=1.5e9, weight_bits=440e3, file_size=20)


@pytest.mark.parametrize("net", [residual, depthwise, recurrent])
def test_the_model_of_costs_is_what_cost_says_of_the_quantised_model(net):
    x = {recurrent: np.tile(SEQUENCES, 2)[:, :, :6]}.get(net, images())
    recipe = Recipe(weights=3, activations=6, first_last=8)
    plan = plan_of(prepare(net()), recipe)
    predicted = cost_model(prepare(net()), plan).costs(bits_of(plan))
    found = measured_costs(anybit.quantize(net(), x, recipe).model)
    assert {n: predicted[n] for n in found} == found


def test_only_weights_are_counted_where_shapes_are_free():
    with pytest.raises(UnsupportedError, match="shapes of all products"):
        anybit.quantize(attention(), SEQUENCES, Recipe(budget=CostBudget(bops=1e6)))
    budget = CostBudget(weight_bits=2000)
    mixed = anybit.quantize(attention(), SEQUENCES, Recipe(activations=None, bits=(2, 4), budget=budget))
    assert measured_costs(mixed.model)["weight_bits"] == mixed.allocation.costs["weight_bits"] <= 2000


@pytest.fixture(scope="module")
def uniform():
    return measured_costs(anybit.quantize(residual(), images(), W4A4).model)


def test_mixed_bits_lose_less_at_the_same_costs(uniform):
    held_out = images(200, seed=9)
    plain = anybit.quantize(residual(), images(), W4A4)
    mixed = anybit.quantize(residual(), images(), Recipe(budget=CostBudget(**uniform)))
    assert all(found <= uniform[name] for name, found in measured_costs(mixed.model).items())
    assert mixed.allocation is not None
    assert {n: mixed.allocation.costs[n] for n in uniform} == measured_costs(mixed.model)
    reference = anybit.Session(residual(), engine="onnxruntime", threads=1).run(held_out)["y"]
    errors = [
        np.square(anybit.Session(q.model, engine="onnxruntime", threads=1).run(held_out)["y"] - reference).sum()
        for q in (plain, mixed)
    ]
    assert errors[1] < errors[0]
    again = anybit.quantize(residual(), images(), plan=mixed.plan)
    assert anybit.to_proto(again.model).SerializeToString() == anybit.to_proto(mixed.model).SerializeToString()


def test_what_the_recipe_names_keeps_its_bits(uniform):
    budget = CostBudget(weight_bits=uniform["weight_bits"] + 144 * 32)
    mixed = anybit.quantize(residual(), images(), Recipe(first_last=8, skip=("c1",), bits=(2, 4), budget=budget))
    bits = {w.layer: w.bits for w in mixed.plan.weights}
    assert (bits["c1"], bits["y"]) == (None, 8)
    assert bits["c2"] in (2, 4)


def test_finn_gets_equal_bits_where_tensors_meet():
    budget = CostBudget(bops=1e9)
    mixed = anybit.quantize(residual(), images(), Recipe(target=Target.FINN, bits=(3, 5), budget=budget))
    assert measured_costs(mixed.model)["bops"] == mixed.allocation.costs["bops"]


def test_a_target_loss_is_met_by_the_cheapest_plan():
    costs = []
    for target in (0.05, 0.005):
        found = anybit.quantize(residual(), images(), Recipe(budget=CostBudget(target_loss=target))).allocation
        assert found.measured.loss <= target
        costs.append(found.costs["bops"])
    assert costs[0] < costs[1]
    with pytest.raises(InputError, match="nothing meets the budget"):
        anybit.quantize(residual(), images(), Recipe(bits=(2,), budget=CostBudget(target_loss=1e-9)))


def test_a_file_size_is_met():
    budget = CostBudget(file_size=12_000)
    mixed = anybit.quantize(residual(channels=16), images(), Recipe(budget=budget))
    packed = anybit.convert(mixed.model, to="qonnx", pack=True).model
    assert anybit.to_proto(packed).ByteSize() <= 12_000


SCRIPT = """
import sys
import anybit
from anybit.quantization import CostBudget, Recipe
from tests.quantization.nets import images, residual
print("started", flush=True)
found = anybit.quantize(residual(), images(), Recipe(budget=CostBudget(bops=60000)), resume=sys.argv[1])
open(sys.argv[2], "wb").write(anybit.to_proto(found.model).SerializeToString(deterministic=True))
"""


def test_a_killed_search_goes_on_and_gives_the_same_bytes(tmp_path):
    def start(folder, name):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
        arguments = [sys.executable, "-c", SCRIPT, str(tmp_path / folder), str(tmp_path / name)]
        return subprocess.Popen(arguments, env=environment)

    assert start("whole", "a").wait(120) == 0
    file = tmp_path / "killed" / "measurements.jsonl"
    process = start("killed", "b")
    while process.poll() is None and (not file.exists() or file.read_bytes().count(b"\n") < 10):
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "b").exists()
    file.write_bytes(file.read_bytes()[:-7])  # as if the last line had been cut
    before = file.read_bytes()
    assert start("killed", "b").wait(120) == 0
    assert file.read_bytes().startswith(before[: before.rindex(b"\n") + 1])
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()
    assert sorted(file.read_bytes().splitlines()) == sorted(
        (tmp_path / "whole" / "measurements.jsonl").read_bytes().splitlines()
    )


@pytest.mark.filterwarnings("default")  # Ray's own
def test_a_cluster_and_three_runs_give_the_same_bytes(tmp_path):
    ray = pytest.importorskip("ray", reason="needs Ray: install anybit[ray]")
    recipe = Recipe(budget=CostBudget(bops=60000))

    def found(**options):
        made = anybit.quantize(residual(), images(), recipe, **options)
        return anybit.to_proto(made.model).SerializeToString(deterministic=True), made.plan

    alone = found()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        runs = [found(ray="auto", workers=w, resume=tmp_path / str(w)) for w in (1, 2)]
        runs += [found(ray="auto", workers=2) for _ in range(2)]
    finally:
        ray.shutdown()
    assert [r == alone for r in runs] == [True] * 4
    lines = [sorted((tmp_path / w / "measurements.jsonl").read_bytes().splitlines()) for w in "12"]
    assert lines[0] == lines[1]
    assert found(resume=tmp_path / "2") == alone


def test_measurements_of_another_model_are_refused(tmp_path):
    budget = CostBudget(bops=1e9)
    recipe = Recipe(bits=(4, 8), budget=budget)
    anybit.quantize(residual(), images(), recipe, resume=tmp_path)
    with pytest.raises(UsageError, match="measurements of another model"):
        anybit.quantize(residual(seed=1), images(), recipe, resume=tmp_path)


def test_no_plan_of_the_front_beats_another(uniform, tmp_path):
    allocation = anybit.quantize(residual(), images(), Recipe(bits=(2, 4, 8), budget=CostBudget(**uniform))).allocation
    front = pareto_front(allocation)
    assert len(front.points) > 3
    losses, bops = ([p.loss for p in front.points], [p.costs["bops"] for p in front.points])
    assert losses == sorted(losses, reverse=True)
    assert bops[0] < bops[-1]
    front.write(tmp_path / "front.json")
    assert len(json.loads((tmp_path / "front.json").read_text())["points"]) == len(front.points)
