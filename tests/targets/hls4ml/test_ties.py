"""Sums on rounding boundaries: rewritten exactly, or refused where float32 has no one level for them."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import onnx_ir as ir
import pytest

import anybit
from anybit.errors import Finding, Severity
from anybit.graph.constants import constant
from anybit.ops.calls import is_call
from anybit.ops.quant import QUANT
from anybit.targets.hls4ml.prepare import prepare_hls4ml
from anybit.targets.hls4ml.repairs import Chain
from tests.models import PROJECT
from tests.targets.hls4ml.nets import Net, then

SCALES = (0.3, 0.7, 0.75, 0.6, 1.2, 3.0, 5.0, 6.0)
# The float32 quotient of some sums and the scale, but not of all, comes to the boundary that it is beside.
UNEVEN = {(0.3, 8, "FLOOR"), (0.6, 8, "FLOOR"), (1.2, 8, "FLOOR"), (1.2, 8, "ROUND")}


def _ties(findings: tuple[Finding, ...], severity: Severity) -> list[Finding]:
    return [f for f in findings if f.rule == "ties" and f.severity is severity]


def _one(scale: float, **given: object) -> Net:
    """A net of one number, whose sums are the integers that are fed."""
    net = Net(1).quant(1.0, bits=8)
    before, net.at = net.at, net.const([[1.0]])
    made, net.at = net.quant(1.0, bits=4).at, before
    return net.op("MatMul", made).quant(scale, **given)


@pytest.mark.parametrize("mode", ["ROUND", "FLOOR"])
@pytest.mark.parametrize("bits", [3, 8])
@pytest.mark.parametrize("scale", SCALES)
def test_every_sum_has_the_level_that_float32_gives_it(scale: float, bits: int, mode: str):
    """The sums in exact fractions, with constants moved by as much as hls4ml may round those that it rounds."""
    net = _one(scale, bits=bits, rounding_mode=mode)
    handover = prepare_hls4ml(net.proto())
    x = np.arange(-128, 128, dtype=np.float32)[:, None]
    (wanted,) = anybit.run(net.proto(), {"x": x}, engine="reference").values()
    levels = np.rint(wanted[:, 0].astype(np.float64) / np.float64(np.float32(scale)))
    if (scale, bits, mode) in UNEVEN:
        assert _ties(handover.findings, Severity.ERROR)
        return
    assert not [f for f in handover.findings if f.rule == "ties"]
    quantizers = [n for n in handover.model.graph if is_call(n, QUANT)][2:]
    for error in (Fraction(0), Fraction(1, 1 << 20), Fraction(-1, 1 << 20)):
        found = [_level(quantizers, Fraction(int(n)), error) for n in x[:, 0]]
        np.testing.assert_array_equal(found, levels)


def _level(quantizers: list[ir.Node], number: Fraction, error: Fraction) -> int:
    """What one or two quantisers in a row make of a sum, constants of more than 20 bits being off by an error."""
    first = quantizers[0].inputs[0]
    assert first is not None
    chain = Chain.of(first)
    factor, offset = (_rounded(Fraction(float(a.reshape(-1)[0])), error) for a in (chain.factor, chain.offset))
    number, units = number * factor + offset, 0
    for node in quantizers:
        scale, _, bits = (Fraction(float(a.reshape(-1)[0])) for v in node.inputs[1:] if (a := constant(v)) is not None)
        signed, narrow = (node.attributes.get_int(name, 0) for name in ("signed", "narrow"))
        lo = -(1 << int(bits) - 1) + narrow if signed else 0
        nearest = node.attributes.get_string("rounding_mode", "") == "ROUND"
        level = round(number / scale) if nearest else math.floor(number / scale)
        units = min(max(level, lo), (1 << int(bits) - signed) - 1)
        number = scale * units
    return units


def _rounded(constant: Fraction, error: Fraction) -> Fraction:
    return constant if constant.numerator.bit_length() <= 20 else constant * (1 + error)


def test_sums_that_float32_itself_rounds_are_refused():
    handover = prepare_hls4ml(Net(6).quant(0.3).dense(6, 4).quant(0.2).dense(4, 3).proto())
    (error,) = _ties(handover.findings, Severity.ERROR)
    assert error.got == "20 of 949 sums"
    assert not handover.ready


def test_sums_that_come_nowhere_near_a_boundary_are_not_warned_of():
    net = then(Net(6).quant().dense(6, 4), "Mul", [0.31, 0.47, 0.83, 0.59]).norm(4).op("Relu")
    handover = prepare_hls4ml(net.quant(0.25, signed=0).dense(4, 3).proto())
    assert handover.ready
    assert not [f for f in handover.findings if f.rule == "ties"]


def test_an_input_that_is_no_integer_is_warned_of():
    handover = prepare_hls4ml(Net(6).quant(0.3).dense(6, 4).proto())
    assert len(_ties(handover.findings, Severity.WARNING)) == 1
    assert handover.ready


@pytest.mark.parametrize("name", ["digits_cnn_4w4a", "digits_resnet_mixed", "keywords_conv_4w4a"])
def test_sums_of_trained_nets_are_near_boundaries_by_chance_at_most(name: str):
    handover = prepare_hls4ml(PROJECT / "src/anybit/zoo/models" / name / "model.onnx", logits=True)
    assert handover.ready
    assert name != "digits_cnn_4w4a" or not _ties(handover.findings, Severity.WARNING)


@pytest.mark.parametrize(
    "steps",
    [
        [("Mul", 3e38), ("Mul", 3e38)],
        [("Div", 1e-38), ("Div", 1e-38)],
        [("Mul", 3e38), ("Mul", 3e38), ("Mul", 1e-30)],
        [("Mul", np.inf)],
        [("Add", np.inf)],
        [("Mul", 1e-38), ("Mul", 1e-38)],
        [("Mul", 2.0**100), ("Mul", 2.0**100)],
        [("Mul", 2.0**-100), ("Mul", 2.0**-100), ("Mul", 2.0**120)],
        [("Mul", np.nan)],
    ],
    ids=str,
)
@pytest.mark.parametrize("scale", [0.3, 1e-38, 1e38])
def test_sums_that_overflow_on_their_way_stop_nothing(steps: list[tuple[str, float]], scale: float):
    net = _one(1.0, bits=8)
    for op_type, constant_ in steps:
        net = then(net, op_type, constant_)
    handover = prepare_hls4ml(net.quant(scale).proto(), compared=False)
    constants = [constant(v) for n in handover.model.graph for v in n.inputs if v is not None]
    assert np.isfinite([step for _, step in steps]).all() <= all(
        np.isfinite(c).all() for c in constants if c is not None
    )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("op_type", ["Add", "Mul"])
def test_constants_that_are_signalling_nans_are_not_warned_of(op_type: str):
    signalling = np.array([0x7F800001] * 4, np.uint32).view(np.float32)
    net = Net(4).quant().dense(4, 4)
    proto = net.op(op_type, net.const(signalling)).quant().proto()
    assert not anybit.prepare_hls4ml(proto).ready
