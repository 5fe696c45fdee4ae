"""What the tests of the structure passes share: settings around a node, graphs as text, and runs before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import helper

from anybit import load
from anybit.errors import Finding
from anybit.graph.constants import constant
from anybit.graph.editor import EditResult
from anybit.io.save import to_proto
from anybit.runtime.session import Session
from tests.integration.corpus import corpus_files
from tests.models import model

SETTINGS = ("plain", "fork", "shared", "subgraph")
_NOTES: WeakKeyDictionary[Any, tuple[Finding, ...]] = WeakKeyDictionary()  # of models, as `applied` left them
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
    _NOTES[loaded] = result.notes if isinstance(result, EditResult) else ()
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


def problems(done: Any) -> dict[str, str]:
    """What a pass noted: its result, or a model that `applied` gave."""
    return {n.node: n.problem for n in (done.notes if isinstance(done, EditResult) else _NOTES[done])}


def corpus_with(*op_types: str, megabytes: float = 1) -> list[Any]:
    """Small corpus files that have one of these operators."""
    small = [c for c in corpus_files() if c.path.stat().st_size < megabytes * 1e6 and "quant_lstm" not in c.name]
    return [c for c in small if set(op_types) & _operators_of_file(c.path)]


@cache
def _operators_of_file(path: Path) -> frozenset[str]:
    """Each file is read once, as all processes that collect the tests ask a dozen times for all of them."""
    return frozenset(operators(path))
