"""What is known of tensors one by one: keys of constants, signs of zeros, integers that two models share."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from onnx import helper

from anybit.analysis.values.interpreter import values_of
from anybit.exact.integer_functions import Root
from anybit.exact.tensor_numbers import TensorNumbers, output_key, without_zero_signs
from anybit.formats.convert import to_hub
from anybit.ops.zero_sign import ZeroSign
from tests.models import model
from tests.strategies import Array


def _numbers(*nodes, **constants: Array) -> TensorNumbers:
    hub, _ = to_hub(model([*nodes], constants, inputs={"x": [2, 3]}, outputs=["y"]))
    return TensorNumbers(values_of(hub), {}, {})


_CONSTANTS = [
    np.float32([0.0, 1.0]),
    np.float32([-0.0, 1.0]),
    np.float32([[0.0, 1.0]]),
    np.float64([0.0, 1.0]),
    np.int32([0, 1]),
    np.float32([0.0, 2.0]),
    np.float32([np.nan, 1.0]),
]


def test_a_constant_is_numbered_by_its_array():
    """Zeros of both signs are the same numbers, and other bits."""
    node = helper.make_node("Identity", ["x"], ["y"])
    names = [f"c{i}" for i in range(len(_CONSTANTS))]
    numbers = [_numbers(node, **dict(zip(names, _CONSTANTS, strict=True))) for _ in range(2)]
    for (i, a), (j, b) in itertools.product(enumerate(names), repeat=2):
        one, other = (n.of(n.values.model.graph.initializers[c]) for n, c in zip(numbers, (a, b), strict=True))
        assert one.key == one.structure
        assert (one.key == other.key) == (i == j or {i, j} == {0, 1})
        assert (one.bits == other.bits) == (i == j)


def test_tensors_that_are_not_known_are_their_own():
    first, second = (_numbers(helper.make_node("Identity", ["x"], ["y"])) for _ in range(2))
    x, other = (n.values.model.graph.inputs[0] for n in (first, second))
    assert first.of(x) is first.of(x)
    assert len({first.of(x).key, second.of(other).key, first.of(None).key}) == 3
    assert first.of(None) == second.of(None)
    assert first.constant(None) is None
    assert first.constant(x) is None


def test_what_constants_alone_make_is_one():
    nodes = [helper.make_node("Add", ["a", "b"], ["c"]), helper.make_node("Mul", ["x", "c"], ["y"])]
    numbers = _numbers(*nodes, a=np.float32([1, 2, 3]), b=np.float32([10, 20, 30]))
    value = next(v for n in numbers.values.model.graph for v in n.inputs if v is not None and v.name == "c")
    np.testing.assert_array_equal(numbers.constant(value), [11, 22, 33])


@pytest.mark.parametrize("array", [np.float32([-0.0, 0.0, -1.0, np.nan]), np.float16([-0.0]), np.int8([-1, 0])])
def test_zeros_lose_their_sign_and_nothing_else_changes(array: Array):
    found = without_zero_signs(array)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype
    assert not np.signbit(found[found == 0]).any()


@pytest.mark.parametrize(
    ("least", "most", "told"),
    [(0, 5, True), (0.5, 5, False), (-5, 0, True), (-5, -0.5, False), (-1, 1, True), ([0, 1, 1], 5, True),
     ([1, 2, 3], 5, False), (-5, [-1, -2, 0], True), (-5, [-1, -2, -3], False)],
)  # fmt: skip
def test_what_cannot_be_zero_has_no_sign_of_zero(least, most, told: bool):
    nodes = [
        helper.make_node("Max", ["x", "a"], ["m"]),
        helper.make_node("Min", ["m", "b"], ["c"]),
        helper.make_node("Reciprocal", ["c"], ["y"], name="last"),
    ]
    numbers = _numbers(*nodes, a=np.float32(least), b=np.float32(most))
    last = next(n for n in numbers.values.model.graph if n.name == "last")
    assert numbers.zero_sign_of(last, 0) is (ZeroSign.TOLD if told else ZeroSign.ENDED)


def test_integers_of_one_key_are_one_root():
    numbers = _numbers(helper.make_node("Identity", ["x"], ["y"]))
    first = numbers.root(b"k", np.zeros(1), np.ones(1))
    assert (first.step, first.offset.tolist()) == (1, [0])
    assert numbers.root(b"k", np.zeros(1), np.full(1, 9.0)) is first
    assert numbers.known_root(Root(b"k", np.zeros(1), np.full(1, 9.0))) is first
    other = numbers.root(b"l", np.zeros(1), np.ones(1), 2, np.full(1, -3.0))
    assert (other.step, other.offset.tolist()) == (2, [-3])


def test_outputs_of_a_node_have_keys_of_their_own():
    keys = [output_key(k, i) for k in (b"a", b"b") for i in range(3)]
    assert len({*keys}) == 6
    assert output_key(b"a", 1) == keys[1]
