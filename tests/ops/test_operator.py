"""The record of an operator of one's own: what is refused when it is registered, and what goes through it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import helper
from onnxscript import opset21, script
from onnxscript import values as opset

import anybit
from anybit.cleanup.independent_samples import BatchPlan, plan_batch
from anybit.cleanup.infer_shapes import InferShapes
from anybit.engines.finiteness import stays_finite
from anybit.errors import Severity, UsageError
from anybit.operators import Attribute, Bounds, Call, GridBounds, Input, Layout, Monotone, Operator, Traits, register
from anybit.ops import registry
from tests.analysis.values.soundness import bounds_of, check_sound
from tests.models import model, parameters, quant, samples


@pytest.fixture(autouse=True)
def _operators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_operators", {k: list(v) for k, v in registry._operators.items()})


def _scaled(x, *, factor=1.0):
    return (x * np.float32(factor)).astype(x.dtype)


SCALED = Operator(
    name="Scaled",
    domain="my.ops",
    inputs=(Input("X"),),
    attributes=(Attribute("factor", float, 1.0),),
    reference=_scaled,
)


def _of(name: str, *nodes: onnx.NodeProto, shape=("N", 4), constants=None, **attributes: Any) -> onnx.ModelProto:
    node = helper.make_node(name, ["x"], ["y"], name="mine", domain="my.ops", **attributes)
    imports = {"": 21, "my.ops": 1, "qonnx.custom_op.general": 1}
    return model(nodes or [node], constants or {}, inputs={"x": list(shape)}, outputs=["y"], imports=imports)


def _of_two(x, z, *, factor):
    return x + z * factor


def _wrong_traits(**values: Any) -> Traits:
    return Traits(**values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reference": lambda x: x}, "reference does not take"),
        ({"reference": _of_two, "inputs": (Input("X"),)}, "reference does not take"),
        ({"attributes": (Attribute("factor", float, 1),)}, "default of attribute 'factor'"),
        ({"attributes": (Attribute("factor", int, True),)}, "default of attribute 'factor'"),
        ({"attributes": (Attribute("factor", tuple, (1, 2.5)),)}, "default of attribute 'factor'"),
        ({"attributes": (Attribute("factor", ir.Graph),)}, "kind of attribute 'factor'.*Graph.*graph cannot be one"),
        ({"attributes": (Attribute("factor", float), Attribute("factor", float))}, "attribute 'factor'"),
        ({"inputs": (Input("X"), Input("X"))}, "input 'X'"),
        ({"inputs": (Input("X", optional=True), Input("Z"))}, "left out"),
        ({"aliases": ("Scaled",)}, "name or alias 'Scaled'"),
        ({"name": ""}, "name or alias"),
        ({"domain": ""}, "standard operators"),
        ({"traits": {"elementwise": True}}, "traits.*dict"),
        ({"traits": _wrong_traits(monotone=("rising",))}, "trait 'monotone'"),
        ({"traits": _wrong_traits(movement="order")}, "trait 'movement'"),
        ({"traits": _wrong_traits(finite=1)}, "trait 'finite'"),
        ({"traits": Traits(broadcasting=True)}, "broadcasting"),
        ({"layout": Layout(inputs=(1,))}, "inputs of the layout"),
        ({"layout": Layout(attribute="factor")}, "attribute of the layout"),
        ({"layout": "NCHW"}, "layout.*str"),
    ],
)
def test_a_record_that_cannot_work_is_refused_by_name(changes: dict[str, Any], message: str):
    wrong = replace(SCALED, **changes)
    with pytest.raises(UsageError, match=f"(?s){message}") as refused:
        register(wrong)
    assert "version 1" in str(refused.value)
    assert registry.find_operator("my.ops", "Scaled", 1) is None


def test_a_trait_that_there_is_not_is_refused():
    with pytest.raises(TypeError, match="rises"):
        _wrong_traits(rises=True)


def test_a_reference_that_does_not_say_what_it_takes_is_taken():
    register(Operator(name="Negated", domain="my.ops", inputs=(Input("X"),), reference=np.negative))
    x = samples(2, 4)
    y = anybit.run(_of("Negated"), x, engine="reference")["y"]
    np.testing.assert_array_equal(y, -x)


def _of_nothing(call: Call) -> Bounds:
    return Bounds(lo=0, hi=call.attributes["factor"])


def _times(call: Call, x: Bounds) -> Bounds:
    ends = np.asarray(x.lo) * call.attributes["factor"], np.asarray(x.hi) * call.attributes["factor"]
    return Bounds(lo=np.minimum(*ends), hi=np.maximum(*ends))


def test_bounds_follow_attributes_and_channels():
    register(replace(SCALED, bounds=_times))
    values = check_sound(_of("Scaled", factor=-0.5), {"x": (-1.0, 3.0)})
    assert (bounds_of(values, "y").lo, bounds_of(values, "y").hi) == (-1.5, 0.5)


@pytest.mark.parametrize(
    ("bounds", "reason"),
    [
        (lambda *_: None, "NoneType, expected Bounds"),
        (lambda *_: Bounds(lo=1.0, hi=0.0), "no interval"),
        (lambda *_: Bounds(lo=np.nan, hi=0.0), "no interval"),
        (lambda *_: Bounds(lo=np.zeros((1, 1, 1)), hi=1.0), "broadcast"),
        (lambda *_: Bounds(lo=0.0, hi=1.0, grid=GridBounds(scale=1.0, lo=0.5, hi=1.0)), "whole ends"),
        (lambda *_: 1 / 0, "division"),
        (_of_nothing, "positional"),
    ],
)
def test_bounds_that_make_no_sense_are_not_believed(bounds: Any, reason: str):
    register(replace(SCALED, bounds=bounds))
    found = anybit.ranges(_of("Scaled"))
    (unfollowed,) = found.unfollowed
    assert reason in str(unfollowed)


def test_what_treats_each_element_by_itself_goes_through_batches_bytes_and_layouts():
    register(replace(SCALED, traits=Traits(elementwise=True, finite=True, monotone=(Monotone.RISING,))))
    loaded = anybit.load(_of("Scaled", shape=(1, 4)))
    InferShapes()(loaded)
    assert isinstance(plan_batch(loaded), BatchPlan)
    assert stays_finite(loaded)
    pool = helper.make_node("GlobalAveragePool", ["a"], ["y"], name="pool")
    mine = helper.make_node("Scaled", ["c"], ["a"], name="mine", domain="my.ops", factor=3.0)
    conv = helper.make_node("Conv", ["x", "w"], ["c"], name="conv")
    proto = _of("Scaled", conv, mine, pool, shape=(1, 2, 5, 5), constants={"w": samples(3, 2, 2, 2)})
    moved = anybit.apply(proto, ["to-channels-last"]).model
    assert [n.op_type for n in moved.graph].count("Transpose") == 2
    x = samples(1, 2, 5, 5)
    before, after = (anybit.run(m, x, engine="reference")["y"] for m in (proto, moved))
    np.testing.assert_allclose(after, before, rtol=1e-6)


def test_without_traits_nothing_goes_through():
    register(SCALED)
    loaded = anybit.load(_of("Scaled", shape=(1, 4)))
    InferShapes()(loaded)
    assert not isinstance(plan_batch(loaded), BatchPlan)
    assert not stays_finite(loaded)


def _by_channel(x, *, data_layout="NCHW"):
    axis = x.ndim - 1 if data_layout.endswith("C") else 1
    shape = [-1 if k == axis else 1 for k in range(x.ndim)]
    return (x * np.arange(1, x.shape[axis] + 1, dtype=x.dtype).reshape(shape)).astype(x.dtype)


def test_an_operator_is_told_the_layout_by_its_attribute():
    counted = Operator(
        name="Counted", domain="my.ops", inputs=(Input("X"),), attributes=(Attribute("data_layout", str, "NCHW"),),
        reference=_by_channel, layout=Layout(attribute="data_layout"),
    )  # fmt: skip
    register(counted)
    conv = helper.make_node("Conv", ["x", "w"], ["c"], name="conv")
    mine = helper.make_node("Counted", ["c"], ["a"], name="mine", domain="my.ops")
    pool = helper.make_node("GlobalAveragePool", ["a"], ["y"], name="pool")
    proto = _of("Counted", conv, mine, pool, shape=(1, 2, 5, 5), constants={"w": samples(3, 2, 2, 2)})
    moved = anybit.apply(proto, ["to-channels-last"]).model
    (node,) = (n for n in moved.graph if n.op_type == "Counted")
    assert node.attributes["data_layout"].as_string() == "NHWC"
    x = samples(1, 2, 5, 5)
    before, after = (anybit.run(m, x, engine="reference")["y"] for m in (proto, moved))
    np.testing.assert_allclose(after, before, rtol=1e-6)


def test_a_record_says_nothing_of_models_that_do_not_use_it():
    def fails(*_: Any) -> Any:
        raise RuntimeError("called")

    register(replace(SCALED, bounds=fails, check=fails, infer=fails, number_format=fails))
    proto = model([quant("x", "y")], parameters("y"), inputs={"x": [1, 4]}, outputs=["y"])
    assert anybit.check(proto) == ()
    assert not anybit.ranges(proto).unfollowed
    anybit.convert(proto, "qcdq")


def _weighted(x, *, factors, names, table, sizes):
    return (x * np.float32(factors[names.index("wanted")]) + table.sum(dtype=np.float32) + len(sizes)).astype(x.dtype)


MANY_KINDS = Operator(
    name="ManyKinds",
    domain="my.ops",
    inputs=(Input("X"),),
    attributes=(
        Attribute("factors", tuple[float, ...]),
        Attribute("names", tuple[str, ...], ("wanted",)),
        Attribute("table", np.ndarray, np.float32([1.0, 2.0])),
        Attribute("sizes", tuple[int, ...], ()),
    ),
    reference=_weighted,
)


def test_lists_and_tensors_are_attributes_like_any_other(tmp_path):
    register(MANY_KINDS)
    x = samples(3, 4)
    plain = _of("ManyKinds", factors=[0.5])
    np.testing.assert_array_equal(anybit.run(plain, x, engine="reference")["y"], x * np.float32(0.5) + 3)
    table = onnx.numpy_helper.from_array(np.float32([[4.0]]), "table")
    given = _of("ManyKinds", factors=[2.0, 3.0], names=["other", "wanted"], table=table, sizes=[7, 8])
    assert not anybit.check(given)
    anybit.save(given, tmp_path / "m.onnx")
    np.testing.assert_array_equal(anybit.run(tmp_path / "m.onnx", x, engine="reference")["y"], x * np.float32(3) + 6)
    assert anybit.types(given)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, "'factors' is missing"),
        ({"factors": [1, 2]}, "INTS, expected tuple of float"),
        ({"factors": 1.0}, "FLOAT, expected tuple of float"),
        ({"factors": [1.0], "names": "wanted"}, "STRING, expected tuple of str"),
        ({"factors": [1.0], "table": 3}, "INT, expected array"),
        ({"factors": [1.0], "sizes": [1.5]}, "FLOATS, expected tuple of int"),
    ],
)
def test_an_attribute_of_another_kind_is_refused_by_name(attributes, expected):
    register(MANY_KINDS)
    with pytest.raises(anybit.errors.InvalidModelError, match=expected):
        anybit.run(_of("ManyKinds", **attributes), samples(1, 4))


@pytest.mark.parametrize(
    ("kind", "default"),
    [
        (tuple[float, ...], (1,)),
        (tuple[str, ...], "text"),
        (np.ndarray, 1.0),
        (onnx.GraphProto, None),
        (list, None),
        (tuple[bytes, ...], None),
        ([], None),
    ],
)
def test_kinds_and_defaults_that_no_attribute_has_are_refused(kind, default):
    wrong = replace(SCALED, name="Wrong", reference=lambda x, **_: x, attributes=(Attribute("a", kind, default),))
    with pytest.raises(UsageError, match="attribute 'a'"):
        register(wrong)


def _parts(x):
    whole = np.floor(x)
    return x - whole, whole, np.sign(x)


@script(opset.Opset("my.ops", 1), default_opset=opset21)
def _parts_body(X):
    whole = opset21.Floor(X)
    return opset21.Sub(X, whole), whole, opset21.Sign(X)


PARTS = Operator(
    name="Parts",
    domain="my.ops",
    inputs=(Input("X"),),
    outputs=("Rest", "Whole", "Sign"),
    reference=_parts,
    body=_parts_body,
    bounds=lambda *_: Bounds(lo=0.0, hi=1.0),
)


def _called(count: int, *, first: str = "y") -> onnx.ModelProto:
    names = [first, "whole", "sign"][:count]
    node = helper.make_node("Parts", ["x"], names, domain="my.ops")
    imports = {"": 21, "my.ops": 1}
    return model([node], {}, inputs={"x": ["N", 4]}, outputs=[n for n in names if n], imports=imports)


@pytest.mark.parametrize("engine", ["reference", "onnxruntime"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_an_operator_may_have_several_outputs_of_which_the_last_may_be_left_out(engine, count):
    register(PARTS)
    x = samples(5, 4)
    made = anybit.run(_called(count), x, engine=engine)
    assert len(made) == count
    for actual, expected in zip(made.values(), _parts(x), strict=False):
        np.testing.assert_array_equal(actual, expected)


def test_several_outputs_in_checks_bounds_and_files():
    register(PARTS)
    assert {f.severity for f in anybit.check(_called(3))} == {Severity.WARNING}  # it infers no shape of the others
    values = anybit.analyse(_called(3))
    assert (float(values["y"].lo), float(values["y"].hi)) == (0.0, 1.0)
    assert np.isinf(values["whole"].hi).all()
    embedded = anybit.convert(_called(3), "qonnx", embed_functions=True).model
    x = samples(2, 4)
    session = onnxruntime.InferenceSession(anybit.to_proto(embedded).SerializeToString())
    for actual, expected in zip(session.run(None, {"x": x}), _parts(x), strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_a_call_with_too_many_outputs_and_a_reference_with_too_few_are_refused():
    register(PARTS)
    proto = _called(3)
    proto.graph.node[0].output.append("more")
    with pytest.raises(anybit.errors.InvalidModelError, match=r"4, expected 1 \.\. 3: Rest, Whole, Sign"):
        anybit.load(proto)
    register(replace(PARTS, name="Two", outputs=("A", "B"), body=None))
    two = _called(1)
    two.graph.node[0].op_type = "Two"
    with pytest.raises(anybit.AnybitError, match="gives 3 outputs, expected A, B"):
        anybit.run(two, samples(1, 4), engine="reference")
    with pytest.raises(UsageError, match="outputs"):
        register(replace(PARTS, name="None", outputs=()))
    with pytest.raises(UsageError, match="output 'A'"):
        register(replace(PARTS, name="Same", outputs=("A", "A")))
