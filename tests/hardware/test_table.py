"""The table: small models in it, and that no row of theirs is ready and not right."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import anybit
from anybit.errors import Severity
from tests.hardware.__main__ import TARGETS, chosen, line, rows_of
from tests.hardware.finn_rows import python, ties_up
from tests.hardware.row import Row
from tests.hardware.sources import random_sources
from tests.targets.hls4ml.nets import Net

WORDS = ("finn: mlp", "feature/gemm", "feature/Selu", "scale by row")


def test_every_target_has_rows_for_a_model():
    for source in chosen(WORDS):
        rows = [r for target in TARGETS for r in rows_of(source, target)]
        assert {(r.target, r.form) for r in rows} >= {
            ("finn", "dialect"), ("finn", "qonnx"), ("hls4ml", "qonnx"), ("c", "c99"), ("da4ml", "circuit"),
        }  # fmt: skip
        assert {r.io for r in rows if r.target == "hls4ml"} == {"parallel", "stream"}
        assert not [line(r) for r in rows if r.is_bad]
        assert all(r.widths for r in rows if r.target == "finn" and r.form == "dialect" and r.verdict == "ready")


def test_a_row_that_is_ready_and_not_right_is_bad():
    assert Row("m", "finn", "dialect", ran="WRONG").is_bad
    assert Row("m", "finn", "dialect", equal=False).is_bad
    assert not Row("m", "finn", "dialect", verdict="group", ran="FAILED").is_bad
    assert not Row("m", "finn", "dialect", equal=True, ran="right").is_bad


def test_random_nets_are_legal_and_the_same_for_one_seed():
    operators = set[str]()
    for source in random_sources("0:40"):
        proto = source.load()
        assert isinstance(proto, onnx.ModelProto)
        onnx.shape_inference.infer_shapes(proto, strict_mode=True)
        assert not [f for f in anybit.check(proto) if f.severity is Severity.ERROR]
        operators |= {n.op_type for n in proto.graph.node}
        again = next(random_sources(f"{source.name[5:]}:40")).load()
        assert isinstance(again, onnx.ModelProto)
        assert proto.SerializeToString() == again.SerializeToString()
    assert operators >= set("Quant BipolarQuant Conv MatMul Gemm Add Concat MaxPool Flatten PRelu Clip".split())


def test_ties_of_activations_go_up_as_in_finn():
    source = Net(2).quant(0.5).dense(2, 2)
    handover = anybit.prepare_finn(source.proto(), form="qonnx")
    upper = ties_up(handover.model)
    quantized = next(
        n.outputs[0].name for n in handover.model.graph if n.op_type == "Quant" and n.inputs[0].name == "x"
    )
    ties = np.float32([[0.25, -0.25], [0.75, -0.75]])
    session = anybit.Session(upper, engine="reference", tensors=[quantized])
    np.testing.assert_array_equal(session.run(ties)[quantized], [[0.5, 0], [1, -0.5]])


@pytest.mark.skipif(python() is None, reason="FINN_PYTHON names no Python that has FINN")
@pytest.mark.parametrize("name", ["finn: mlp", "finn: flattened image"])
def test_finn_reads_qonnx_as_the_row_says(name: str):
    (source,) = chosen([name])
    (row,) = [r for r in rows_of(source, "finn") if r.form == "qonnx"]
    assert (row.verdict, row.ran) == ("ready", "right")
