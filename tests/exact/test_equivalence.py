"""certify: a proof only where two models give the same for all inputs, by brute force over all of them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

import anybit
from anybit.cleanup.clean import clean
from anybit.cleanup.fusion.fold_batch_norm import FoldBatchNorm
from anybit.exact.certificate import Verdict
from anybit.formats.certify import certify
from anybit.formats.convert import translate
from anybit.passes.apply import apply
from tests.formats.integer.integer_models import Net, mlps
from tests.models import mlp, model, parameters, quant
from tests.strategies import MODES


def _run(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    (result,) = anybit.Session(proto, engine="reference").run({"x": x}).values()
    return result


def changed(proto: onnx.ModelProto, name: str, change) -> onnx.ModelProto:
    """A copy with one initializer changed."""
    other = onnx.ModelProto()
    other.CopyFrom(proto)
    for tensor in other.graph.initializer:
        if tensor.name == name:
            array = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(change(array.copy()), array.dtype), name))
            return other
    raise AssertionError(name)


def _weight_up(array: np.ndarray) -> np.ndarray:
    array.reshape(-1)[0] += 1e6  # saturates
    return array


def _swapped(array: np.ndarray) -> np.ndarray:
    return array[::-1]


def _ulp(array: np.ndarray) -> np.ndarray:
    return np.nextafter(array, np.float32(np.inf))


CHANGES = {
    "negated": lambda a: -a,
    "one weight": _weight_up,
    "one ulp": _ulp,
    "swapped": _swapped,
    "doubled": lambda a: a * 2,
}


@given(mlps(), st.data())
def test_never_says_that_different_models_are_equal(net: Net, data: st.DataObject):
    proto = net.proto()
    names = [i.name for i in proto.graph.initializer]
    kind = data.draw(st.sampled_from([*CHANGES, "mode"]))
    if kind == "mode":
        other = onnx.ModelProto()
        other.CopyFrom(proto)
        last = next(n for n in reversed(other.graph.node) if n.op_type == "Quant")
        for attribute in last.attribute:
            if attribute.name == "rounding_mode":
                attribute.s = data.draw(st.sampled_from(MODES)).encode()
    else:
        kept = ("_zeropt", "_bits") if kind == "one ulp" else ("_zeropt", "_bits", "_scale")
        name = data.draw(st.sampled_from([n for n in names if not n.endswith(kept)]))
        other = changed(proto, name, CHANGES[kind])
    verdict = certify(proto, other).verdict
    # all inputs that the first quantiser tells apart, if its scale was not changed
    expected, actual = _run(proto, net.x), _run(other, net.x)
    if verdict is Verdict.EXACT_BUT_FOR_FLOAT_ROUNDING:
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    elif verdict.is_exact:
        np.testing.assert_array_equal(actual, expected)
    assert verdict is not Verdict.DIFFERENT


@given(mlps())
def test_a_model_equals_itself_by_construction(net: Net):
    assert certify(net.proto(), net.proto()).verdict is Verdict.EXACT_BY_CONSTRUCTION


@given(mlps(), st.sampled_from(["qcdq", "quantized-ops", "integer-ops"]))
def test_conversions_are_not_undone_wrongly(net: Net, to: str):
    converted = translate(net.proto(), to)
    certificate = certify(net.proto(), converted.model)
    if certificate.verdict in (Verdict.EXACT_BY_CONSTRUCTION, Verdict.EXACT_BY_ENUMERATION):
        np.testing.assert_array_equal(_run(anybit.to_proto(converted.model), net.x), _run(net.proto(), net.x))


@pytest.mark.parametrize("to", ["qcdq", "qdq", "quantized-ops", "integer-ops"])
def test_conversions_of_a_perceptron_are_exact(to: str):
    certificate = certify(mlp(), translate(mlp(), to).model)
    assert certificate.verdict in (Verdict.EXACT_BY_CONSTRUCTION, Verdict.EXACT_BY_ENUMERATION)
    assert [s.a for s in certificate.layers] == ["Quant 'xq_node'", "Quant 'y_node'"]


@pytest.mark.parametrize("options", [{"pack": True}, {"embed_functions": True}])
def test_packed_weights_and_embedded_functions_are_the_same_model(options):
    assert certify(mlp(hidden=500), translate(mlp(hidden=500), "qonnx", **options).model).verdict.is_exact


def _normalised(gamma: float) -> onnx.ModelProto:
    """x -> Quant -> Conv -> BatchNormalization -> Quant."""
    rng = np.random.default_rng(1)
    nodes = [
        quant("x", "xq"),
        quant("w", "wq"),
        helper.make_node("Conv", ["xq", "wq"], ["c"]),
        helper.make_node("BatchNormalization", ["c", "g", "b", "m", "v"], ["n"]),
        quant("n", "y"),
    ]
    values = {"w": rng.integers(-3, 4, (2, 3, 1, 1)).astype(np.float32), "g": np.float32([gamma, 0.5])}
    values |= {"b": np.float32([0.1, -0.2]), "m": np.float32([0.3, 0.4]), "v": np.float32([0.7, 1.9])}
    values |= parameters("xq", bits=2.0) | parameters("wq", scale=1.0) | parameters("y", scale=0.5)
    return model(nodes, values, inputs={"x": [1, 3, 2, 2]}, outputs=["y"])


@pytest.mark.parametrize("gamma", [0.8, -0.8])
def test_a_folded_batch_norm_is_exact_by_enumeration(gamma: float):
    folded = apply(_normalised(gamma), [FoldBatchNorm()]).model
    certificate = certify(_normalised(gamma), folded)
    assert "BatchNormalization" not in [n.op_type for n in folded.graph]
    assert certificate.verdict is Verdict.EXACT_BY_ENUMERATION
    assert [s.verdict for s in certificate.layers] == [Verdict.EXACT_BY_CONSTRUCTION, Verdict.EXACT_BY_ENUMERATION]
    assert certificate.layers[-1].values > 0


def test_a_negated_gamma_is_not_equal():
    certificate = certify(_normalised(0.8), _normalised(-0.8))
    assert certificate.verdict is Verdict.UNDECIDED
    assert "channel 0" in certificate.layers[-1].detail


def test_a_scale_that_moves_no_step_is_exact_but_for_float_rounding():
    proto = mlp()
    certificate = certify(proto, changed(proto, "y_scale", _ulp))
    moved = certify(proto, changed(proto, "y_scale", lambda s: s * 1.1))
    assert certificate.verdict is Verdict.EXACT_BUT_FOR_FLOAT_ROUNDING
    assert certificate.verdict.is_proof
    assert not certificate.verdict.is_exact
    assert 0 < certificate.bound == certificate.outputs[0].bound <= 8 * (_ulp(np.float32(0.5)) - 0.5)
    assert moved.bound == np.inf
    assert moved.verdict is Verdict.UNDECIDED


def test_a_residual_of_two_quantised_tensors_is_tried_pair_by_pair():
    def proto(flip: bool, scale: float) -> onnx.ModelProto:
        nodes = [quant("x", "a"), quant("x", "b"), helper.make_node("Mul", ["a", "two"], ["c"])]
        nodes += [helper.make_node("Mul", ["c", "half"], ["d"]) if flip else helper.make_node("Identity", ["a"], ["d"])]
        nodes += [helper.make_node("Add", ["b", "d"] if flip else ["d", "b"], ["s"]), quant("s", "y")]
        values = parameters("a", scale=0.3) | parameters("b", scale=0.7, bits=3.0) | parameters("y", scale=scale)
        values |= {"two": np.float32(2), "half": np.float32(0.5)}
        return model(nodes, values, inputs={"x": [1, 4]}, outputs=["y"])

    assert certify(proto(True, 0.4), proto(False, 0.4)).verdict is Verdict.EXACT_BY_ENUMERATION
    assert certify(proto(True, 0.4), proto(False, 0.5)).verdict is Verdict.UNDECIDED


@pytest.mark.parametrize(("ends", "same"), [((-6.0, 4.0), True), ((-5.0, 4.0), False), ((-6.0, 3.0), False)])
def test_a_pair_of_levels_goes_through_the_levels_of_both(ends: tuple[float, float], same: bool):
    """A sum of -4 .. 3 and -2 .. 1 is in -6 .. 4: a clip to that changes nothing, one to less does."""

    def proto(low: float, high: float) -> onnx.ModelProto:
        nodes = [quant("x", "a"), quant("x", "b"), helper.make_node("Add", ["a", "b"], ["s"])]
        nodes += [helper.make_node("Clip", ["s", "low", "high"], ["c"]), quant("c", "y")]
        values = parameters("a", scale=1.0, bits=3.0) | parameters("b", scale=1.0, bits=2.0)
        values |= parameters("y", scale=1.0, bits=8.0) | {"low": np.float32(low), "high": np.float32(high)}
        return model(nodes, values, inputs={"x": [1, 4]}, outputs=["y"])

    assert certify(proto(*ends), proto(-100.0, 100.0)).verdict.is_exact == same


def test_cleaned_models_and_other_batches():
    proto = mlp()
    assert certify(proto, clean(proto)).verdict is Verdict.EXACT_BY_CONSTRUCTION
    assert certify(proto, mlp(batch="N")).verdict is Verdict.EXACT_BY_CONSTRUCTION


def test_names_are_matched_by_position_and_said_so():
    other = onnx.ModelProto()
    other.CopyFrom(mlp())
    other.graph.input[0].name = "fed"
    other.graph.node[0].input[0] = "fed"
    certificate = certify(mlp(), other)
    assert certificate.verdict is Verdict.EXACT_BY_CONSTRUCTION
    assert certificate.notes == ("inputs matched by position: x = fed",)


def test_models_that_cannot_be_fed_alike():
    assert certify(mlp(), _normalised(1.0)).verdict is Verdict.UNDECIDED
    assert "shapes" in certify(mlp(), _normalised(1.0)).outputs[0].detail


def test_broadcasting_to_more_channels_is_no_identity():
    def proto(*shape: int) -> onnx.ModelProto:
        nodes = [quant("x", "a"), helper.make_node("Mul", ["a", "ones"], ["b"])]
        nodes += [helper.make_node("MaxPool", ["b"], ["y"], kernel_shape=[2, 2])]
        values = parameters("a") | {"ones": np.ones(shape, np.float32)}
        return model(nodes, values, inputs={"x": [1, 1, 4, 4]}, outputs=["y"])

    assert certify(proto(1, 8, 1, 1), proto(1, 1, 1, 1)).verdict is Verdict.UNDECIDED
    assert certify(proto(1), proto(1, 1, 1, 1)).verdict.is_exact


def _mean_net(*, scale: float = 0.25, inside: bool = True, op_type: str = "GlobalAveragePool", axes=(2, 3)):
    """Quant, the mean over space, Gemm; the scale of the levels in front of the mean, or behind it."""
    known = parameters("q", scale=scale if inside else 1.0, bits=4) | parameters("wq", scale=0.125, bits=3)
    known |= {"w": np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32), "s": np.float32(scale)}
    x = "x"
    nodes = [quant("w", "wq")]
    if not inside:
        nodes.append(helper.make_node("Div", ["x", "s"], ["scaled"]))
        x = "scaled"
    nodes.append(quant(x, "q"))
    if op_type == "ReduceMean":
        known["axes"] = np.int64(axes)
        nodes.append(helper.make_node("ReduceMean", ["q", "axes"], ["m"], keepdims=1))
    else:
        nodes.append(helper.make_node(op_type, ["q"], ["m"]))
    last = "m"
    if not inside:
        nodes.append(helper.make_node("Mul", ["m", "s"], ["back"]))
        last = "back"
    nodes += [helper.make_node("Flatten", [last], ["f"]), helper.make_node("MatMul", ["f", "wq"], ["y"])]
    return model(nodes, known, inputs={"x": [2, 3, 3, 5]}, outputs=["y"])


@pytest.mark.parametrize("op_type", ["GlobalAveragePool", "ReduceMean"])
def test_a_mean_is_a_function_of_a_sum_of_integers(op_type):
    source = _mean_net(op_type=op_type)
    for other in (_mean_net(inside=False), _mean_net(inside=False, op_type="ReduceMean")):
        assert anybit.verify(source, other).verdict is Verdict.EXACT_BY_ENUMERATION
    assert not anybit.verify(source, _mean_net(inside=False, op_type="ReduceMean", axes=(0, 2, 3))).verdict.is_proof
    assert not anybit.verify(source, _mean_net(scale=0.5)).verdict.is_proof
    assert not anybit.verify(source, _mean_net(op_type="GlobalMaxPool")).verdict.is_proof


def test_a_mean_in_front_of_a_product_means_the_exact_mean():
    source = _mean_net(scale=0.3)
    assert anybit.verify(source, _mean_net(scale=0.3, op_type="ReduceMean")).verdict is Verdict.EXACT_BY_ENUMERATION
    for other in ({"op_type": "GlobalMaxPool"}, {"scale": 0.3001}):
        assert not anybit.verify(source, _mean_net(**{"scale": 0.3, **other})).verdict.is_proof
    ulp = _mean_net(scale=float(np.nextafter(np.float32(0.3), np.float32(1))), op_type="ReduceMean")
    assert not certify(source, ulp).verdict.is_proof


def test_means_whose_scale_rounds_are_not_proven_equal_as_such():
    def proto(op_type: str):
        nodes = [quant("x", "q"), helper.make_node(op_type, ["q"], ["m"], **({"axes": [2]} if "Re" in op_type else {}))]
        nodes += [helper.make_node("Exp", ["m"], ["y"])]
        return model(nodes, parameters("q", scale=0.3), inputs={"x": [1, 2, 5]}, outputs=["y"], opset=13)

    assert not certify(proto("GlobalAveragePool"), proto("ReduceMean")).verdict.is_proof
    assert certify(proto("ReduceMean"), proto("ReduceMean")).verdict.is_exact


def _window_net(
    how: str, *, scale: float = 0.25, kernel=(2, 2), strides=(2, 2), weights: float = 1.0, pads=(0, 0, 0, 0)
):
    """Quant, the mean over windows by a pool or by a convolution of ones in front of the scale, Flatten, MatMul."""
    known = parameters("q", scale=scale if how == "pool" else 1.0, bits=4) | parameters("wq", scale=0.125, bits=3)
    known |= {"ones": np.full((3, 1, *kernel), weights, np.float32), "s": np.float32(scale)}
    sizes = [
        (4 + pads[0] + pads[2] - kernel[0]) // strides[0] + 1,
        (6 + pads[1] + pads[3] - kernel[1]) // strides[1] + 1,
    ]
    known |= {"w": np.random.default_rng(0).normal(size=(3 * sizes[0] * sizes[1], 2)).astype(np.float32)}
    known |= {"share": np.float32(scale / (kernel[0] * kernel[1]))}
    windows = {"kernel_shape": kernel, "strides": strides, "pads": pads}
    if how == "pool":
        nodes = [quant("x", "q"), helper.make_node("AveragePool", ["q"], ["m"], **windows)]
    else:
        nodes = [
            helper.make_node("Div", ["x", "s"], ["scaled"]),
            quant("scaled", "q"),
            helper.make_node("Conv", ["q", "ones"], ["sums"], group=3, **windows),
            helper.make_node("Mul", ["sums", "share"], ["m"]),
        ]
    nodes += [
        quant("w", "wq"),
        helper.make_node("Flatten", ["m"], ["f"]),
        helper.make_node("MatMul", ["f", "wq"], ["y"]),
    ]
    return model(nodes, known, inputs={"x": [2, 3, 4, 6]}, outputs=["y"])


@pytest.mark.parametrize(("windows", "verdict"), [
    ({}, Verdict.EXACT_BY_ENUMERATION),
    ({"kernel": (4, 1), "strides": (1, 1)}, Verdict.EXACT_BY_ENUMERATION),
    ({"kernel": (1, 3), "strides": (1, 1)}, Verdict.EXACT_BUT_FOR_FLOAT_ROUNDING),  # a third is rounded
    ({"kernel": (4, 6)}, Verdict.EXACT_BUT_FOR_FLOAT_ROUNDING),
])  # fmt: skip
def test_a_pool_is_a_convolution_of_ones_that_is_divided(windows, verdict):
    pool, convolution = _window_net("pool", **windows), _window_net("conv", **windows)
    assert anybit.verify(pool, convolution).verdict is verdict
    if verdict.is_exact:
        x = np.random.default_rng(0).normal(size=(2, 3, 4, 6)).astype(np.float32)
        np.testing.assert_array_equal(_run(pool, x), _run(convolution, x))


def test_other_windows_are_not_proven_equal():
    pool = _window_net("pool", strides=(1, 1))
    for other in ({"strides": (2, 1)}, {"strides": (1, 1), "weights": 2.0}):
        assert not anybit.verify(pool, _window_net("conv", **other)).verdict.is_proof
    padded = {"kernel": (3, 3), "strides": (1, 1), "pads": (1, 1, 1, 1)}
    assert not anybit.verify(_window_net("pool", **padded), _window_net("conv", **padded)).verdict.is_proof
    assert anybit.verify(_window_net("pool", scale=0.3), _window_net("conv", scale=0.3)).verdict.is_proof
    assert not anybit.verify(_window_net("pool", scale=0.3), _window_net("conv", scale=0.301)).verdict.is_proof
    whole = _window_net("pool", kernel=(4, 6))
    assert not anybit.verify(whole, _window_net("conv", kernel=(4, 5), strides=(1, 1))).verdict.is_proof


def _shuffled_sums(*, scale=0.25, first: bool, move: str = "DepthToSpace", bias: float = 0.0):
    """A convolution whose sums get their scale and bias before or behind a move of elements."""
    known = parameters("q", scale=1.0, bits=4) | parameters("wq", scale=1.0, bits=3)
    known |= {"w": np.random.default_rng(1).integers(-3, 4, (8, 2, 1, 1)).astype(np.float32)}
    known |= {"s": np.asarray(scale, np.float32), "b": np.float32(bias)}
    attributes = {"DepthToSpace": {"blocksize": 2}, "Transpose": {"perm": [0, 1, 3, 2]}, "GlobalMaxPool": {}}[move]
    names = ("c", "m") if not first else ("t", "y")
    shuffle = helper.make_node(move, [names[0]], [names[1]], **attributes)
    source = "m" if not first else "c"
    end = "t" if first else "y"
    scaling = [helper.make_node("Mul", [source, "s"], ["p"]), helper.make_node("Add", ["p", "b"], [end])]
    nodes = [quant("x", "q"), quant("w", "wq"), helper.make_node("Conv", ["q", "wq"], ["c"])]
    nodes += [*scaling, shuffle] if first else [shuffle, *scaling]
    return model(nodes, known, inputs={"x": [1, 2, 2, 4]}, outputs=["y"])


@pytest.mark.parametrize(("move", "scale", "proven"), [
    ("DepthToSpace", 0.3, True), ("Transpose", 0.3, True), ("GlobalMaxPool", -0.3, False),
])  # fmt: skip
def test_any_function_of_sums_commutes_with_moves_by_place(move, scale, proven):
    pair = [_shuffled_sums(scale=scale, first=first, move=move, bias=0.7) for first in (True, False)]
    assert anybit.verify(*pair).verdict.is_proof is proven
    assert not anybit.verify(pair[0], _shuffled_sums(scale=scale, first=False, move=move, bias=0.6)).verdict.is_proof


def test_channels_with_scales_of_their_own_are_not_one_function():
    scale = np.linspace(0.1, 0.8, 8).reshape(8, 1, 1)
    one, other = _shuffled_sums(scale=scale, first=True), _shuffled_sums(scale=0.1, first=False)
    assert not anybit.verify(one, other).verdict.is_proof


def _embedding(*, scale: float = 0.25, row: int = 0, inside: bool = True):
    """Rows of a quantised table, chosen by indices, then quantised once more."""
    table = np.random.default_rng(4).normal(size=(6, 4)).astype(np.float32)
    table[row] = 0.75
    known = (
        {"w": table, "s": np.float32(4)} | parameters("wq", scale=scale, bits=3) | parameters("y", scale=0.5, bits=3)
    )
    nodes = [quant("w", "wq"), helper.make_node("Gather", ["wq", "x"], ["g"])]
    if not inside:
        nodes += [helper.make_node("Mul", ["g", "s"], ["up"]), helper.make_node("Div", ["up", "s"], ["h"])]
    nodes.append(quant("g" if inside else "h", "y"))
    return model(nodes, known, inputs={"x": [1, 5]}, outputs=["y"], input_type=onnx.TensorProto.INT64)


def test_rows_of_a_table_of_levels_are_followed():
    assert anybit.verify(_embedding(), _embedding(inside=False)).verdict is Verdict.EXACT_BY_ENUMERATION
    assert not anybit.verify(_embedding(), _embedding(row=1)).verdict.is_proof
    assert not anybit.verify(_embedding(), _embedding(scale=0.125)).verdict.is_proof


def _preprocessed(
    *, factor: float = 2.0, folded: bool, sigmoid: bool = False, reshaped: bool = False, by_channel=False
):
    """Factor * x - 1 in front of a quantiser, or a quantiser of x with other parameters that has the same steps."""
    scale = np.float32([0.5, 0.25, 1.0]) if by_channel else np.float32(0.5)
    known = {"f": np.float32(factor), "one": np.float32(1), "shape": np.int64([2, 3])}
    x, nodes = "x", []
    if sigmoid:
        nodes, x = [helper.make_node("Sigmoid", [x], ["sig"])], "sig"
    if folded:
        nodes += [helper.make_node("Sub", [x, "half"], ["shifted"]), helper.make_node("Mul", ["shifted", "f"], ["pre"])]
        known["half"] = np.float32(0.5)
    else:
        nodes += [helper.make_node("Mul", [x, "f"], ["product"]), helper.make_node("Sub", ["product", "one"], ["pre"])]
    last = "pre"
    if reshaped:
        nodes.append(helper.make_node("Reshape", ["pre", "shape"], ["flat"]))
        last = "flat"
    nodes.append(quant(last, "y"))
    known |= parameters("y", scale=scale, bits=3)
    return model(nodes, known, inputs={"x": [2, 3]}, outputs=["y"])


@pytest.mark.parametrize("by_channel", [False, True])
@pytest.mark.parametrize("reshaped", [False, True])
def test_what_stands_before_the_first_quantiser_is_compared_at_every_step(reshaped, by_channel):
    """2 x - 1 and 2 (x - 1/2) are one function of float32, as doubling is exact; another factor has other steps."""
    pair = [_preprocessed(folded=f, reshaped=reshaped, by_channel=by_channel) for f in (False, True)]
    assert anybit.verify(*pair).verdict.is_proof
    other = _preprocessed(factor=2.0000002, folded=True, reshaped=reshaped, by_channel=by_channel)
    assert not anybit.verify(pair[0], other).verdict.is_proof


def test_an_operator_that_is_not_proven_to_rise_is_compared_by_its_structure():
    one, other = (_preprocessed(folded=False, sigmoid=True) for _ in range(2))
    assert anybit.verify(one, other).verdict.is_proof
    assert not anybit.verify(one, _preprocessed(folded=False)).verdict.is_proof


def test_long_chains_are_cut():
    def chain(length: int) -> onnx.ModelProto:
        nodes = [helper.make_node("Neg", [f"t{k}"], [f"t{k + 1}"]) for k in range(length)]
        nodes.append(quant(f"t{length}", "y"))
        return model(nodes, parameters("y"), inputs={"t0": [2, 3]}, outputs=["y"])

    assert anybit.verify(chain(2000), chain(2000)).verdict.is_proof
    assert anybit.verify(chain(200), chain(4)).verdict.is_proof
    assert not anybit.verify(chain(201), chain(4)).verdict.is_proof


def test_a_constant_that_is_a_signalling_nan_is_compared_without_a_warning():
    signalling = np.array([0x7F800001], np.uint32).view(np.float32)
    proto = model([helper.make_node("Identity", ["c"], ["y"])], {"c": signalling}, inputs={"x": [1]}, outputs=["y"])
    assert anybit.verify(proto, proto).verdict.is_proof


def _rows(table: np.ndarray, *, tail: int = 1, axes_as_input: bool = False, levels: bool = False) -> onnx.ModelProto:
    """Rows of a quantised table, times a weight, quantised, and their mean; `levels`: rows in whole numbers."""
    scale = np.float32(0.3)
    nodes = [quant("table", "t"), helper.make_node("Gather", ["t", "i"], ["rows"])]
    x, factor = "rows", 1.0
    if levels:
        nodes += [helper.make_node("Div", ["rows", "scale"], ["divided"]), quant("divided", "codes")]
        x, factor = "codes", scale
    mean = helper.make_node("ReduceMean", ["q", "axes"] if axes_as_input else ["q"], ["y"], keepdims=0)
    if not axes_as_input:
        mean.attribute.append(helper.make_attribute("axes", [1]))
    nodes += [
        quant("w", "wq"),
        helper.make_node("MatMul", [x, "wq"], ["sums"]),
        helper.make_node("Mul", ["sums", "factor"], ["scaled"]),
        quant("scaled", "q"),
        mean,
    ]
    weights = np.float32([[1, -2], [3, tail]])
    values = {"table": table, "w": weights, "scale": scale, "factor": np.float32(factor), "axes": np.array([1])}
    for name, step, bits in (("t", scale, 4.0), ("wq", 1.0, 4.0), ("codes", 1.0, 4.0), ("q", 0.7, 6.0)):
        values |= parameters(name, scale=step, bits=bits)
    proto = model(nodes, values, inputs={"i": [1, 2]}, outputs=["y"], input_type=onnx.TensorProto.INT64)
    proto.opset_import[0].version = 18 if axes_as_input else 17
    return proto


TABLE = np.float32([[0.3, -0.9], [0.0, 0.6], [1.5, 0.0]])
SIGNED = np.where(TABLE == 0, np.float32(-0.01), TABLE)  # which is quantised to -0


@pytest.mark.parametrize("table", [TABLE, SIGNED])
def test_rows_are_followed_whatever_the_sign_of_zeros_in_the_table(table):
    assert certify(_rows(table), _rows(TABLE, levels=True)).verdict.is_exact
    assert not certify(_rows(table), _rows(TABLE, tail=2, levels=True)).verdict.is_proof


def test_what_became_an_input_in_a_later_opset_is_the_same():
    old, new = _rows(TABLE), _rows(TABLE, axes_as_input=True)
    assert certify(old, new).verdict is Verdict.EXACT_BY_CONSTRUCTION
    assert certify(new, old).verdict is Verdict.EXACT_BY_CONSTRUCTION
    assert not certify(old, _rows(TABLE, tail=3, axes_as_input=True)).verdict.is_proof


def _dense(*, quantized: bool, threshold: float = 1.5) -> onnx.ModelProto:
    """Levels times a weight that is quantised in the file, or stored as the floats that come of it; then one step."""
    weights, scale = np.float32([[2, -1], [1, 3]]), np.float32(0.3)
    w = [quant("w", "wq")] if quantized else []
    nodes = [
        quant("x", "xq"),
        *w,
        helper.make_node("MatMul", ["xq", "wq" if quantized else "w"], ["sums"]),
        helper.make_node("Relu", ["sums"], ["r"]) if quantized else helper.make_node(
            "MultiThreshold", ["sums", "rows"], ["y"], domain="qonnx.custom_op.general"),
        *([quant("r", "y")] if quantized else []),
    ]  # fmt: skip
    values = {"w": (weights * scale).astype(np.float32), "rows": np.float32([[0.5, threshold, 2.5]] * 2)}
    values |= parameters("xq", scale=0.7, bits=3.0) | parameters("wq", scale=scale, bits=4.0)
    values |= parameters("y", scale=1.0, bits=3.0)
    return model(nodes, values, inputs={"x": [1, 2]}, outputs=["y"])


def test_a_product_of_stored_floats_is_the_function_that_it_is_in_the_other_model():
    thresholds = certify(_dense(quantized=True), _dense(quantized=False))
    assert thresholds.verdict.is_exact
    assert certify(_dense(quantized=False), _dense(quantized=True)).verdict.is_exact
    departing = certify(_dense(quantized=True), _dense(quantized=False, threshold=1.9))
    assert not departing.verdict.is_proof
    rng = np.random.default_rng(0)
    for x in rng.uniform(-4, 4, (200, 1, 2)).astype(np.float32):
        np.testing.assert_array_equal(*(_run(_dense(quantized=q), x) for q in (True, False)))


def _neutral(op_type: str, operand: float, *, told: bool = False, width: int = 3):
    """Quant, an operation with a constant on it, and one that tells -0 from +0 or not."""
    nodes = [quant("x", "q")]
    if op_type:
        nodes.append(helper.make_node(op_type, ["q", "c"], ["n"]))
    nodes.append(helper.make_node("Reciprocal" if told else "Exp", ["n" if op_type else "q"], ["r"]))
    nodes.append(helper.make_node("Softmax", ["r"], ["y"]))
    known = parameters("q", scale=0.3) | {"c": np.full(width, operand, np.float32)}
    return model(nodes, known, inputs={"x": ["N", 1 if width == 5 else 3]}, outputs=["y"])


@pytest.mark.parametrize(("op_type", "neutral"), [("Add", 0.0), ("Sub", 0.0), ("Mul", 1.0), ("Div", 1.0)])
def test_neutral_operands_change_no_number(op_type, neutral):
    assert certify(_neutral("", 0.0), _neutral(op_type, neutral)).verdict.is_exact
    changed = float(np.nextafter(np.float32(neutral), np.float32(2)))
    assert not certify(_neutral("", 0.0), _neutral(op_type, changed)).verdict.is_exact
    assert not certify(_neutral("", 0.0, width=5), _neutral(op_type, neutral, width=5)).verdict.is_exact  # it enlarges


def test_adding_zero_counts_where_the_sign_of_zero_is_told():
    one, other = _neutral("", 0.0, told=True), _neutral("Add", 0.0, told=True)
    x = np.float32([[-0.1, 0.6, 0.6]])  # the level is -0
    assert not np.array_equal(_run(one, x), _run(other, x))
    assert not certify(one, other).verdict.is_proof


def _laid(*steps, opset: int = 13):
    """Exp, and what lays its elements anew."""
    nodes, known, last = [helper.make_node("Exp", ["x"], ["s0"])], {}, "s0"
    for i, (op_type, target) in enumerate(steps, 1):
        name = "y" if i == len(steps) else f"s{i}"
        inputs, attributes = [last], {}
        if op_type == "Transpose":
            attributes = {"perm": target}
        else:
            known[f"p{i}"] = np.int64(target)
            inputs.append(f"p{i}")
        nodes.append(helper.make_node(op_type, inputs, [name], **attributes))
        last = name
    return model(nodes, known, inputs={"x": [6, 1, 2, 4]}, outputs=["y"], opset=opset)


def test_reshapes_in_a_row_are_known_by_their_last_shape():
    layouts = [
        _laid(("Reshape", [1, 6, 8])),
        _laid(("Squeeze", [1]), ("Reshape", [6, 1, 8]), ("Transpose", [1, 0, 2])),
        _laid(("Transpose", [1, 0, 2, 3]), ("Reshape", [48]), ("Reshape", [1, 6, 8])),
        _laid(("Transpose", [1, 2, 0, 3]), ("Reshape", [1, 6, 8])),  # moves elements
        _laid(("Transpose", [3, 2, 1, 0]), ("Reshape", [1, 6, 8])),
    ]
    x = np.random.default_rng(0).normal(size=(6, 1, 2, 4)).astype(np.float32)
    expected = _run(layouts[0], x)
    for other in layouts[1:]:
        assert certify(layouts[0], other).verdict.is_exact == np.array_equal(_run(other, x), expected)


def test_a_bias_of_one_row_is_a_bias():
    def proto(bias):
        nodes = [helper.make_node("Exp", ["x"], ["e"]), helper.make_node("Gemm", ["e", "w", "b"], ["y"])]
        known = {"w": np.ones((3, 2), np.float32), "b": np.float32(bias)}
        return model(nodes, known, inputs={"x": ["N", 3]}, outputs=["y"])

    assert certify(proto([1, 2]), proto([[1, 2]])).verdict.is_exact
    assert not certify(proto([1, 2]), proto([[1, 2.0000002]])).verdict.is_exact
    assert not certify(proto([1, 2]), proto([[1], [2]])).verdict.is_exact


def test_an_undecided_output_names_the_first_tensor_without_a_counterpart():
    def proto(op_type: str):
        nodes = [
            helper.make_node("Exp", ["x"], ["e"], name="first"),
            helper.make_node(op_type, ["e"], ["s"], name="second"),
            helper.make_node("Exp", ["s"], ["y"], name="third"),
        ]
        return model(nodes, {}, inputs={"x": ["N", 3]}, outputs=["y"])

    (output,) = certify(proto("Softmax"), proto("LogSoftmax")).outputs
    assert output.detail == "what Softmax 'second' computes has no counterpart"


def _parts(cuts, *, split: bool, swap: bool = False):
    """Sums whose channels are cut in two, by one node or by two, and quantised apart."""
    known = parameters("q", scale=0.3, bits=2) | parameters("wq", scale=1.0) | parameters("a", scale=0.7)
    known |= {
        "w": np.random.default_rng(5).integers(-3, 4, (3, 6)).astype(np.float32),
        "sizes": np.int64(np.diff(cuts)),
    }
    nodes = [quant("x", "q"), quant("w", "wq"), helper.make_node("MatMul", ["q", "wq"], ["c"])]
    if split:
        nodes.append(helper.make_node("Split", ["c", "sizes"], ["p0", "p1"], axis=-1))
    for i in range(2):
        known |= {f"s{i}": np.int64(cuts[i : i + 1]), f"e{i}": np.int64(cuts[i + 1 : i + 2]), "axis": np.int64([1])}
        if not split:
            nodes.append(helper.make_node("Slice", ["c", f"s{i}", f"e{i}", "axis"], [f"p{i}"]))
        nodes.append(quant(f"p{i}", f"l{i}", prefix="a"))
    nodes.append(helper.make_node("Concat", ["l1", "l0"] if swap else ["l0", "l1"], ["y"], axis=1))
    return model(nodes, known, inputs={"x": ["N", 3]}, outputs=["y"])


@pytest.mark.parametrize("cuts", [(0, 2, 6), (0, 3, 6)])
def test_the_parts_of_a_tensor_are_its_slices(cuts):
    source = _parts(cuts, split=True)
    assert certify(source, _parts(cuts, split=False)).verdict.is_exact
    x = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    for other in (_parts((0, 4, 6), split=False, swap=True), _parts(cuts, split=False, swap=True)):
        assert not np.array_equal(_run(source, x), _run(other, x))
        assert not certify(source, other).verdict.is_proof
