"""Standalone files: stock ONNX Runtime runs them without anybit, and `load` gives back the hub model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper

from anybit import Session, load, save, to_proto
from anybit.errors import InvalidModelError, UnsupportedError
from anybit.formats.qonnx.functions import embed_functions
from anybit.ops.registry import operators
from tests.integration.corpus import CORPUS, ZOO, needs_corpus
from tests.models import DOMAIN, mlp, model, parameters, quant, samples
from tests.strategies import MODES

# A process of its own, in which nothing but the file says what a Quant is.
STOCK = """
import sys
import numpy as np, onnx, onnxruntime
path, inputs, output = sys.argv[1:]
onnx.checker.check_model(path, full_check=True)
onnx.shape_inference.infer_shapes(onnx.load(path), strict_mode=True)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.add_session_config_entry("session.disable_quant_qdq", "1")
session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
info = session.get_inputs()[0]
x = np.load(inputs)
step = info.shape[0] if isinstance(info.shape[0], int) else len(x)
np.save(output, np.concatenate([session.run(None, {info.name: x[k : k + step]})[0] for k in range(0, len(x), step)]))
assert not any(name.split(".")[0] in ("anybit", "onnxscript") for name in sys.modules)
"""


def embedded(source: Any) -> onnx.ModelProto:
    made = load(source)
    embed_functions(made)
    return to_proto(made)


def run_stock(path: Path, x: np.ndarray) -> np.ndarray:
    """The output in a process without anybit."""
    np.save("x.npy", x)
    subprocess.run([sys.executable, "-c", STOCK, str(path), "x.npy", "y.npy"], check=True)
    return np.load("y.npy")


def run_here(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def run_ours(source: Any, x: np.ndarray) -> np.ndarray:
    return next(iter(Session(source, engine="reference").run(x).values()))


def assert_comes_back(proto: onnx.ModelProto, source: Any) -> None:
    """Loaded, the file is the hub model that it was made from."""
    expected = to_proto(load(source))
    actual = to_proto(load(proto))
    expected.ir_version = actual.ir_version = 10
    assert actual.SerializeToString(deterministic=True) == expected.SerializeToString(deterministic=True)


REAL = [
    CORPUS / "tfc_2w2a" / "model.onnx",
    CORPUS / "cnv_2w2a" / "model.onnx",
    CORPUS / "transformer_4w8a" / "model.onnx",
    CORPUS / "zoo_rounding_modes" / "model.onnx",
    CORPUS / "legacy_bv0103_mixnet" / "model.onnx",
    CORPUS / "trunc_avgpool_floor" / "model.onnx",
    CORPUS / "trunc_avgpool_round" / "model.onnx",
    CORPUS / "fp8_e4m3_ocp" / "model.onnx",
]


@needs_corpus
@pytest.mark.parametrize("path", REAL, ids=lambda p: p.parent.name)
def test_real_models_run_without_anybit(path, tmp_path):
    made = load(path)
    embed_functions(made)
    save(made, tmp_path / "m.onnx")
    x = np.load(path.parent / "inputs.npz")["x"]
    (expected,) = Session(path, engine="onnxruntime", threads=1).run(x).values()
    np.testing.assert_array_equal(run_stock(tmp_path / "m.onnx", x).reshape(expected.shape), expected)
    assert_comes_back(onnx.load(tmp_path / "m.onnx"), path)


@needs_corpus
def test_an_old_model_is_converted(tmp_path):
    path = ZOO / "TFC_2W2A.onnx"
    made = load(path)
    assert made.opset_imports[""] == 9
    embed_functions(made)
    assert made.opset_imports[""] == 21
    save(made, tmp_path / "m.onnx")
    shape = [d if isinstance(d, int) else 1 for d in made.graph.inputs[0].shape]
    x = samples(*shape)
    (expected,) = Session(path, engine="onnxruntime", threads=1).run(x).values()
    np.testing.assert_array_equal(run_stock(tmp_path / "m.onnx", x), expected)


@pytest.mark.parametrize("opset", [13, 18, 19, 20, 21, 23, 25, 27])
def test_every_opset(opset):
    proto = embedded(mlp(batch=4, opset=opset))
    assert proto.opset_import[0].version == (opset if opset >= 19 else 21)
    assert {o.version for f in proto.functions for o in f.opset_import if o.domain == ""} == {
        proto.opset_import[0].version
    }
    x = samples(4, 6)
    np.testing.assert_array_equal(run_here(proto, x), run_ours(mlp(batch=4), x))
    if opset >= 19:
        assert_comes_back(proto, mlp(batch=4, opset=opset))


def _one(op_type: str = "Quant", *, opset: int = 21, input_type: int = TensorProto.FLOAT, **attributes: Any):
    kind = helper.tensor_dtype_to_np_dtype(input_type)
    constants = {k: np.asarray(v, kind) for k, v in parameters("y", scale=0.3).items()}
    proto = model(
        [quant("x", "y", op_type=op_type, **attributes)],
        constants,
        inputs={"x": ["n", 64]},
        outputs=["y"],
        input_type=input_type,
        opset=opset,
    )
    proto.graph.output[0].type.tensor_type.elem_type = input_type
    return proto


def halves(dtype: Any = np.float32) -> np.ndarray:
    """Multiples of half a step of 0.3, and floats beside them."""
    grid = (np.arange(-32, 32) / 2 * 0.3).astype(dtype)
    return np.stack([grid, np.nextafter(grid, dtype(9)), np.nextafter(grid, dtype(-9))])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("input_type", [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16])
def test_every_mode_and_type_at_ties(mode, input_type):
    source = _one(rounding_mode=mode, input_type=input_type)
    x = halves(helper.tensor_dtype_to_np_dtype(input_type).type)
    np.testing.assert_array_equal(run_here(embedded(source), x), run_ours(source, x))
    assert_comes_back(embedded(source), source)


@pytest.mark.parametrize("batch", [2, "N"])
@pytest.mark.parametrize("layout", ["NCW", "NWC", "NCHW", "NHWC", "NCDHW", "NDHWC"])
def test_layouts_of_known_sizes(layout, batch):
    """A stock runtime infers the shapes of every path of a body for sizes that are known."""
    known = {"N": batch, "C": 3, "D": 2, "H": 4, "W": 5}
    attributes = {"data_layout": layout, "out_scale": 2.0, "out_bias": -15.0}
    node = helper.make_node("MultiThreshold", ["x", "t"], ["y"], domain=DOMAIN, **attributes)
    rows = np.sort(np.random.default_rng(0).normal(size=(3, 7)).astype(np.float32))
    proto = model([node], {"t": rows}, inputs={"x": [known[k] for k in layout]}, outputs=["y"])
    embedded = load(proto)
    embed_functions(embedded)
    x = samples(2, *(known[k] for k in layout[1:]))
    session = onnxruntime.InferenceSession(to_proto(embedded).SerializeToString(), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": x})
    np.testing.assert_array_equal(y, Session(proto, engine="reference").run(x)["y"])


def test_attributes_that_are_left_out_take_their_defaults():
    source = _one()
    del source.graph.node[0].attribute[:]
    np.testing.assert_array_equal(run_here(embedded(source), halves()), run_ours(source, halves()))


def test_the_alias_gets_a_function_of_its_own_where_it_was_not_renamed():
    made = load(_one())
    made.graph.node(0).op_type = "IntQuant"
    embed_functions(made)
    assert (DOMAIN, "IntQuant", "") in made.functions
    np.testing.assert_array_equal(run_here(to_proto(made), halves()), run_ours(_one(), halves()))
    assert_comes_back(to_proto(made), _one(op_type="IntQuant"))


def test_both_float16_and_float32_need_two_functions():
    proto = _one()
    nodes = [
        helper.make_node("Cast", ["y"], ["h"], to=TensorProto.FLOAT16),
        quant("h", "z", prefix="y"),
        helper.make_node("Cast", ["z"], ["out"], to=TensorProto.FLOAT),
    ]
    proto.graph.node.extend(nodes)
    proto.graph.output[0].name = "out"
    made = load(proto)
    before = to_proto(made).SerializeToString(deterministic=True)
    with pytest.raises(UnsupportedError, match=r"z_node.*float16"):
        embed_functions(made)
    assert to_proto(made).SerializeToString(deterministic=True) == before


def _function(body: list[onnx.NodeProto], *, name: str = "Act", domain: str = "own", attributes=()) -> Any:
    imports = [helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_function(domain, name, ["a", "s", "z", "b"], ["o"], body, imports, attributes)


def _calling(function: onnx.FunctionProto, **attributes: Any) -> onnx.ModelProto:
    node = helper.make_node(
        function.name, ["x", "y_scale", "y_zeropt", "y_bits"], ["y"], "call", domain=function.domain, **attributes
    )
    imports = {"": 21, DOMAIN: 1, function.domain: 1}
    constants = parameters("y", scale=0.3)
    return model([node], constants, inputs={"x": ["n", 64]}, outputs=["y"], imports=imports, functions=[function])


def test_functions_of_the_user_that_call_an_operator():
    body = [
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Quant", ["r", "s", "z", "b"], ["o"], "inner", domain=DOMAIN, rounding_mode="FLOOR"),
    ]
    source = _calling(_function(body))
    proto = embedded(source)
    assert {f.name for f in proto.functions} == {"Act", "Quant", "rounded"}
    np.testing.assert_array_equal(run_here(proto, halves()), run_ours(source, halves()))
    assert_comes_back(proto, source)


def test_a_mode_that_only_the_call_gives_must_be_spelled_as_bodies_know_it():
    node = helper.make_node("Quant", ["a", "s", "z", "b"], ["o"], "inner", domain=DOMAIN)
    node.attribute.add(name="rounding_mode", ref_attr_name="mode", type=onnx.AttributeProto.STRING)
    function = _function([node], attributes=["mode"])
    good = _calling(function, mode="HALF_UP")
    np.testing.assert_array_equal(run_here(embedded(good), halves()), run_ours(good, halves()))
    with pytest.raises(InvalidModelError, match="half_up"):
        embedded(_calling(function, mode="half_up"))


def test_a_foreign_function_of_the_name_keeps_its_meaning():
    source = _calling(_function([helper.make_node("Neg", ["a"], ["o"])], name="Quant", domain=DOMAIN))
    proto = embedded(source)
    assert [f.name for f in proto.functions] == ["Quant"]
    np.testing.assert_array_equal(run_here(proto, halves()), -halves())
    np.testing.assert_array_equal(run_ours(proto, halves()), -halves())


def test_a_foreign_function_of_the_helpers_name_is_refused():
    source = _one()
    source.functions.append(_function([helper.make_node("Neg", ["a"], ["o"])], name="rounded", domain="anybit"))
    with pytest.raises(UnsupportedError, match=r"anybit::rounded"):
        embedded(source)


def test_operators_without_a_body_are_refused():
    source = _one()
    source.graph.node[0].op_type = "QuantLSTMCell"
    with pytest.raises(UnsupportedError, match=r"QuantLSTMCell 'y_node'"):
        embedded(source)


def test_calls_without_a_meaning_are_refused():
    source = _one()
    source.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.float32(-1), "y_scale"))
    with pytest.raises(InvalidModelError, match="y_node"):
        embedded(source)


def test_a_model_without_our_operators_is_left_alone():
    proto = model([helper.make_node("Relu", ["x"], ["y"])], {}, inputs={"x": [1]}, outputs=["y"], imports={"": 13})
    assert embedded(proto) == to_proto(load(proto))


def test_doing_it_twice_changes_nothing():
    made = load(mlp())
    embed_functions(made)
    once = to_proto(made).SerializeToString(deterministic=True)
    embed_functions(made)
    assert to_proto(made).SerializeToString(deterministic=True) == once


def test_operators_that_came_later_are_added():
    made = load(mlp())
    embed_functions(made)
    trunc = [made.graph.outputs[0], *made.graph.node(0).inputs[1:], made.graph.node(0).inputs[3]]
    node = ir.node("Trunc", trunc, domain=DOMAIN, name="late")
    node.outputs[0].name = "late"
    node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    made.graph.append(node)
    made.graph.outputs[0] = node.outputs[0]
    embed_functions(made)
    assert {name for _, name, _ in made.functions} == {"Quant", "Trunc", "rounded"}
    x = samples(1, 6)
    np.testing.assert_array_equal(run_here(to_proto(made), x), run_ours(made, x))


def test_bytes_are_the_same_in_another_process(tmp_path):
    save(load(mlp()), tmp_path / "m.onnx")
    code = (
        "import sys, hashlib; from anybit import load, to_proto;"
        "from anybit.formats.qonnx.functions import embed_functions;"
        "m = load(sys.argv[1]); embed_functions(m);"
        "print(hashlib.sha256(to_proto(m).SerializeToString(deterministic=True)).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "m.onnx")], check=True, capture_output=True, text=True
        ).stdout
        for _ in range(2)
    }
    assert len(digests) == 1


_WINDOWS = {
    "Im2Col": {"stride": [1, 1], "kernel_size": [2, 2], "input_shape": "(2, 4, 4, 3)"},
    "MaxPoolNHWC": {"kernel_shape": [2, 2], "strides": [2, 2]},
    "QuantAvgPool2d": {"stride": 2, "kernel": 2, "ibits": 4, "obits": 4, "signed": 0, "data_layout": "NHWC"},
}
_SHAPES = {"thresholds": (1, 1), "B": (3, 2)}


def test_every_built_in_operator_has_a_function():
    """Parameters of the right number; what they compute is tested with the operators."""
    for operator in operators():
        if operator.domain != DOMAIN:
            continue
        names = [i.name for i in operator.inputs]
        values = {n: np.ones(_SHAPES.get(n, ()), np.float32) for n in names[1:]}
        node = helper.make_node(operator.name, names, ["Y"], "call", domain=DOMAIN, **_WINDOWS.get(operator.name, {}))
        shape = (2, 4, 4, 3) if operator.name in _WINDOWS else (2, 3)
        imports = {"": 21, DOMAIN: operator.since}
        source = model([node], values, inputs={names[0]: shape}, outputs=["Y"], imports=imports)
        for attribute in operator.attributes:
            text = {"out_dtype": b"UINT1", "export_debug_name": b"second"}.get(attribute.name)
            if text is not None:
                source.graph.node[0].attribute.add(name=attribute.name, s=text, type=onnx.AttributeProto.STRING)
        x = np.abs(samples(*shape)).round()
        np.testing.assert_array_equal(run_here(embedded(source), x), run_ours(source, x))
        assert_comes_back(embedded(source), source)


@pytest.mark.parametrize("given", [{}, {"strides": [2, 2]}, {"pads": [1, 1, 0, 0]}])
@pytest.mark.parametrize("op_type", ["AveragePool", "Conv", "MaxPool"])
def test_lists_that_a_call_leaves_out_are_left_out_in_the_body(op_type, given):
    domain = "qonnx.custom_op.channels_last"
    inputs, values = ["x"], {}
    if op_type == "Conv":
        inputs, values = ["x", "w"], {"w": np.ones((2, 2, 2, 3), np.float32)}
    node = helper.make_node(op_type, inputs, ["y"], "call", domain=domain, kernel_shape=[2, 2], **given)
    source = model([node], values, inputs={"x": (1, 4, 4, 3)}, outputs=["y"], imports={"": 21, domain: 1})
    x = np.round(samples(1, 4, 4, 3))
    np.testing.assert_array_equal(run_here(embedded(source), x), run_ours(source, x))
    assert_comes_back(embedded(source), source)
