"""A tie that only an engine's float32 sums meet makes a model equal but for ties; what else it computes is refused."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from anybit import load, run
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
