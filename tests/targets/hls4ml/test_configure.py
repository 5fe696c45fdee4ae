"""What hls4ml's layers are told: types that hold what is proven and no more, factors that hls4ml can build."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import anybit
from anybit.errors import UsageError
from anybit.targets import IoType
from anybit.targets.hls4ml.handover import Hls4mlHandover
from anybit.targets.hls4ml.prepare import prepare_hls4ml
from anybit.targets.hls4ml.project.fixed_type import FixedType, fraction_bits
from anybit.targets.hls4ml.project.reuse import HlsStrategy, reuse_of
from tests.integration.corpus import CORPUS, ZOO, needs_corpus
from tests.models import PROJECT
from tests.targets.hls4ml.nets import Net, then

SHIPPED = PROJECT / "src" / "anybit" / "zoo" / "models"
_SPARE = 2  # bits that an accumulator may have more than is proven


def _told(net: Net, **options) -> dict[str, dict[str, str]]:
    """By layer, the types that it is told."""
    handover = prepare_hls4ml(net.proto(), **options)
    assert handover.configuration is not None, [str(f) for f in handover.findings]
    return {layer.name: {k: str(t) for k, t in layer.precision.items()} for layer in handover.configuration.layers}


def _range(known: FixedType) -> tuple[float, float]:
    step = 2.0**-known.fraction_bits
    lowest = -(2 ** (known.width - 1)) if known.signed else 0
    return lowest * step, (lowest + 2**known.width - 1) * step


@given(st.integers(-300, 300), st.integers(0, 300), st.integers(-3, 8))
def test_a_type_holds_both_bounds_and_no_narrower_one_does(lo, size, fraction):
    low, high = lo * 2.0**-fraction, (lo + size) * 2.0**-fraction
    made = FixedType.between(low, high, fraction)
    assert _range(made)[0] <= low <= high <= _range(made)[1]
    assert made.fraction_bits == fraction
    if made.width > 1 + made.signed:
        narrower = FixedType(made.width - 1, made.integer_bits - 1, made.signed)
        assert not _range(narrower)[0] <= low <= high <= _range(narrower)[1]


@given(st.lists(st.tuples(st.integers(-1000, 1000), st.integers(-10, 10)), min_size=1))
def test_fraction_bits_are_the_fewest_that_hold_all(numbers):
    array = np.array([m * 2.0**e for m, e in numbers])
    bits = fraction_bits(array)
    assert (array * 2.0**bits == np.rint(array * 2.0**bits)).all()
    if array.any():
        assert (array * 2.0 ** (bits - 1) != np.rint(array * 2.0 ** (bits - 1))).any()


@given(st.integers(1, 60), st.integers(1, 60), st.one_of(st.none(), st.integers(1, 4000)))
def test_a_factor_is_one_that_hls4ml_builds_and_the_largest_within_the_target(inputs, outputs, target):
    def builds(factor: int) -> bool:  # the conditions of hls4ml's own check
        multipliers = math.ceil(inputs * outputs / min(inputs, factor))
        right = multipliers % outputs == 0 or factor >= inputs
        return right and (factor % inputs == 0 or factor < inputs) and inputs * outputs % factor == 0

    factor, strategy = reuse_of(inputs, outputs, target)
    assert builds(factor)
    if target is not None:
        assert factor == max(f for f in range(1, min(target, inputs * outputs) + 1) if builds(f))
    assert (strategy is HlsStrategy.LATENCY) == (factor == 1 and inputs * outputs <= 4096)


def test_a_large_layer_is_reused_without_being_asked_for():
    assert reuse_of(784, 64, None) == (14, HlsStrategy.RESOURCE)  # 3584 multipliers; 8 would leave 6272
    assert reuse_of(64, 64, None) == (1, HlsStrategy.LATENCY)


def test_an_input_has_the_type_of_the_quantiser_that_alone_reads_it():
    assert _told(Net(6).quant(0.25, bits=4).dense(6, 4))["x"]["result"] == "fixed<4,2,RND_CONV,SAT>"
    floor = Net(6).quant(0.5, bits=3, signed=0, rounding_mode="FLOOR").dense(6, 4)
    assert _told(floor)["x"]["result"] == "ufixed<3,2,TRN,SAT>"


def test_an_input_with_a_range_has_its_bounds():
    net = Net(6).quant(0.3).dense(6, 4)
    wide, narrow = _told(net)["x"]["result"], _told(net, input_ranges={"x": (-3, 3)})["x"]["result"]
    assert (wide, narrow) == ("fixed<44,17>", "fixed<29,3>") or int(narrow[6:8]) < int(wide[6:8])


def test_a_bias_on_the_grid_of_the_sums_is_added_in_the_accumulator():
    told = _told(then(Net(6).quant().dense(6, 4), "Add", [0.25, -0.5, 1, 0]).quant())
    assert told["MatMul_0"]["bias"] == "fixed<7,2>"
    assert told["MatMul_0"]["result"] == "auto"


def test_a_finer_bias_is_added_behind_it():
    told = _told(then(Net(6).quant().dense(6, 4), "Add", [0.3, -0.2, 1, 0]).quant())
    assert told["MatMul_0"]["bias"] == "ufixed<1,1>"
    assert told["MatMul_0"]["accum"] == told["MatMul_0"]["result"]


def test_sums_before_a_binary_quantiser_have_a_type_that_holds_its_thresholds():
    told = _told(then(Net(6).quant().dense(6, 4), "Add", [0.5, -300, 1, 0]).bipolar().dense(4, 3))
    assert int(told["MatMul_0"]["result"].split(",")[1].rstrip(">")) >= 10
    assert told["MatMul_0"]["accum"] == "fixed<9,4>"


def test_reuse_is_what_was_asked_for():
    handover = prepare_hls4ml(Net(6).quant().dense(6, 4).proto(), reuse=4)
    assert handover.configuration is not None
    assert [(layer.reuse, layer.strategy) for layer in handover.configuration.layers if layer.reuse] == [
        (3, HlsStrategy.RESOURCE)
    ]
    with pytest.raises(UsageError, match="reuse"):
        prepare_hls4ml(Net(6).quant().dense(6, 4).proto(), reuse=0)


def _widths(handover: Hls4mlHandover) -> list[tuple[int, int]]:
    """Of each product of two quantised tensors, the bits of its accumulator and those that are proven."""
    assert handover.configuration is not None
    layers = [layer for layer in handover.configuration.layers if layer.proven is not None]
    return [(a.width, layer.proven or 0) for layer in layers if isinstance(a := layer.precision["accum"], FixedType)]


_MODELS = (
    *(SHIPPED / name / "model.onnx" for name in ("keywords_conv_4w4a", "digits_cnn_4w4a", "digits_resnet_mixed")),
    *(ZOO / name for name in ("TFC_1W1A.onnx", "TFC_2W2A.onnx", "qkeras_jettagging.onnx")),
    *(CORPUS / name / "model.onnx" for name in ("jet_mlp_6b", "qkeras_mlp_mixed", "legacy_bv0103_mixnet")),
)


@needs_corpus
@pytest.mark.parametrize("path", _MODELS, ids=lambda p: p.stem if p.stem != "model" else p.parent.name)
def test_accumulators_are_as_wide_as_proven(path):
    handover = prepare_hls4ml(path, logits=True)
    widths = _widths(handover)
    ranges = anybit.ranges(handover.source or path)
    proven = [a.bounds[-1].bits for a in ranges.accumulators]
    assert widths
    assert all(bits <= fewest + _SPARE for bits, fewest in widths)
    assert not Counter(proven) - Counter(fewest for _, fewest in widths)  # beside them, averages that became sums


def test_both_io_types_are_told_the_same_types():
    net = Net(3, 6, 6).quant().conv(3, 4).op("Relu").quant(signed=0).conv(4, 2)
    assert _told(net) == _told(net, io_type=IoType.STREAM)
