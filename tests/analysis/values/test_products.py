"""Bounds of Gemm whose operands have scales and bounds along one axis, in every orientation."""

from __future__ import annotations

import tracemalloc
from itertools import product
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from anybit.analysis.values.interpreter import analyse
from tests import models
from tests.analysis.values.soundness import bounds_of, check_sound
from tests.analysis.values.sources import bounded_model

_ROWS, _TERMS, _COLUMNS = 3, 4, 2


@pytest.mark.parametrize(("trans_a", "trans_b"), list(product((0, 1), repeat=2)))
@pytest.mark.parametrize("known", ["a", "b", ""])
def test_gemm_turns_vectors_that_are_told_apart_along_the_last_axis(known: str, trans_a: int, trans_b: int) -> None:
    """Scales, bounds and integers of an operand are vectors of different ranks: each one is turned with it."""
    rng = np.random.default_rng(2)
    shapes = {"a": (_ROWS, _TERMS), "b": (_TERMS, _COLUMNS)}
    shapes = {n: s[::-1] if t else s for (n, s), t in zip(shapes.items(), (trans_a, trans_b), strict=True)}
    nodes: list[Any] = []
    initializers: dict[str, np.ndarray] = {}
    for name, shape in shapes.items():
        initializers[f"{name}v"] = rng.normal(size=shape[-1]).astype(np.float32)
        initializers |= models.parameters(f"{name}q", scale=np.exp2(np.arange(shape[-1]) - 3).astype(np.float32))
        if name == known:
            initializers[name] = rng.normal(size=shape).astype(np.float32)
        nodes += [helper.make_node("Mul", [name, f"{name}v"], [f"{name}m"]), models.quant(f"{name}m", f"{name}q")]
    nodes.append(helper.make_node("Gemm", ["aq", "bq"], ["y"], transA=trans_a, transB=trans_b))
    inputs = {n: s for n, s in shapes.items() if n != known}
    values = check_sound(
        models.model(nodes, initializers, inputs=inputs, outputs=["y"]), dict.fromkeys(inputs, (-2, 3))
    )
    assert not values.unfollowed
    assert bounds_of(values, "y").is_bounded


@pytest.mark.parametrize("known", ["a", "b"])
def test_constants_of_a_binary_fixed_point_are_integers(known: str) -> None:
    """Multiples of a quarter, which no quantiser made: 0.5 * 0.25 is the scale of the product."""
    constant = np.float32([[0.25, -1.5], [0.75, 1.0]])
    nodes = [models.quant("x", "q"), helper.make_node("MatMul", ["c", "q"] if known == "a" else ["q", "c"], ["y"])]
    constants = models.parameters("q", scale=0.5, bits=3.0) | {"c": constant}
    values = check_sound(models.model(nodes, constants, inputs={"x": (2, 2)}, outputs=["y"]))
    y = bounds_of(values, "y")
    assert y.grid is not None
    assert (y.grid.scale == 0.125).all()
    (accumulator,) = values.accumulators.values()
    assert {str(f) for f in accumulator.operands} == {"INT3", "INT4"}
    quarters = (constant * 4).astype(int)
    terms = np.stack([quarters * -4, quarters * 3])
    axis = 1 if known == "a" else 0
    lo, hi = terms.min(axis=0).sum(axis=axis), terms.max(axis=0).sum(axis=axis)
    np.testing.assert_array_equal(np.broadcast_to(y.grid.lo.ravel(), 2), lo)
    np.testing.assert_array_equal(np.broadcast_to(y.grid.hi.ravel(), 2), hi)


