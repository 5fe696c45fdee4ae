"""Constants become the nearest numbers of a format."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from anybit import annotations
from anybit.errors import UsageError
from anybit.graph.constants import constant
from anybit.number_formats import parse_number_format
from anybit.passes.catalog import parse_pass
from anybit.passes.types.quantize_parameters import QuantizeParameters
from anybit.rounding import Rounding
from tests.passes.rewriting import applied, placed, problems, settings_of_use, text
from tests.strategies import examples

SCALE = np.float32([0.3, -9, 0.25])


def _scaled(setting="plain", scale=SCALE):
    nodes = [
        helper.make_node("Mul", ["x", "c"], ["h"], name="mul"),
        helper.make_node("Sub", ["h", "d"], ["y"], name="sub"),
    ]
    return placed(setting, nodes, {"c": scale, "d": np.float32(0.3)}, inputs={"x": [2, 3]})


def _constant(model, name):
    values = {v.name: v for g in (model.graph, *model.graph.subgraphs()) for v in g.initializers.values()}
    return constant(values[name])


def test_before_and_after():
    after = applied(_scaled(), QuantizeParameters("FIXED<8,4>"), modified=True)
    assert text(after) == ["h = Mul(x, c[3])", "y = Sub(h, 0.3)"]
    assert _constant(after, "c").tolist() == [0.3125, -8, 0.25]
    assert str(annotations.number_format(after, "c")) == "FIXED<8,4>"
    assert problems(after) == {"tensor 'c'": "rounded to FIXED<8,4>"}


def test_formats_by_name_and_from_the_command_line():
    step = parse_pass('quantize-parameters:number_format=FIXED<8,4>,tensors={"d*": "INT4"},rounding=CEIL')
    after = applied(_scaled(), step, modified=True)
    assert _constant(after, "c").tolist() == [0.3125, -8, 0.25]
    assert _constant(after, "d") == 1


@examples(60)
@given(
    setting=settings_of_use,
    scale=st.lists(st.floats(-20, 20, width=32), min_size=3, max_size=3),
    name=st.sampled_from(["FIXED<6,3>", "INT3", "UINT5", "TERNARY", "BIPOLAR", "FLOAT<3,2>"]),
    rounding=st.sampled_from(Rounding),
)
def test_each_constant_is_the_nearest_of_its_format(setting, scale, name, rounding):
    given_scale = np.float32(scale)
    after = applied(_scaled(setting, given_scale), QuantizeParameters(tensors={"c": name}, rounding=rounding))
    wanted = parse_number_format(name)
    np.testing.assert_array_equal(_constant(after, "c"), wanted.nearest(given_scale, rounding=rounding))
    assert _constant(after, "d") == np.float32(0.3)


def test_what_cannot_be_rounded_is_refused():
    with pytest.raises(UsageError, match=r"no such tensor.*'q'"):
        applied(_scaled(), QuantizeParameters(tensors={"q": "INT4"}))
    with pytest.raises(UsageError, match="got no format, expected number_format"):
        applied(_scaled(), QuantizeParameters())
    with pytest.raises(UsageError, match=r"tensor 'c'.*NaN"):
        applied(_scaled(scale=np.float32([1, 2, np.nan])), QuantizeParameters("INT4"))
    with pytest.raises(UsageError, match="unknown number format"):
        applied(_scaled(), QuantizeParameters("INT"))
