"""Every clause of the specifications has calls that break it: ONNX Runtime refuses them, or the text does."""

from __future__ import annotations

from functools import partial

import pytest
from onnx import ModelProto

import anybit
from anybit import Dialect, Session
from anybit.engines import Engine
from anybit.errors import InvalidModelError
from anybit.reporting.describe import describe
from tests.ops.standard.checks import illegal_contrib, illegal_linear, illegal_products
from tests.ops.standard.checks.variants import Variant, errors

VARIANTS = (*illegal_linear.VARIANTS, *illegal_products.VARIANTS, *illegal_contrib.VARIANTS)
_OF_SHAPES = ("scale-shape", "zero-point-shape", "bias-shape", "operand-shape", "channels")
_OF_FORM = ("attribute", "inputs", "outputs", "output-type")  # by which `load` may refuse a call
_UNKNOWN = "operator"  # there is no such operator at the opset: an engine may know it

every_variant = pytest.mark.parametrize("variant", VARIANTS, ids=str)
# What is refused is refused before anything else is done, for whatever reason: one call of each rule and operator.
_BY_RULE = {(v.op_type, v.rule): v for v in reversed(VARIANTS) if v.rule != _UNKNOWN}.values()
every_rule = pytest.mark.parametrize("variant", _BY_RULE, ids=str)


@every_variant
def test_a_broken_clause_is_an_error_of_its_rule_that_names_the_node(variant: Variant):
    found = errors(variant.model())
    assert variant.rule in {f.rule for f in found}, found
    assert {f.node for f in found} == {f"{variant.op_type} 'node'"}
    assert all(f.problem and (f.expected or f.rule in ("attribute", "inputs", _UNKNOWN)) for f in found)


@every_variant
def test_onnx_runtime_refuses_it_unless_it_is_laxer_than_the_text(variant: Variant):
    assert bool(variant.refused_by_stock()) != bool(variant.runs)


@pytest.mark.parametrize("variant", [v for v in VARIANTS if not v.output_type], ids=str)
def test_it_is_found_in_a_branch_and_in_a_function(variant: Variant):
    for model in (variant.in_branch(), variant.in_function()):
        assert variant.rule in {f.rule for f in errors(model)}


@every_variant
def test_nothing_is_said_about_shapes_that_are_not_known(variant: Variant):
    assert not [f for f in errors(variant.unknown()) if f.rule in _OF_SHAPES]


@every_rule
def test_nothing_computes_with_it(variant: Variant):
    model = variant.model()
    engines = (Engine.REFERENCE, Engine.ONNXRUNTIME)
    sessions = [partial(Session, engine=engine) for engine in engines]
    for read in (anybit.types, anybit.ranges, anybit.cost, anybit.stats, *sessions):
        with pytest.raises(InvalidModelError, match=f"{variant.op_type} 'node'"):
            read(model)


@every_rule
def test_nothing_writes_it_and_what_describes_it_answers(variant: Variant):
    model = variant.model()
    for write in (*(partial(anybit.convert, to=f) for f in Dialect), anybit.clean, anybit.prepare_finn):
        with pytest.raises(InvalidModelError, match=f"{variant.op_type} 'node'"):
            write(model)
    with pytest.raises(InvalidModelError, match=f"{variant.op_type} 'node'"):
        anybit.verify(model, model)
    for answer in (anybit.info, anybit.capabilities):
        if variant.rule not in _OF_FORM or _is_loaded(model):
            answer(model)
        else:
            with pytest.raises(InvalidModelError, match=f"{variant.op_type} 'node'"):
                answer(model)
    describe(model)


def _is_loaded(model: ModelProto) -> bool:
    """Whether the form of its calls is right, and only their values are not."""
    try:
        anybit.load(model)
    except InvalidModelError:
        return False
    return True