@pytest.mark.parametrize("op_type", ["MatMul", "Gemm"])
def test_bounds_by_element_are_joined_along_the_rows(op_type: str) -> None:
    """As many rows as terms: which axis is summed is not told by the sizes."""
    rng = np.random.default_rng(4)
    lo, hi = np.sort(np.round(rng.uniform(-3, 3, (2, 4, 4)) * 8) / 8, axis=0)
    weights = np.float32(np.round(rng.normal(size=(4, 2)) * 8) / 8)
    node = helper.make_node(op_type, ["t", "w"], ["y"])
    proto = bounded_model([node], lo, hi, [4, 4], constants={"w": weights})
    values = check_sound(proto, {"x": (-9.0, 9.0)}, engines=("reference", "onnxruntime"))
    assert not values.unfollowed
    y = bounds_of(values, "y")
    parts = np.stack([lo.min(axis=0)[:, None] * weights, hi.max(axis=0)[:, None] * weights])
    np.testing.assert_allclose(np.broadcast_to(y.lo.reshape(-1), 2), parts.min(axis=0).sum(axis=0), atol=1e-5)
    np.testing.assert_allclose(np.broadcast_to(y.hi.reshape(-1), 2), parts.max(axis=0).sum(axis=0), atol=1e-5)


@pytest.mark.parametrize(
    ("op_type", "shapes"),
    [
        ("MatMul", [(2, 3), (3, 1 << 31)]),
        ("Gemm", [(2, 3), (3, 1 << 31)]),
        ("Conv", [(1, 3, 4, 4), (1 << 31, 3, 1, 1)]),
        ("ConvTranspose", [(1, 3, 4, 4), (3, 1 << 31, 1, 1)]),
    ],
)
def test_sizes_that_are_only_stated_take_no_memory(op_type: str, shapes: list[tuple[int, ...]]) -> None:
    """Both operands are inputs, so that no file has their elements."""
    proto = models.model(
        [helper.make_node(op_type, ["a", "b"], ["y"])], {}, inputs=dict(zip("ab", shapes, strict=True)), outputs=["y"]
    )
    tracemalloc.start()
    values = analyse(proto, input_ranges={"a": (-1.0, 1.0), "b": (0.0, 1.0)})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 28
    assert list(values.unfollowed.values()) == ["more outputs than are told apart"]


@pytest.mark.parametrize(("scale", "exact"), [(0.5, True), (0.3, False)])
def test_sums_of_small_integers_times_powers_of_two_are_not_rounded(scale: float, exact: bool) -> None:
    nodes = [models.quant("x", "q"), models.quant("w", "wq"), helper.make_node("MatMul", ["q", "wq"], ["y"])]
    constants = models.parameters("q", scale=scale, bits=3.0) | models.parameters("wq", scale=0.25, bits=3.0)
    proto = models.model(
        nodes, constants | {"w": np.float32([[0.5], [-0.75], [0.25]])}, inputs={"x": (2, 3)}, outputs=["y"]
    )
    y = bounds_of(check_sound(proto, engines=("reference", "onnxruntime")), "y")
    lo, hi = (-4 * 2 - 3 * 3 - 4) * 0.25 * scale, (3 * 2 + 4 * 3 + 3) * 0.25 * scale
    assert ((y.lo.item(), y.hi.item()) == (lo, hi)) == exact
    assert y.lo <= lo
    assert hi <= y.hi


def test_rounding_is_that_of_the_longest_sum() -> None:
    """Beside the edge fewer terms are added up; in the middle 64 are, which are rounded 63 times."""
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[63, 63])
    weights = np.full((1, 1, 64), np.float32(0.1))
    proto = models.model([node], {"w": weights}, inputs={"x": (1, 1, 64)}, outputs=["y"])
    y = bounds_of(check_sound(proto, {"x": (1.0, 1.0)}, engines=("reference", "onnxruntime")), "y")
    exact = 64 * float(np.float32(0.1))
    assert y.hi.max() >= exact * (1 + 63 * 2.0**-24)
    assert y.hi.max() <= exact * (1 + 80 * 2.0**-24)


def _product_of(op_type: str, terms: int, weight: float) -> Any:
    """x times constant weights, in each operator that adds up products."""
    is_conv = op_type.startswith("Conv")
    shape = (1, terms, 1, 1) if is_conv else (1, terms)
    weights = np.full((terms, 1, 1, 1) if op_type == "ConvTranspose" else shape if is_conv else (terms, 1), weight, "f")
    node = helper.make_node(op_type, ["x", "w"], ["y"])
    return models.model([node], {"w": weights}, inputs={"x": shape}, outputs=["y"]), shape


