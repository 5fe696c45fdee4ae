"""The passes by name, and from text."""

from __future__ import annotations

import dataclasses

import onnx_ir as ir
import pytest

from anybit.errors import UsageError
from anybit.passes import Side, UnitAxis
from anybit.passes.catalog import catalog, options_of, parse_pass, summary_of


def test_every_pass_has_a_summary_and_is_a_frozen_dataclass():
    assert len(catalog()) > 20
    for name, kind in catalog().items():
        assert issubclass(kind, ir.passes.PassBase)
        assert summary_of(kind).endswith("."), name
        assert "Before" in (kind.__doc__ or ""), name
        assert dataclasses.is_dataclass(kind)
        assert kind.__dataclass_params__.frozen


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("fold-constants", {"keep_quantizers": True}),
        ("fold_constants:keep_quantizers=false,max_elements=7", {"keep_quantizers": False, "max_elements": 7}),
        ("set-batch:batch=4", {"batch": 4}),
        ("set-batch:batch=M", {"batch": "M"}),
        ('expose-tensors:tensors=["a,b","c"]', {"tensors": ("a,b", "c")}),
        ("expose-tensors:tensors=a", {"tensors": ("a",)}),
        ("expose-tensors:tensors=12", {"tensors": ("12",)}),
        ('expose-tensors:tensors=["a",12]', {"tensors": ("a", "12")}),
        ("insert-identity:side=before", {"side": Side.BEFORE}),
        ("conv-1d-to-2d:unit=2", {"unit": UnitAxis.HEIGHT}),
        ("conv-1d-to-2d:unit=width", {"unit": UnitAxis.WIDTH}),
        ("insert-top-k:output=7", {"output": "7"}),
    ],
)
def test_passes_are_read_from_text(text, fields):
    parsed = parse_pass(text)
    assert {name: getattr(parsed, name) for name in fields} == fields


def test_mappings_are_read_from_json():
    parsed = parse_pass('set-input-shape:shapes={"x": [1, 3, "H"]}')
    assert {k: tuple(v) for k, v in parsed.shapes.items()} == {"x": (1, 3, "H")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bogus", "unknown pass"),
        ("fold-constants:speed=9", "option of fold-constants"),
        ("fold-constants:max_elements", "option of fold-constants"),
        ("fold-constants:max_elements=many", "max_elements"),
        ("fold-constants:max_elements=7.5", "max_elements"),
        ("fold-constants:max_elements=true", "got 'true', expected int"),
        ("fold-constants:keep_quantizers=1", "keep_quantizers"),
        ('set-input-shape:shapes={"x": [1.5]}', "shapes"),
        ("insert-identity:side=middle", "got 'middle', expected before, after"),
        ("conv-1d-to-2d:unit=depth", "got 'depth', expected height, width"),
        ("expose-tensors", "got none, expected tensors=..."),
        ('insert-quantizers:tensors={"h": {}}', "missing required field `bits`"),
        ('mask-channels:tensors={"w": [1]}', "Expected `object`, got `array`"),
    ],
)
def test_what_makes_no_sense_is_refused(text, message):
    with pytest.raises(UsageError, match=message):
        parse_pass(text)


def test_options_know_their_defaults():
    assert options_of(catalog()["fold-constants"])["max_elements"].default == 1 << 20
    assert options_of(catalog()["expose-tensors"])["tensors"].required
