"""Tensors that correspond: by their names, and where these differ by what keeps its place."""

from __future__ import annotations

import onnx

import anybit
from anybit.io.load import load
from anybit.runtime.correspondence import aligned, corresponding
from tests.models import DIGITS, mlp
from tests.runtime.test_compare import _with


def renamed(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same model, whose nodes' outputs have other names, those of the graph apart."""
    changed = onnx.ModelProto.FromString(proto.SerializeToString())
    kept = {o.name for o in changed.graph.output}
    names = {o: f"other/{o}" for n in changed.graph.node for o in n.output if o not in kept}
    for node in changed.graph.node:
        for names_of in (node.input, node.output):
            names_of[:] = [names.get(name, name) for name in names_of]
    return changed


def test_names_come_first_and_kinds_in_order_fill_the_gaps():
    ours = [("x", 1), ("a", 2), ("b", 2), ("y", 1)]
    assert aligned(ours, [("x", 1), ("c", 2), ("d", 2), ("y", 1)]) == [(0, 0), (1, 1), (2, 2), (3, 3)]
    assert aligned(ours, [("b", 2), ("x", 1)]) == [(0, 1), (2, 0)]
    assert aligned([("a", None)], [("b", None)]) == []
    assert aligned([], ours) == []


def test_quantisers_correspond_whatever_their_names():
    pairs = corresponding(load(mlp()), load(renamed(mlp())))
    assert pairs
    assert all(b in (a, f"other/{a}") for a, b in pairs)
    assert any(a != b for a, b in pairs)


def test_the_first_departure_is_found_where_names_differ():
    other = renamed(_with(mlp(), "xq_scale", 0.3))
    result = anybit.compare(mlp(), other, layers=True)
    assert result.first_departure is not None
    assert (result.first_departure.name, result.first_departure.counterpart) == ("xq", "other/xq")


def test_quantisers_of_two_dialects_correspond():
    source = load(DIGITS / "model.onnx")
    converted = anybit.convert(source, "qcdq").model
    quantised = {
        str(n.outputs[0].name) for n in source.graph if n.op_type == "Quant" and n.inputs[0].producer() is not None
    }
    pairs = corresponding(source, load(renamed(anybit.to_proto(converted))))
    assert quantised
    assert quantised <= {a for a, _ in pairs}
    assert anybit.compare(source, renamed(anybit.to_proto(converted)), layers=True, tolerance=0).first_departure is None
