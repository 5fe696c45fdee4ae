"""A tie that only an engine's float32 sums meet makes a model equal but for ties; what else it computes is refused."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from anybit import clean, load, run
from anybit.errors import FrontEndError
from anybit.frontends import agreement
from anybit.frontends.agreement import AgreementVerdict, compared
from anybit.frontends.comparison import engine
from anybit.frontends.comparison.lockstep import Recording
from tests.models import model, parameters, quant

_TIE = 0.5 + 2.0**-23  # what the sum is; an engine that adds from the large end has 0.5, which rounds to 0


def _sums():
    nodes = [helper.make_node("MatMul", ["x", "w"], ["sums"], name="product"), quant("sums", "q")]
    nodes.append(helper.make_node("Mul", ["q", "two"], ["y"], name="twice"))
    constants = {"w": np.ones((8, 1), np.float32), "two": np.float32(2), **parameters("q", scale=1.0)}
    return model(nodes, constants, inputs={"x": ["N", 8]}, outputs=["y"])


def _compared(monkeypatch, level):
    """The comparison where the engine makes this level of the sum that is a tie."""
    feeds = {"x": np.float32([[0.5] + [2.0**-25] * 4 + [0] * 3, [3, 0, 0, 0, 0, 0, 0, 0.25]])}

    class Other:
        def __init__(self, *_, **__):
            pass

        def run(self, feeds):
            del feeds
            q = np.float32([[level], [3]])
            return {"q": q, "y": 2 * q}

    def framework(feeds):
        found = run(_sums(), feeds, engine="reference", tensors=["q"])
        return Recording({"q": found["q"]}, {"q": "net.act"}), [found["y"]]

    monkeypatch.setattr(agreement, "Session", Other)
    monkeypatch.setattr(engine, "Session", Other)
    return compared(load(_sums()), framework, [feeds], quiet=True).agreement


def test_an_engine_that_rounds_a_tie_otherwise(monkeypatch):
    assert _compared(monkeypatch, 1.0).verdict is AgreementVerdict.EQUAL
    found = _compared(monkeypatch, 0.0)
    assert found.verdict is AgreementVerdict.TIES
    assert [(t.name, t.layer, t.ties) for t in found.ties] == [("q", "net.act", 1)]
    assert "1 ties in 'net.act'" in str(found)


def test_an_engine_that_computes_otherwise_is_refused(monkeypatch):
    with pytest.raises(FrontEndError, match=r"module 'net.act', tensor 'q'"):
        _compared(monkeypatch, 3.0)


def _loop():
    """state = state + q at each step, with q as above."""
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 1]) for n in ("state", "next", "kept")]
    element = helper.make_tensor_value_info("element", TensorProto.FLOAT, [1, 8])
    inner = [helper.make_node("MatMul", ["element", "w"], ["sums"], name="product"), quant("sums", "q")]
    inner.append(helper.make_node("Add", ["state", "q"], ["next"], name="sum"))
    inner.append(helper.make_node("Identity", ["next"], ["kept"], name="same"))
    body = helper.make_graph(inner, "body", [values[0], element], values[1:])
    scan = helper.make_node("Scan", ["zero", "x"], ["y", "all"], name="scan", body=body, num_scan_inputs=1)
    constants = {"w": np.ones((8, 1), np.float32), "zero": np.zeros((1, 1), np.float32), **parameters("q", scale=1.0)}
    return model([scan], constants, inputs={"x": [2, 1, 8]}, outputs=["y", "all"])


def _compared_loop(monkeypatch, level):
    """The comparison where the engine makes this level of the sum that is a tie, at the second of two steps."""
    feeds = {"x": np.float32([[[3, 0, 0, 0, 0, 0, 0, 0.25]], [[0.5] + [2.0**-25] * 4 + [0] * 3]])}

    class Other:
        def __init__(self, *_, **__):
            pass

        def run(self, feeds):
            del feeds
            y = np.float32([[[3]], [[3 + level]]])
            return {"q/stacked": np.float32([[[3]], [[level]]]), "y": y[1], "all": y}

    def framework(feeds):
        found = run(_loop(), feeds, engine="reference")
        steps = [{"q": np.float32([[3]])}, {"q": np.float32([[1]])}]
        return Recording({}, {"q": "net.act"}, steps={"scan": steps}), [found["y"], found["all"]]

    monkeypatch.setattr(agreement, "Session", Other)
    monkeypatch.setattr(engine, "Session", Other)
    return compared(clean(_loop()), framework, [feeds], quiet=True).agreement


def test_a_tie_of_an_engine_inside_a_loop(monkeypatch):
    assert _compared_loop(monkeypatch, 1.0).verdict is AgreementVerdict.EQUAL
    found = _compared_loop(monkeypatch, 0.0)
    assert found.verdict is AgreementVerdict.TIES
    assert [(t.name, t.layer, t.ties) for t in found.ties] == [("q", "net.act", 1)]


def test_an_engine_that_computes_otherwise_inside_a_loop_is_refused(monkeypatch):
    with pytest.raises(FrontEndError, match=r"module 'net.act', tensor 'q'"):
        _compared_loop(monkeypatch, 3.0)
