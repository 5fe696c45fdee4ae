"""Equal quantisers in a row, or side by side, become one, where that is shown not to move a value."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from onnx import helper

from anybit import Session, compare
from anybit.cleanup.merge_quantizers import MergeQuantizers
from tests.integration.corpus import needs_corpus
from tests.models import DOMAIN, model, parameters, quant
from tests.passes.rewriting import (
    applied,
    assert_same_bits,
    corpus_with,
    operators,
    placed,
    problems,
    settings_of_use,
    text,
)
from tests.strategies import FLOATS, ParameterTypes, examples, quant_cases

TYPES = tuple(ParameterTypes(t, t, t, np.float32) for t in FLOATS[1:])
X = np.random.default_rng(1).normal(size=(2, 3)).astype(np.float32)


def _row(**changes):
    nodes = [quant("x", "h", prefix="p"), quant("h", "y", prefix=changes.pop("prefix", "p"), **changes)]
    return model(nodes, parameters("p") | parameters("q", scale=0.25), inputs={"x": [2, 3]}, outputs=["y"])


def test_in_a_row():
    proto = _row()
    after = applied(proto, MergeQuantizers(), modified=True)
    assert text(after) == ["y = Quant(x, 0.5, 0, 4, narrow=0)"]
    assert_same_bits(proto, after, {"x": X})


@pytest.mark.parametrize("changes", [{"narrow": 1}, {"signed": 0}, {"rounding_mode": "FLOOR"}, {"prefix": "q"}])
def test_whatever_differs_keeps_them_apart(changes):
    assert operators(applied(_row(**changes), MergeQuantizers(), modified=False)) == ["Quant", "Quant"]


def test_side_by_side():
    nodes = [
        quant("x", "a", prefix="p"),
        quant("x", "b", prefix="q"),
        helper.make_node("Mul", ["a", "b"], ["y"], name="m"),
    ]
    proto = model(nodes, parameters("p") | parameters("q"), inputs={"x": [2, 3]}, outputs=["y"])
    after = applied(proto, MergeQuantizers(), modified=True)
    assert text(after) == ["a = Quant(x, 0.5, 0, 4, narrow=0)", "y = Mul(a, a)"]
    assert sorted(after.graph.initializers) == ["p_bits", "p_scale", "p_zeropt"]
    assert_same_bits(proto, after, {"x": X}, ("reference", "onnxruntime"))


@examples(120)
@given(case=quant_cases(TYPES), setting=settings_of_use)
def test_results_are_the_same_bit_for_bit(case, setting):
    """Arbitrary scales, directed rounding, fractional zero points: either a merge that changes nothing, or a note."""
    assume(case.x.shape[:1] != (0,))  # a session takes no batch of none for a fixed one
    kind = helper.np_dtype_to_tensor_dtype(case.x.dtype)
    values = {"p_scale": case.scale, "p_zeropt": case.zero_point, "p_bits": case.bits}
    nodes = [quant("x", "h", prefix="p", **case.attributes), quant("h", "y", prefix="p", **case.attributes)]
    nodes.append(quant("x", "z", prefix="p", **case.attributes))
    nodes.append(helper.make_node("Add", ["y", "z"], ["sum"], name="sum"))
    setting = "plain" if kind == 11 else setting
    proto = placed(setting, nodes, values, inputs={"x": case.x.shape}, input_type=kind, output="sum")
    for output in proto.graph.output[: 1 if setting == "shared" else None]:
        output.type.tensor_type.elem_type = kind
    after = applied(proto, MergeQuantizers(), modified=True)
    assert operators(after).count("Quant") == 1 + len(problems(after))
    assert_same_bits(proto, after, {"x": case.x})


def test_directed_rounding_that_moves_grid_values_is_refused():
    """3 * 0.1f / 0.1f and the like fall below the integer: FLOOR would take another step down."""
    moved = [s for s in np.float32([0.1, 0.3, 0.7, 1 / 3, 0.9]) if _moves(s)]
    assert moved, "the case is not met"
    for scale in moved:
        nodes = [quant("x", n, prefix="p", rounding_mode="FLOOR") for n in ("h",)]
        nodes.append(quant("h", "y", prefix="p", rounding_mode="FLOOR"))
        proto = model(nodes, parameters("p", scale=scale, bits=8), inputs={"x": [2]}, outputs=["y"])
        after = applied(proto, MergeQuantizers(), modified=False)
        assert problems(after) == {"Quant 'y_node'": "the second of two equal quantisers moves values of the grid"}


def _moves(scale: np.float32) -> bool:
    integers = np.arange(-128, 128, dtype=np.float32)
    return bool((np.floor(integers * scale / scale) != integers).any())


@pytest.mark.parametrize(("bits", "merged"), [(16, True), (17, False), (64, False), (3000, False)])
def test_grids_that_are_too_large_are_refused(bits, merged):
    nodes = [quant("x", "h", prefix="p"), quant("h", "y", prefix="p")]
    proto = model(nodes, parameters("p", bits=bits), inputs={"x": [2]}, outputs=["y"])
    after = applied(proto, MergeQuantizers(), modified=merged)
    assert problems(after) == ({} if merged else {"Quant 'y_node'": "two equal quantisers: bit width"})


@given(st.sampled_from([["h", "y"], ["y"], ["y", "z"], ["h", "y", "z"], ["z"]]))
@examples(5)
def test_names_of_outputs_stay(outputs):
    nodes = [quant("x", "h", prefix="p"), quant("h", "y", prefix="p"), quant("x", "z", prefix="p")]
    nodes.append(helper.make_node("Identity", ["h"], ["seen"], name="seen"))
    proto = model(nodes, parameters("p"), inputs={"x": [2, 3]}, outputs=[*outputs, "seen"])
    after = applied(proto, MergeQuantizers(), modified=outputs != ["h", "y", "z"])
    assert [v.name for v in after.graph.outputs] == [*outputs, "seen"]
    assert operators(after).count("Quant") == max(1, len(outputs))
    assert_same_bits(proto, after, {"x": X})


def test_annotations_decide():
    for texts, merged in (((None, "INT4"), True), (("INT4", "INT4"), True), (("INT4", "INT5"), False)):
        proto = _row()
        for name, datatype in zip(("h", "y"), texts, strict=True):
            if datatype:
                annotation = proto.graph.quantization_annotation.add(tensor_name=name)
                annotation.quant_parameter_tensor_names.add(key="finn_datatype", value=datatype)
        after = applied(proto, MergeQuantizers(), modified=merged)
        assert bool(problems(after)) != merged
        assert after.graph.outputs[0].meta["quant_parameter_tensor_names"]["finn_datatype"] == texts[1]


def test_branches_of_an_if_do_not_share():
    def branch(name: str):
        nodes = [
            quant("x", f"{name}_q", prefix="p"),
            helper.make_node("Neg", [f"{name}_q"], [f"{name}_out"], name=name),
        ]
        return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(f"{name}_out", 1, None)])

    top = [helper.make_node("If", ["c"], ["y"], name="if", then_branch=branch("then"), else_branch=branch("else"))]
    proto = model(top, parameters("p") | {"c": np.zeros((), bool)}, inputs={"x": [2, 3]}, outputs=["y"])
    after = applied(proto, MergeQuantizers(), modified=False)
    assert_same_bits(proto, after, {"x": X}, ("reference", "onnxruntime"))


def test_a_branch_may_put_out_what_was_quantised_outside():
    then = helper.make_graph(
        [quant("h", "then", prefix="p")], "t", [], [helper.make_tensor_value_info("then", 1, None)]
    )
    other = helper.make_graph(
        [helper.make_node("Neg", ["h"], ["else"])], "e", [], [helper.make_tensor_value_info("else", 1, None)]
    )
    nodes = [quant("x", "h", prefix="p")]
    nodes.append(helper.make_node("If", ["c"], ["y"], name="if", then_branch=then, else_branch=other))
    proto = model(nodes, parameters("p") | {"c": np.ones((), bool)}, inputs={"x": [2, 3]}, outputs=["y"])
    after = applied(proto, MergeQuantizers(), modified=False)
    assert problems(after) == {"Quant 'then_node'": "the results of two equal quantisers are both outputs"}
    assert_same_bits(proto, after, {"x": X})


def test_bipolar_quantisers_and_those_that_are_not_enumerated():
    bipolar = [helper.make_node("BipolarQuant", [a, "s"], [b], name=b, domain=DOMAIN) for a, b in ("xh", "hy")]
    proto = model(bipolar, {"s": np.float32([[0.1], [0.7]])}, inputs={"x": [2, 3]}, outputs=["y"])
    after = applied(proto, MergeQuantizers(), modified=True)
    assert operators(after) == ["BipolarQuant"]
    assert_same_bits(proto, after, {"x": X})
    fields = {"s": 1.0, "e": 4.0, "m": 3.0, "b": 7.0, "top": 240.0}
    floats = [helper.make_node("FloatQuant", [a, *fields], [b], name=b, domain=DOMAIN) for a, b in ("xh", "hy")]
    values = {k: np.float32(v) for k, v in fields.items()}
    after = applied(model(floats, values, inputs={"x": [2]}, outputs=["y"]), MergeQuantizers(), modified=False)
    assert problems(after) == {"FloatQuant 'y'": "two equal quantisers: their values are not enumerated"}


@needs_corpus
@pytest.mark.parametrize("case", corpus_with("Quant", megabytes=0.05), ids=lambda c: c.name)
def test_corpus(case):
    after = applied(case.path, MergeQuantizers())
    assert compare(case.path, after, samples=3, tolerance=0, engine_a="reference", engine_b="reference").equal


@pytest.mark.parametrize(("teller", "merged"), [("Reciprocal", False), ("Exp", True)])
def test_the_second_of_two_makes_positive_zeros(teller, merged):
    """Quant(Quant(-0.1)) is +0, Quant(-0.1) is -0."""
    nodes = [quant("x", "h", prefix="p"), quant("h", "q", prefix="p"), helper.make_node(teller, ["q"], ["y"], name="t")]
    proto = model(nodes, parameters("p"), inputs={"x": [2, 3]}, outputs=["y"])
    after = applied(proto, MergeQuantizers(), modified=merged)
    assert operators(after) == ["Quant", teller] if merged else ["Quant", "Quant", teller]
    x = np.float32([[-0.1, 0.1, -0.0], [0.0, 1.0, -3.0]])
    for engine in ("reference", "auto"):
        results = [Session(m, engine=engine).run(x)["y"] for m in (proto, after)]
        np.testing.assert_array_equal(*results)
