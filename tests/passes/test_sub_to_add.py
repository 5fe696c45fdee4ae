"""Sub becomes Add, bit for bit. Here stands also how all tests of the structure passes show and run models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from anybit import compare, load
from anybit.errors import InvalidModelError
from anybit.io.save import to_proto
from anybit.ops.constants import constant
from anybit.passes.notes import notes
from anybit.passes.sub_to_add import SubToAdd
from anybit.runtime.session import Session
from tests.integration.corpus import corpus_files, needs_corpus
from tests.models import model
from tests.strategies import examples, special_values

SETTINGS = ("plain", "fork", "shared", "subgraph")
settings_of_use = st.sampled_from(SETTINGS)


def placed(
    setting: str,
    nodes: Sequence[onnx.NodeProto],
    initializers: Mapping[str, np.ndarray],
    *,
    inputs: Mapping[str, Sequence[int | str] | None],
    output: str = "y",
    opset: int = 21,
    input_type: int = onnx.TensorProto.FLOAT,
) -> onnx.ModelProto:
    """The nodes in a model: alone; their results used and put out as well; their constants used elsewhere; in If."""
    given = dict(initializers)
    top, outputs = list(nodes), [output]
    if setting == "fork":
        top += [
            helper.make_node("Mul", [output, output], ["squared"], name="squared_node"),
            helper.make_node("Neg", ["squared"], ["negated"], name="negated_node"),
        ]
        outputs += ["squared", "negated"]
    if setting == "shared":
        top += [helper.make_node("Identity", [n], [f"{n}_seen"], name=f"{n}_use") for n in initializers]
        outputs += [f"{n}_seen" for n in initializers]
    if setting == "subgraph":
        given["condition"] = np.ones((), bool)
        value = helper.make_tensor_value_info(output, input_type, None)
        other = helper.make_node("Identity", [next(iter(inputs))], ["other"], name="other_node")
        then = helper.make_graph(list(nodes), "then", [], [value])
        orelse = helper.make_graph([other], "else", [], [helper.make_tensor_value_info("other", input_type, None)])
        top = [helper.make_node("If", ["condition"], ["result"], name="if", then_branch=then, else_branch=orelse)]
        outputs = ["result"]
    return model(top, given, inputs=inputs, outputs=outputs, opset=opset, input_type=input_type)


def text(loaded: Any) -> list[str]:
    """One line a node, in all graphs: what it makes, from what; small constants as numbers, others by their shape."""
    return [_line(n) for n in load(loaded).graph.all_nodes() if n.op_type not in ("If", "Identity", "Constant")]


def _line(node: Any) -> str:
    outputs = ", ".join(str(o.name) for o in node.outputs)
    arguments = [_operand(v) for v in node.inputs]
    arguments += [f"{k}={_plain(a.value)}" for k, a in node.attributes.items() if k not in ("rounding_mode", "signed")]
    return f"{outputs} = {node.op_type}({', '.join(arguments)})"


def _operand(value: Any) -> str:
    array = constant(value)
    if array is None:
        return "" if value is None else str(value.name)
    return f"{array.reshape(-1)[0]:g}" if array.size == 1 else str(value.name) + str(list(array.shape)).replace(" ", "")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def operators(loaded: Any) -> list[str]:
    return [n.op_type for n in load(loaded).graph.all_nodes()]


def applied(proto: Any, rewrite: Any, *, modified: bool | None = None) -> Any:
    """The model after the pass, checked by onnx for its form; `modified` is what the pass must report."""
    loaded = load(proto)
    result = rewrite(loaded)
    assert result.model is loaded
    if modified is not None:
        assert result.modified == modified
    names = [o.name for n in loaded.graph.all_nodes() for o in n.outputs if o.name] + list(loaded.graph.initializers)
    assert len(set(names)) == len(names), "a name stands for two tensors"
    written = to_proto(loaded)
    for output in written.graph.output:
        output.type.tensor_type.shape.SetInParent()  # the checker wants some shape, whatever it is
    onnx.checker.check_model(written)
    return loaded


def run_both(before: Any, after: Any, feeds: Mapping[str, np.ndarray], engine: str = "reference") -> Any:
    """Pairs of outputs, by name."""
    a, b = (Session(m, engine=engine).run(dict(feeds)) for m in (before, after))
    assert list(a) == list(b)
    return [(name, a[name], b[name]) for name in a]


def assert_same_bits(before: Any, after: Any, feeds: Mapping[str, np.ndarray], engines: Sequence[str] = ("reference",)):
    """Every output is the same number, NaN for NaN; the sign of zero is not compared."""
    for engine in engines:
        for name, x, y in run_both(before, after, feeds, engine):
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(x, y, err_msg=f"{name} by {engine}")


def assert_close(
    before: Any, after: Any, feeds: Mapping[str, np.ndarray], *, relative: float = 2e-6, engines=("reference",)
):
    """Outputs apart by a few float32 roundings of the largest magnitude: for what re-associates sums."""
    for engine in engines:
        for name, x, y in run_both(before, after, feeds, engine):
            assert x.dtype == y.dtype
            limit = relative * max(float(np.abs(x).max(initial=0)), 1e-30)
            np.testing.assert_allclose(x, y, rtol=0, atol=limit, err_msg=f"{name} by {engine}")


def problems(loaded: Any) -> dict[str, str]:
    return {n.node: n.problem for n in notes(loaded)}


def corpus_with(*op_types: str, megabytes: float = 1) -> list[Any]:
    """Small corpus files that have one of these operators."""
    small = [c for c in corpus_files() if c.path.stat().st_size < megabytes * 1e6 and "quant_lstm" not in c.name]
    return [c for c in small if set(op_types) & set(operators(c.path))]


def _sub(constants: np.ndarray, setting: str = "plain") -> onnx.ModelProto:
    nodes = [
        helper.make_node("Sub", ["x", "c"], ["h"], name="first"),
        helper.make_node("Sub", ["c", "h"], ["y"], name="second"),
    ]
    return placed(setting, nodes, {"c": constants}, inputs={"x": [2, 3]})


def test_before_and_after():
    proto = _sub(np.float32([1, 2, 3]))
    assert text(proto) == ["h = Sub(x, c[3])", "y = Sub(c[3], h)"]
    after = applied(proto, SubToAdd(), modified=True)
    assert text(after) == ["h = Add(x, c/negative[3])", "y = Sub(c[3], h)"]
    assert problems(after) == {"Sub 'second'": "the subtrahend is not constant"}


def test_dynamic_subtrahends_are_negated_on_request():
    after = applied(_sub(np.float32([1, 2, 3])), SubToAdd(dynamic=True), modified=True)
    assert text(after) == ["h = Add(x, c/negative[3])", "h/negative = Neg(h)", "y = Add(c[3], h/negative)"]
    assert problems(after) == {}


@examples(40)
@given(setting=settings_of_use, dynamic=st.booleans(), seed=st.integers(0, 99))
def test_results_are_the_same_bit_for_bit(setting, dynamic, seed):
    rng = np.random.default_rng(seed)
    special = special_values(np.float32)
    proto = _sub(rng.choice(special, 3), setting)
    after = applied(proto, SubToAdd(dynamic=dynamic), modified=True)
    assert ("Sub" in operators(after)) != dynamic
    assert_same_bits(proto, after, {"x": rng.choice(special, (2, 3))}, ("reference", "onnxruntime"))


def test_a_constant_of_several_subtractions_is_negated_once():
    nodes = [helper.make_node("Sub", ["x", "c"], [o], name=o) for o in ("y", "z")]
    proto = model(nodes, {"c": np.float32([1.5])}, inputs={"x": [2]}, outputs=["y", "z"])
    after = applied(proto, SubToAdd())
    assert list(after.graph.initializers) == ["c/negative"]


def test_a_tensor_minus_itself():
    proto = model([helper.make_node("Sub", ["x", "x"], ["y"])], {}, inputs={"x": [2]}, outputs=["y"])
    after = applied(proto, SubToAdd(dynamic=True))
    assert_same_bits(proto, after, {"x": np.float32([1, np.inf])})


def test_names_that_are_taken_are_not_taken_again():
    nodes = [
        helper.make_node("Relu", ["x"], ["c/negative"], name="relu"),
        helper.make_node("Sub", ["c/negative", "c"], ["y"], name="sub"),
    ]
    proto = model(nodes, {"c": np.float32([1])}, inputs={"x": [2]}, outputs=["y"])
    after = applied(proto, SubToAdd())
    assert_same_bits(proto, after, {"x": np.float32([3, -1])})


@pytest.mark.parametrize(
    ("dtype", "values", "rewritten"),
    [("int32", [3, -4], True), ("int32", [-(2**31), 1], False), ("uint8", [1, 2], False), ("float64", [0.1, 3], True)],
)
def test_types(dtype, values, rewritten):
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes = [helper.make_node("Sub", ["x", "c"], ["y"], name="sub")]
    proto = placed("plain", nodes, {"c": np.array(values, dtype)}, inputs={"x": [2]}, input_type=kind)
    proto.graph.output[0].type.tensor_type.elem_type = kind
    after = applied(proto, SubToAdd(), modified=rewritten)
    assert ("Sub 'sub'" in problems(after)) != rewritten
    assert_same_bits(proto, after, {"x": np.array([7, 5], dtype)})


def test_annotations_stay_but_for_the_number_format_of_the_negative():
    proto = _sub(np.float32([1, 2, 3]))
    for name, datatype in (("c", "UINT2"), ("h", "INT5")):
        annotation = proto.graph.quantization_annotation.add(tensor_name=name)
        annotation.quant_parameter_tensor_names.add(key="finn_datatype", value=datatype)
    after = applied(proto, SubToAdd())
    kept = {a.tensor_name for a in to_proto(after).graph.quantization_annotation}
    assert kept == {"c", "h"}


def test_an_opset_without_broadcasting_is_refused_and_nothing_changed():
    loaded = load(model([helper.make_node("Sub", ["x", "c"], ["y"])], {"c": np.float32([1])}, inputs={"x": [2]},
                        outputs=["y"], opset=6))  # fmt: skip
    with pytest.raises(InvalidModelError, match="opset is too old"):
        SubToAdd()(loaded)
    assert operators(loaded) == ["Sub"]


@needs_corpus
@pytest.mark.parametrize("case", corpus_with("Sub", megabytes=0.3), ids=lambda c: c.name)
def test_corpus(case):
    after = applied(case.path, SubToAdd(dynamic=True), modified=True)
    # Real graphs: same operators in the same order, so the reference must agree to the last bit.
    assert compare(case.path, after, samples=3, tolerance=0, engine_a="reference", engine_b="reference").equal
