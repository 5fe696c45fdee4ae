"""Weights in blocks of half bytes: the same products, for large nets only."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from anybit import Session, load
from anybit.cleanup.fold_constants import FoldConstants
from anybit.engines.onnxruntime.rewrites import block_weights
from tests.models import model, parameters, quant, samples


@pytest.fixture(autouse=True)
def _small_nets_count(monkeypatch):
    """What is large takes seconds to make; `test_small_nets_are_left_alone` has the real limits."""
    monkeypatch.setattr(block_weights, "_WORTHWHILE", 0)
    monkeypatch.setattr(block_weights, "_SMALLEST", 0)


def net(rows=64, columns=24, *, attributes=None, **given):
    nodes = [quant("w", "wq", **({"narrow": 1} | (attributes or {}))), helper.make_node("MatMul", ["x", "wq"], ["y"])]
    values = parameters("wq", **({"scale": 0.25} | given)) | {"w": samples(rows, columns, seed=1)}
    return model(nodes, values, inputs={"x": ["N", rows]}, outputs=["y"])


def operators(proto) -> Counter[str]:
    loaded = load(proto)
    FoldConstants()(loaded)
    block_weights.use_block_weights(loaded)
    return Counter(n.op_type for n in loaded.graph)


def agree(proto, rows) -> None:
    x = samples(7, rows, seed=2)
    for count in (1, 7):
        fast, right = (Session(proto, engine=e).run(x[:count])["y"] for e in ("auto", "reference"))
        np.testing.assert_allclose(fast, right, atol=1e-5 * float(np.abs(right).max()))


@settings(max_examples=25)
@given(
    bits=st.integers(2, 4),
    signed=st.booleans(),
    narrow=st.booleans(),
    rows=st.sampled_from([16, 48, 64, 128, 129, 200, 300]),
    columns=st.sampled_from([1, 7, 24]),
    per_column=st.booleans(),
    zeropt=st.integers(-1, 7),
)
def test_the_same_products(bits, signed, narrow, rows, columns, per_column, zeropt):
    scale = np.linspace(0.1, 0.9, columns, dtype=np.float32) if per_column else 0.3
    lowest, highest = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    held = lowest + narrow * signed - zeropt >= -8 and highest - narrow * (not signed) - zeropt <= 7
    attributes = {"signed": int(signed), "narrow": int(narrow)}
    proto = net(rows, columns, bits=bits, scale=scale, zeropt=float(zeropt), attributes=attributes)
    assert operators(proto)["MatMulNBits"] == int(held)
    agree(proto, rows)


@pytest.mark.parametrize(("group", "taken"), [(128, 1), (32, 1), (16, 1), (8, 0), (24, 0)])
def test_a_scale_for_groups_of_rows_is_one_for_blocks(group, taken):
    rows = 384
    scale = np.repeat(samples(rows // group, 24, seed=3).__abs__() + 0.1, group, axis=0).astype(np.float32)
    proto = net(rows, scale=scale)
    assert operators(proto)["MatMulNBits"] == taken
    agree(proto, rows)


@pytest.mark.parametrize(
    "arguments", [{"bits": 5}, {"zeropt": 0.5}, {"scale": np.linspace(0.1, 1, 64, dtype=np.float32)[:, None]}], ids=str
)
def test_what_half_bytes_do_not_hold_stays(arguments):
    proto = net(**arguments)
    assert operators(proto) == {"Quant": 1, "MatMul": 1}
    agree(proto, 64)


def test_bipolar_weights_are_minus_one_and_one():
    proto = net(bits=1)
    assert operators(proto)["MatMulNBits"] == 1
    agree(proto, 64)


def test_small_nets_are_left_alone(monkeypatch):
    monkeypatch.undo()
    assert operators(net()) == {"Quant": 1, "MatMul": 1}
    assert operators(net(4096, 4096)) == {"MatMulNBits": 1}
