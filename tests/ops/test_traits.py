"""The table of what operators are like, tried on each operator's reference: every fact that brute force can refute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from anybit.exact.ordinals import INFINITY, float_at
from anybit.ops.operator import Operator
from anybit.ops.registry import QUANTIZERS, operators
from anybit.ops.standard.kernels import compile_node
from anybit.ops.standard_schemas import standard_schema
from anybit.ops.traits import (
    BROADCASTING,
    MOVING,
    NO_TRAITS,
    STANDARD,
    UNARY,
    Monotone,
    MonotoneProof,
    Movement,
    Traits,
    standard,
)

_OPSET = 24
_RNG = np.random.default_rng(5)
_X = _RNG.permutation(np.arange(1, 65, dtype=np.float32)).reshape(1, 4, 4, 4) - np.float32(32.5)


@dataclass(frozen=True)
class _Use:
    """One use of an operator: its further inputs, its attributes, how many inputs and outputs it has."""

    rest: Sequence[Any] = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    first: Any = None
    outputs: int = 1


_INT64, _FLOAT32 = np.int64, np.float32
_BITS = _X.astype(np.int32)
_TRUTH = _X > 0
_USES = {
    "ArgMax": _Use(), "ArgMin": _Use(), "AveragePool": _Use((), {"kernel_shape": (2, 2)}),
    "BatchNormalization": _Use([np.full(4, v, _FLOAT32) for v in (2, 1, 0.5, 4)]),
    "BitShift": _Use([np.ones(4, np.uint32)], {"direction": "LEFT"}, first=_TRUTH.astype(np.uint32)),
    "BitwiseAnd": _Use([_BITS[..., :1]], first=_BITS), "BitwiseOr": _Use([_BITS[..., :1]], first=_BITS),
    "BitwiseXor": _Use([_BITS[..., :1]], first=_BITS), "BitwiseNot": _Use(first=_BITS),
    "Cast": _Use((), {"to": 7}), "CastLike": _Use([np.zeros(3, np.int64)]),
    "Clip": _Use([_FLOAT32(-3), _FLOAT32(9)]), "Compress": _Use([np.array([True, False, True])], {"axis": 1}),
    "Concat": _Use([_X], {"axis": 1}), "Constant": _Use(first="none", attributes={"value_float": 1.0}),
    "ConstantOfShape": _Use(first=np.array([2, 3])), "Conv": _Use([np.ones((2, 4, 2, 2), _FLOAT32)]),
    "ConvTranspose": _Use([np.ones((4, 2, 2, 2), _FLOAT32)]), "DepthToSpace": _Use((), {"blocksize": 2}),
    "Dropout": _Use(), "Einsum": _Use([np.ones((4, 3), _FLOAT32)], {"equation": "abcd,de->abce"}),
    "Expand": _Use([np.array([2, 4, 4, 4])]), "Gather": _Use([np.array([1, 0, 1])], {"axis": 1}),
    "GatherElements": _Use([np.ones((1, 2, 4, 4), _INT64)], {"axis": 1}), "GatherND": _Use([np.array([[0, 2]])]),
    "Gemm": _Use([np.ones((8, 3), _FLOAT32)], first=_X.reshape(8, 8)), "LeakyRelu": _Use((), {"alpha": 0.25}),
    "MatMul": _Use([np.ones((4, 3), _FLOAT32)]), "MaxPool": _Use((), {"kernel_shape": (2, 2), "strides": (1, 1)}),
    "Mod": _Use([_FLOAT32(3)], {"fmod": 1}), "Not": _Use(first=_TRUTH),
    **{name: _Use([_TRUTH[..., :1]], first=_TRUTH) for name in ("And", "Or", "Xor")},
    "Pad": _Use([np.array([0, 0, 1, 1, 0, 0, 1, 1])]), "Pow": _Use([_FLOAT32(2)]), "PRelu": _Use([_FLOAT32(0.25)]),
    "QuantizeLinear": _Use([_FLOAT32(0.5), np.int8(0)]),
    "DequantizeLinear": _Use([_FLOAT32(0.5)], first=_X.astype("b")),
    "Reshape": _Use([np.array([2, -1])]), "Resize": _Use([None, np.array([1, 1, 2, 2], _FLOAT32)]),
    "ReverseSequence": _Use([np.array([3])], {"batch_axis": 0, "time_axis": 1}),
    "Slice": _Use([np.array([1]), np.array([4]), np.array([2])]), "SpaceToDepth": _Use((), {"blocksize": 2}),
    "Split": _Use((), {"axis": 1, "num_outputs": 2}, outputs=2), "Squeeze": _Use([np.array([0])]),
    "Tile": _Use([np.array([1, 2, 1, 1])]), "TopK": _Use([np.array([2])], outputs=2),
    "Transpose": _Use((), {"perm": (0, 2, 3, 1)}), "Unsqueeze": _Use([np.array([0])]),
    "Where": _Use([_X, -_X], first=_TRUTH), "InstanceNormalization": _Use([np.ones(4, _FLOAT32), np.ones(4, _FLOAT32)]),
    "GlobalLpPool": _Use(), "LpPool": _Use((), {"kernel_shape": (2, 2)}),
    "ConvInteger": _Use([np.ones((2, 4, 2, 2), np.uint8)], first=_TRUTH.astype(np.uint8)),
    "MatMulInteger": _Use([np.ones((4, 3), np.uint8)], first=_TRUTH.astype(np.uint8)),
}  # fmt: skip
_DOMAINS = {
    "Acos": (-1, 1),
    "Asin": (-1, 1),
    "Atanh": (-1, 1),
    "Acosh": (1, np.inf),
    "Log": (0, np.inf),
    "Sqrt": (0, np.inf),
}


def _use(name: str) -> _Use:
    return _USES.get(name) or (_Use([_X[..., :1].copy()]) if name in BROADCASTING else _Use())


def _run(name: str, inputs: Sequence[Any], attributes: dict[str, Any] | None = None, outputs: int = 1) -> Any:
    arrays = [None if a is None else np.asarray(a) for a in inputs]
    values = [None if a is None else ir.Value(name=f"i{k}", type=ir.TensorType(ir.DataType.from_numpy(a.dtype)))
              for k, a in enumerate(arrays)]  # fmt: skip
    node = ir.node(name, values, attributes, num_outputs=outputs)
    with np.errstate(all="ignore"):
        return compile_node(node, _OPSET)(arrays)[0]


def _applied(name: str, x: Any) -> Any:
    use = _use(name)
    return _run(name, [x, *use.rest], use.attributes, use.outputs)


def _input(name: str) -> Any:
    use = _use(name)
    if use.first is not None:
        return use.first
    if name in _DOMAINS:
        return _X / 64 if np.isfinite(_DOMAINS[name][1]) else np.abs(_X) + 1
    return _X


@pytest.mark.parametrize("name", sorted(STANDARD))
def test_every_name_is_one_of_onnx(name: str):
    assert standard_schema(name, _OPSET) or standard_schema(name, 9)


@pytest.mark.parametrize("name", sorted(UNARY))
def test_an_operator_of_each_element_commutes_with_any_order_of_them(name: str):
    x = np.asarray(_input(name))
    order = _RNG.permutation(x.size)
    y = _applied(name, x)
    moved = _applied(name, x.reshape(-1)[order].reshape(x.shape))
    np.testing.assert_array_equal(moved.reshape(-1), y.reshape(-1)[order])


@pytest.mark.parametrize("name", sorted(BROADCASTING))
def test_an_operator_that_broadcasts_sees_elements_that_meet(name: str):
    x = np.asarray(_input(name))
    inputs = np.broadcast_arrays(x, *(np.asarray(r) for r in _use(name).rest))
    order = _RNG.permutation(x.size)
    plain = _applied(name, x)
    whole = _run(name, inputs, _use(name).attributes)
    moved = _run(name, [a.reshape(-1)[order].reshape(x.shape) for a in inputs], _use(name).attributes)
    np.testing.assert_array_equal(plain, whole)
    np.testing.assert_array_equal(moved.reshape(-1), whole.reshape(-1)[order])


@pytest.mark.parametrize("name", sorted(MOVING))
def test_what_moves_elements_makes_no_other_ones(name: str):
    x, movement = _input(name), STANDARD[name].movement
    y = _applied(name, x)
    assert not Counter(y.reshape(-1).tolist()).keys() - Counter(x.reshape(-1).tolist()).keys()
    if STANDARD[name].keeps_elements:
        np.testing.assert_array_equal(np.sort(y, axis=None), np.sort(x, axis=None))
    if movement is Movement.ORDER:
        np.testing.assert_array_equal(y.reshape(-1), x.reshape(-1))
    if movement is not Movement.MAXIMUM:  # positions do not depend on the elements
        np.testing.assert_array_equal(_applied(name, -x), -y)
    else:
        assert y.max() == x.max()


@pytest.mark.parametrize("name", sorted(standard(lambda t: t.keeps_channels) - {"BitShift"}))
def test_a_channel_is_made_of_that_channel(name: str):
    x = np.asarray(_input(name))
    y = _applied(name, x)
    changed = x.copy()
    changed[:, 1] = x[:, 1][..., ::-1] if x.dtype == np.bool_ else 0
    other = _applied(name, changed)
    np.testing.assert_array_equal(np.delete(other, 1, axis=1), np.delete(y, 1, axis=1))


def _neighbours(name: str) -> Any:
    """Runs of neighbouring float32 numbers of every magnitude that the operator is defined for."""
    starts = np.linspace(-INFINITY, INFINITY - 64, 4096).astype(np.int64)
    x = np.unique(float_at((starts[:, None] + np.arange(64)).reshape(-1)))
    lo, hi = _DOMAINS.get(name, (-np.inf, np.inf))
    return x[(x >= lo) & (x <= hi)]


@pytest.mark.parametrize("name", sorted(standard(lambda t: t.monotone and t.monotone[0] is not Monotone.BY_PARAMETERS)))
def test_what_rises_or_falls_does_so(name: str):
    x, rest = _neighbours(name), [_FLOAT32(3.3)] if name in BROADCASTING else _use(name).rest
    traits = STANDARD[name]
    y = _run(name, [x, *rest]).astype(np.float64)
    wrong = y[1:] < y[:-1] if traits.monotone[0] is Monotone.RISING else y[1:] > y[:-1]
    if traits.proof is MonotoneProof.COMPOSITION:
        assert not wrong.any()
    else:  # a library rounds: neighbours may change places, by a unit in the last place
        np.testing.assert_allclose(y[1:][wrong], y[:-1][wrong], rtol=2.0**-22)
    if traits.monotone_in(1) is not None:
        y = _run(name, [rest[0], x])
        assert not (y[1:] < y[:-1] if traits.monotone_in(1) is Monotone.RISING else y[1:] > y[:-1]).any()


@pytest.mark.parametrize("name", sorted(standard(lambda t: t.finite)))
def test_finite_inputs_make_finite_outputs(name: str):
    x = np.asarray(_input(name))
    if x.dtype == np.float32:
        extremes = np.array([0, -0.0, 1e-45, -1e-45, 1e-38, 1, -1, 1e4, -1e4, 1e17, -1e17], _FLOAT32)
        x = np.resize(extremes, x.shape)
    inputs = [] if isinstance(_use(name).first, str) else [x, *_use(name).rest]
    y = np.asarray(_run(name, inputs, _use(name).attributes, _use(name).outputs))
    assert y.dtype.kind != "f" or np.isfinite(y).all()


@pytest.mark.parametrize("name", sorted(standard(lambda t: t.homogeneous)))
@pytest.mark.parametrize("factor", [2.0**-20, 0.5, 4.0, 2.0**15])
def test_a_power_of_two_goes_through_what_is_homogeneous(name: str, factor: float):
    x = _X * _FLOAT32(0.1)  # numbers that are rounded
    np.testing.assert_array_equal(_applied(name, x * _FLOAT32(factor)), _applied(name, x) * _FLOAT32(factor))


@pytest.mark.parametrize("name", sorted(standard(lambda t: t.retypes) & _USES.keys()))
def test_what_retypes_makes_another_type(name: str):
    assert _applied(name, _input(name)).dtype != np.asarray(_input(name)).dtype


@pytest.mark.parametrize("name", sorted((UNARY | BROADCASTING) - standard(lambda t: t.retypes) - {"Where"}))
def test_what_does_not_retype_keeps_the_type(name: str):
    assert _applied(name, _input(name)).dtype == np.asarray(_input(name)).dtype


def test_an_operator_that_is_not_named_claims_nothing():
    assert Traits() == NO_TRAITS
    assert not standard(lambda t: t == NO_TRAITS)


@pytest.mark.parametrize("operator", QUANTIZERS, ids=lambda o: o.name)
def test_our_quantisers_treat_each_element_by_itself_and_rise(operator: Operator):
    parameters = {"BipolarQuant": [0.5], "Quant": [0.25, 1, 4], "Trunc": [0.25, 0, 8, 1.0, 4], "FloatQuant": None}
    given = parameters[operator.name] or [0.5, 4, 3, 7, 448.0]
    arrays = [np.asarray(p, np.float32) for p in given][: len(operator.inputs) - 1]
    x = np.sort(_neighbours("Relu")[1:-1])
    y = operator.evaluate([x, *arrays], {})
    order = _RNG.permutation(x.size)
    np.testing.assert_array_equal(operator.evaluate([x[order], *arrays], {}), y[order])
    assert operator.traits.elementwise
    assert operator.traits.broadcasting
    assert np.isfinite(y).all()
    assert not (np.diff(y) < 0).any()


_OF_OURS: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "Im2Col": ([], {"kernel_size": [2, 2], "stride": [1, 1], "input_shape": "(2,3,4,2)"}),
    "MultiThreshold": ([np.float32([[-1, 0, 1e30]] * 3)], {"out_scale": 2.0, "out_bias": -1.0}),
    "QuantAvgPool2d": ([], {"stride": 1, "kernel": 2, "ibits": 4, "obits": 4, "signed": 1}),
}


@pytest.mark.parametrize("operator", [o for o in operators() if o.name in _OF_OURS], ids=lambda o: o.name)
def test_our_other_operators_keep_numbers_finite_and_channels_apart(operator: Operator):
    """Another channel changes nothing of one that stays as it was, where the table says so."""
    rest, attributes = _OF_OURS[operator.name]
    x = _RNG.integers(-8, 8, (2, 3, 4, 2)).astype(np.float32)
    y = operator.evaluate([x, *rest], attributes)
    assert np.isfinite(operator.evaluate([x * np.float32(1e20), *rest], attributes)).all()
    assert operator.traits.finite
    changed = x.copy()
    changed[:, 1] += 3
    other = operator.evaluate([changed, *rest], attributes)
    apart = other.shape[1] == 3 and np.array_equal(other[:, ::2], y[:, ::2]) and not np.array_equal(other, y)
    assert operator.traits.keeps_channels == apart
    assert not operator.traits.elementwise


def test_both_versions_of_an_operator_of_ours_have_its_traits():
    for operator in operators():
        if operator.name in {o.name for o in QUANTIZERS}:
            assert operator.traits.elementwise
