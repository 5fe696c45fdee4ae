"""sensitivity: fewer bits lose more, labels add accuracy, and tensors of a pair correspond whatever their names."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import anybit
from anybit.cli.app import app
from anybit.errors import UnsupportedError, UsageError
from anybit.quantization import Recipe, blocks_of, divergence, prepare
from anybit.quantization.sensitivity.measurements import Answers, Subject, _Shipped
from tests.quantization.nets import depthwise, images, residual, squeezed


def test_fewer_bits_lose_more_and_labels_add_accuracy():
    x = images()
    outputs = anybit.Session(residual(), engine="onnxruntime", threads=1).run(x)["y"]
    found = anybit.sensitivity(residual(), {"x": x}, labels=outputs.argmax(axis=1), bits=(2, 8))
    assert (found.samples, found.accuracy) == (48, 1.0)
    rows = {(r.tensor, r.bits): r.divergence for r in found.tensors}
    assert len(rows) == 2 * 10
    for (tensor, bits), row in rows.items():
        assert row.accuracy == pytest.approx(1 - row.changed)
        if bits == 2:
            assert row.error > rows[tensor, 8].error
            assert row.kl > rows[tensor, 8].kl


@pytest.mark.parametrize("net", [residual, depthwise, squeezed])
def test_tensors_of_a_pair_correspond_whatever_their_names(net):
    quantized = anybit.quantize(net(), images(), Recipe(weights=3, activations=4)).model
    plain = anybit.sensitivity(net(), images(), quantized=quantized)
    for node in quantized.graph:
        for value in node.outputs:
            if not value.is_graph_output():
                value.name = f"other_{value.name}"
    renamed = anybit.sensitivity(net(), images(), quantized=quantized)
    assert renamed == plain
    alone = {(r.tensor, r.bits): r.divergence for r in anybit.sensitivity(net(), images(), bits=(3, 4)).tensors}
    assert {(r.is_weight, r.bits) for r in plain.tensors} == {(True, 3), (False, 4)}
    assert len(plain.tensors) == len(alone) / 2
    first = plain.tensors[0]
    assert first.divergence.error == pytest.approx(alone[first.tensor, 4].error, rel=1e-3)


def test_an_activation_of_a_pair_is_quantised_as_the_model_says():
    quantized = anybit.quantize(residual(), images(), Recipe(weights=8, activations=2)).model
    row = next(r for r in anybit.sensitivity(residual(), images(), quantized=quantized).tensors if not r.is_weight)
    session = anybit.Session(residual(), engine="onnxruntime", threads=1)
    node = next(n for n in quantized.graph if n.op_type == "Quant" and n.inputs[0].name == row.tensor == "x")
    scale = node.inputs[1].const_value.numpy()
    seen = np.clip(np.rint(images() / scale), 0, 3).astype(np.float32) * scale
    a, b = session.run(images()), session.run(seen)
    assert row.divergence.error == pytest.approx(divergence(a, b).error, rel=1e-4)


def test_zero_points_of_a_pair_count_their_integers():
    made = anybit.quantize(squeezed(), images(), Recipe(activations=4))
    lopsided = {t.tensor for t in made.plan.activations if t.zero_point}
    rows = {r.tensor: r for r in anybit.sensitivity(squeezed(), images(), quantized=made.model).tensors}
    alone = {r.tensor: r for r in anybit.sensitivity(squeezed(), images(), bits=(4,)).tensors if not r.is_weight}
    assert lopsided <= set(rows)
    assert {rows[t].bits for t in lopsided} == {4}
    for tensor in lopsided:
        assert rows[tensor].divergence.error == pytest.approx(alone[tensor].divergence.error, rel=0.5)


def test_divergence_is_that_of_the_formula():
    p, q = np.array([[0.5, 0.5], [0.9, 0.1]]), np.array([[0.25, 0.75], [0.9, 0.1]])
    found = divergence({"y": p}, {"y": q})
    assert found.kl == pytest.approx((0.5 * np.log(2) + 0.5 * np.log(2 / 3)) / 2)
    assert found.changed == 0.5
    assert found.error == pytest.approx(0.125 / np.square(p).sum())
    logits = divergence({"y": np.log(p) + 3}, {"y": np.log(q) - 1})
    assert logits.kl == pytest.approx(found.kl)


def test_divergence_leaves_out_the_classes_of_a_mask():
    p, q = np.log([[0.5, 0.5], [0.9, 0.1]]), np.log([[0.25, 0.75], [0.9, 0.1]])
    found = divergence({"y": p}, {"y": q})
    for column in (0, 1, 2):
        for dtype in (np.float32, np.float64):
            masked = [np.insert(a, column, -np.inf, axis=1).astype(dtype) for a in (p, q)]
            other = divergence({"y": masked[0]}, {"y": masked[1]})
            assert (other.kl, other.error) == pytest.approx((found.kl, found.error), rel=1e-5)
            assert other.changed == found.changed
    lost = divergence({"y": p}, {"y": np.array([[0.0, np.nan], [1.0, 0.0]])})
    assert not lost.error < np.inf


def test_wrong_questions_are_refused(tmp_path):
    for wrong in ({"samples": 0}, {"bits": ()}, {"bits": (1,)}, {"bits": (17,)}):
        with pytest.raises(UsageError):
            anybit.sensitivity(residual(), images(), **wrong)
    with pytest.raises(UnsupportedError, match="correspond"):
        anybit.sensitivity(residual(), images(), quantized=residual())


def test_the_command_prints_and_writes_json(tmp_path):
    anybit.save(residual(), tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", images())
    arguments = ["sensitivity", str(tmp_path / "m.onnx"), "--data", str(tmp_path / "x.npy"), "--bits", "2,4"]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert len(json.loads(result.stdout)["tensors"]) == 20


def test_a_worker_elsewhere_measures_the_same():
    prepared = prepare(residual())
    subject = Subject(prepared=prepared, blocks=list(blocks_of(prepared, images())))
    asked = {"x": 2, str(prepared.placement.layers[0].weights.name): 3}
    found = []
    for one in (subject, _Shipped.of(subject).subject()):
        answers = Answers(one)
        found.append(answers.answer(asked))
        answers.close()
    assert found[0] == found[1]


@pytest.mark.filterwarnings("default")  # Ray's own
def test_a_cluster_measures_the_same(tmp_path):
    ray = pytest.importorskip("ray", reason="needs Ray: install anybit[ray]")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        alone = anybit.sensitivity(residual(), images(), bits=(2, 4))
        for workers in (1, 2):
            assert anybit.sensitivity(residual(), images(), bits=(2, 4), ray="auto", workers=workers) == alone
    finally:
        ray.shutdown()