@pytest.mark.parametrize("op_type", ["Conv", "ConvTranspose", "Gemm", "MatMul"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(("factor", "x"), [(2.0**-100, 0.4 * 2.0**-49), (2.0**-100, 0.6 * 2.0**-49), (2.0**-140, 1e-9)])
def test_products_that_vanish_stay_within_bounds(op_type: str, sign: float, factor: float, x: float) -> None:
    """Each of 1000 products is rounded to 0, or to the smallest subnormal number."""
    proto, shape = _product_of(op_type, 1000, factor * sign)
    number = float(np.float32(x))
    values = check_sound(proto, {"x": (number, number)}, engines=("reference", "onnxruntime"))
    bounds = bounds_of(values, "y")
    for y in (0.0, 1000 * 2.0**-149 * sign if factor * x > 2.0**-150 else 0.0):
        assert bounds.lo.min() <= y <= bounds.hi.max()
    assert np.prod(shape) == 1000


@pytest.mark.parametrize("op_type", ["Conv", "ConvTranspose", "Gemm", "MatMul"])
@pytest.mark.parametrize("exponent", [-75, -70, 60])
def test_scales_whose_product_leaves_the_type_are_not_exact(op_type: str, exponent: int) -> None:
    """The product of two powers of two is smaller than all float32 numbers, or sums overflow."""
    is_conv = op_type.startswith("Conv")
    shape = (1, 4, 1, 1) if is_conv else (1, 4)
    of_weights = (4, 1, 1, 1) if op_type == "ConvTranspose" else shape if is_conv else (4, 1)
    scale = 2.0**exponent
    nodes = [models.quant("x", "q", signed=0), models.quant("w", "wq"), helper.make_node(op_type, ["q", "wq"], ["y"])]
    constants = models.parameters("q", scale=scale, bits=8.0) | models.parameters("wq", scale=scale, bits=8.0)
    proto = models.model(
        nodes, constants | {"w": np.full(of_weights, 127 * scale, "f")}, inputs={"x": shape}, outputs=["y"]
    )
    for level in (1, 255):
        number = float(np.float32(level * scale))
        check_sound(proto, {"x": (number, number)}, engines=("reference", "onnxruntime"))


@pytest.mark.parametrize("op_type", ["MatMul", "Gemm"])
def test_a_partial_sum_that_overflows_has_no_bound(op_type: str) -> None:
    """3e38 + 3e38 - 3e38 - 3e38: in this order it is infinite."""
    weights = np.array([[3.0], [3.0], [-3.0], [-3.0]], np.float32)
    node = helper.make_node(op_type, ["x", "w"], ["y"])
    proto = models.model([node], {"w": weights}, inputs={"x": (1, 4)}, outputs=["y"])
    bounds = bounds_of(check_sound(proto, {"x": (1e38, 1e38)}, engines=("reference", "onnxruntime")), "y")
    assert (bounds.lo == -np.inf).all()
    assert (bounds.hi == np.inf).all()


@pytest.mark.parametrize("group", [1, 2, 4])
@pytest.mark.parametrize("op_type", ["Conv", "ConvTranspose"])
def test_groups_add_up_their_own_channels(op_type: str, group: int) -> None:
    """Of one tap each: an output of a group is a sum over the channels of that group."""
    matrix = np.random.default_rng(4).integers(-3, 4, (4, 4)) * np.kron(np.eye(group), np.ones((4 // group,) * 2))
    blocks = [matrix[k : k + 4 // group, k : k + 4 // group] for k in range(0, 4, 4 // group)]  # (inputs, outputs)
    weights = np.concatenate([b.T if op_type == "Conv" else b for b in blocks])[:, :, None].astype(np.float32)
    nodes = [
        models.quant("x", "q", signed=0),
        models.quant("w", "wq"),
        helper.make_node(op_type, ["q", "wq"], ["y"], group=group),
    ]
    constants = models.parameters("q", scale=1.0) | models.parameters("wq", scale=1.0) | {"w": weights}
    proto = models.model(nodes, constants, inputs={"x": [1, 4, 3]}, outputs=["y"])
    values = check_sound(proto, count=4)
    grid = bounds_of(values, "y").grid
    assert grid is not None
    lo, hi = 15 * np.minimum(matrix, 0).sum(axis=0), 15 * np.maximum(matrix, 0).sum(axis=0)
    np.testing.assert_array_equal(np.broadcast_to(grid.lo, (1, 4, 1)).ravel(), lo)
    np.testing.assert_array_equal(np.broadcast_to(grid.hi, (1, 4, 1)).ravel(), hi)
    (accumulator,) = values.accumulators.values()
    assert accumulator.terms == 4 // group


@pytest.mark.parametrize("x_zero", [None, 0, 100])
@pytest.mark.parametrize("w_zero", [None, 0, 3])
def test_zero_points_are_taken_off_before_integers_are_multiplied(x_zero: int | None, w_zero: int | None) -> None:
    weights = np.array([[1, -2], [5, 3], [-4, 0]], np.int8)
    names = ["x", "w", "" if x_zero is None else "xz", "" if w_zero is None else "wz"]
    while not names[-1]:
        names.pop()
    constants: dict[str, Any] = {"w": weights, "xz": np.uint8(x_zero or 0), "wz": np.int8(w_zero or 0)}
    node = helper.make_node("MatMulInteger", names, ["y"])
    proto = models.model([node], constants, inputs={"x": [2, 3]}, outputs=["y"], input_type=TensorProto.UINT8)
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.INT32
    values = bounds_of(check_sound(proto, count=4), "y")
    ends = np.array([[0], [255]]) - (x_zero or 0)
    parts = ends[:, :, None] * (weights.astype(int) - (w_zero or 0))
    np.testing.assert_array_equal(np.broadcast_to(values.lo, (1, 2)).ravel(), parts.min(axis=0).sum(axis=0))
    np.testing.assert_array_equal(np.broadcast_to(values.hi, (1, 2)).ravel(), parts.max(axis=0).sum(axis=0))


@pytest.mark.parametrize("op_type", ["Conv", "ConvTranspose"])
def test_the_bias_of_a_channel_moves_its_bounds(op_type: str) -> None:
    bias = np.float32([100, -50])
    node = helper.make_node(op_type, ["x", "w", "b"], ["y"])
    constants = {"w": np.ones((2, 2, 1), np.float32), "b": bias}
    proto = models.model([node], constants, inputs={"x": (1, 2, 3)}, outputs=["y"])
    values = check_sound(proto, {"x": (-1.0, 2.0)}, count=4)
    assert not values.unfollowed
    y = bounds_of(values, "y")
    np.testing.assert_allclose(np.broadcast_to(y.lo, (1, 2, 1)).ravel(), bias - 2, rtol=1e-5)
    np.testing.assert_allclose(np.broadcast_to(y.hi, (1, 2, 1)).ravel(), bias + 4, rtol=1e-5)


@pytest.mark.parametrize("off", [0.0, 4e-4, -4e-4])
def test_weights_beside_the_integers_that_the_file_states_are_bounded_as_they_are(off: float) -> None:
    weights = np.float32([[3 + off], [-2]])
    nodes = [models.quant("x", "q"), helper.make_node("MatMul", ["q", "w"], ["y"])]
    proto = models.model(nodes, models.parameters("q", scale=1.0) | {"w": weights}, inputs={"x": (1, 2)}, outputs=["y"])
    proto.graph.quantization_annotation.add(tensor_name="w").quant_parameter_tensor_names.add(
        key="finn_datatype", value="INT4"
    )
    values = analyse(proto, input_ranges={"x": (-8.0, 7.0)})
    y = bounds_of(values, "y")
    ends = [w * np.float64([-8, 7]) for w in weights[:, 0].astype(np.float64)]
    np.testing.assert_allclose(y.lo, sum(e.min() for e in ends), rtol=1e-6)
    np.testing.assert_allclose(y.hi, sum(e.max() for e in ends), rtol=1e-6)
    assert list(values.accumulators)
