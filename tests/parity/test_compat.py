"""`anybit.compat.qonnx` in the package's place: the package's transformations, and hls4ml's front end, run on it."""

from __future__ import annotations

import pytest

pytest.importorskip("qonnx", reason="the qonnx package is not installed: make test-qonnx")

import inspect

import numpy as np
import onnx
import qonnx.core.modelwrapper
from onnx import helper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.batchnorm_to_affine import BatchNormToAffine
from qonnx.transformation.fold_constants import FoldConstants
from qonnx.transformation.gemm_to_matmul import GemmToMatMul
from qonnx.transformation.general import (
    ConvertDivToMul,
    ConvertSubToAdd,
    GiveReadableTensorNames,
    GiveUniqueNodeNames,
    SortGraph,
)
from qonnx.transformation.infer_data_layouts import InferDataLayouts
from qonnx.transformation.infer_datatypes import InferDataTypes
from qonnx.transformation.infer_shapes import InferShapes
from qonnx.transformation.insert_topk import InsertTopK
from qonnx.transformation.lower_convs_to_matmul import LowerConvsToMatMul
from qonnx.transformation.remove import RemoveIdentityOps, RemoveUnusedNodes

import anybit
from anybit.compat.qonnx import DataType, ModelWrapper
from anybit.errors import UsageError
from tests.integration.corpus import CORPUS, needs_corpus
from tests.models import mlp, model, samples

TRANSFORMATIONS = (
    InferShapes, InferDataTypes, InferDataLayouts, FoldConstants, GiveUniqueNodeNames, GiveReadableTensorNames,
    BatchNormToAffine, GemmToMatMul, ConvertDivToMul, ConvertSubToAdd, SortGraph,
    LowerConvsToMatMul, RemoveIdentityOps, RemoveUnusedNodes,
)  # fmt: skip


def test_it_has_every_method_of_the_packages_class_with_its_parameters():
    for name, member in vars(qonnx.core.modelwrapper.ModelWrapper).items():
        if name.startswith("_") or name == "T":
            continue
        ours = getattr(ModelWrapper, name)
        if inspect.isfunction(member) and name != "transform_subgraphs":
            wanted, given = inspect.signature(member).parameters, inspect.signature(ours).parameters
            assert list(wanted) == list(given), name


def both(proto: onnx.ModelProto):
    copies = [onnx.ModelProto.FromString(proto.SerializeToString()) for _ in range(2)]
    return qonnx.core.modelwrapper.ModelWrapper(copies[0]), ModelWrapper(copies[1])


@needs_corpus
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("file", ["tfc_1w1a/model.onnx", "cnv_2w2a/model.onnx", "jet_mlp_6b/model.onnx"])
def test_the_packages_transformations_do_the_same_on_both(file):
    theirs, ours = both(anybit.to_proto(anybit.clean(CORPUS / file, batch=1)))
    x = np.load((CORPUS / file).parent / "inputs.npz")["x"][:1]
    expected = next(iter(anybit.run(theirs.model, x, engine="reference").values()))
    for kind in TRANSFORMATIONS:
        theirs, ours = theirs.transform(kind()), ours.transform(kind())
        assert sorted(n.op_type for n in ours.graph.node) == sorted(n.op_type for n in theirs.graph.node), kind
        assert isinstance(ours, ModelWrapper)
    np.testing.assert_allclose(
        next(iter(anybit.run(ours.model, x, engine="reference").values())), expected, rtol=1e-5, atol=1e-5
    )
    top = [w.transform(InsertTopK()) for w in (theirs, ours)]
    assert top[0].graph.output[0].type == top[1].graph.output[0].type


def test_questions_have_the_same_answers():
    theirs, ours = both(anybit.to_proto(anybit.clean(mlp())))
    for name in (
        "get_first_global_in",
        "get_first_global_out",
        "check_all_tensor_shapes_specified",
        "get_opset_imports",
    ):
        assert getattr(theirs, name)() == getattr(ours, name)(), name
    assert set(theirs.get_all_tensor_names()) == set(ours.get_all_tensor_names())
    for tensor in theirs.get_all_tensor_names():
        for name in (
            "get_tensor_shape",
            "get_tensor_fanout",
            "get_tensor_layout",
            "get_tensor_sparsity",
            "find_producer",
        ):
            assert getattr(theirs, name)(tensor) == getattr(ours, name)(tensor), (name, tensor)
        assert theirs.find_consumers(tensor) == ours.find_consumers(tensor)
        np.testing.assert_equal(theirs.get_initializer(tensor), ours.get_initializer(tensor))
        assert theirs.get_tensor_datatype(tensor) == ours.get_tensor_datatype(tensor)
        assert theirs.find_upstream(tensor, lambda n: n.op_type == "MatMul") == ours.find_upstream(
            tensor, lambda n: n.op_type == "MatMul"
        )
    for one, other in zip(theirs.graph.node, ours.graph.node, strict=True):
        for name in (
            "is_fork_node",
            "is_join_node",
            "find_direct_successors",
            "find_direct_predecessors",
            "get_node_index",
        ):
            assert getattr(theirs, name)(one) == getattr(ours, name)(other), name
    quantizer, known = ours.get_finn_nodes()[0], theirs.get_finn_nodes()[0]
    assert quantizer == known
    for name in ("signed", "narrow", "rounding_mode"):
        assert ours.get_customop_wrapper(quantizer).get_nodeattr(name) == theirs.get_customop_wrapper(
            known
        ).get_nodeattr(name)
    empty, filled = theirs.make_empty_exec_context(), ours.make_empty_exec_context()
    assert empty.keys() == filled.keys()


def test_edits_and_statements():
    theirs, ours = both(anybit.to_proto(anybit.clean(mlp())))
    for wrapper in (theirs, ours):
        wrapper.set_tensor_datatype("h", qonnx.core.modelwrapper.DataType["INT7"])
        wrapper.set_tensor_layout("h", ["N", "C"])
        wrapper.set_tensor_sparsity("w", {"a": [0.5]})
        wrapper.rename_tensor("h", "sums")
        wrapper.set_initializer("extra", np.arange(3))
        wrapper.set_tensor_shape("sums", [1, 8])
        wrapper.set_metadata_prop("made", "here")
        wrapper.set_opset_import("my.ops", 2)
    for name, key in (("get_tensor_datatype", "sums"), ("get_tensor_layout", "sums"), ("get_tensor_sparsity", "w"),
                      ("get_tensor_shape", "extra"), ("get_metadata_prop", "made")):  # fmt: skip
        assert getattr(theirs, name)(key) == getattr(ours, name)(key), name
    ours.del_initializer("extra")
    assert ours.get_initializer("extra") is None
    assert anybit.check(ours.model) == () or all(f.severity.value == "warning" for f in anybit.check(ours.model))


@pytest.mark.parametrize(
    "name",
    [
        "INT4",
        "UINT3",
        "INT17",
        "UINT40",
        "BIPOLAR",
        "TERNARY",
        "BINARY",
        "FIXED<8,3>",
        "SCALEDINT<8>",
        "FLOAT32",
        "FLOAT16",
    ],
)
def test_formats_have_the_same_properties(name):
    theirs, ours = qonnx.core.modelwrapper.DataType[name], DataType[name]
    assert theirs == ours
    assert ours == theirs
    for method in ("bitwidth", "min", "max", "signed", "is_integer", "is_fixed_point", "to_numpy_dt",
                   "get_canonical_name", "get_hls_datatype_str", "int_bits", "frac_bits", "scale_factor"):  # fmt: skip
        if name in ("FLOAT32", "SCALEDINT<8>") and method in ("min", "max", "signed"):
            continue  # the package knows no ends of these, or others
        try:
            expected = getattr(theirs, method)()
        except Exception:  # noqa: BLE001 - the package says so by an Exception, or has no such method
            with pytest.raises(UsageError):
                getattr(ours, method)()
            continue
        assert getattr(ours, method)() == expected, method


@pytest.mark.parametrize("value", [-300, -129, -128, -2, -1, 0, 1, 2, 255, 256, 1 << 40, 0.5, -7.25, np.int64(-9)])
def test_the_smallest_format_of_a_number_is_the_same(value):
    assert DataType.get_smallest_possible(value) == qonnx.core.modelwrapper.DataType.get_smallest_possible(value)


def test_passes_of_anybit_and_of_scripts():
    class Renamed:
        def apply(self, model):
            changed = model.graph.node[0].name != "first"
            model.graph.node[0].name = "first"
            return model, changed

    wrapper = ModelWrapper(mlp(), make_deepcopy=True)
    assert wrapper.transform(Renamed()).graph.node[0].name == "first"
    assert wrapper.transform("name-tensors").graph.node[0].name == "Quant_0"
    assert wrapper.graph.node[0].name == "xq_node"
    x = samples(1, 6)
    np.testing.assert_array_equal(anybit.run(wrapper.transform(Renamed()).model, x)["y"], anybit.run(mlp(), x)["y"])


def unsound(opset: int = 11):
    """x -> Conv(w) -> Clip -> y, whose weights a script sets later; out of order, with a node that nothing reads."""
    nodes = [
        helper.make_node("Clip", ["h"], ["y"], "clip"),
        helper.make_node("Conv", ["x", "w"], ["h"], "conv", kernel_shape=[1, 1]),
        helper.make_node("Neg", ["h"], ["unread"], "neg"),
    ]
    inputs = [helper.make_tensor_value_info(n, 1, s) for n, s in {"x": [1, 2, 3, 3], "w": [4, 2, 1, 1]}.items()]
    graph = helper.make_graph(nodes, "g", inputs[:1], [helper.make_tensor_value_info("y", 1, [1, 4, 3, 3])])
    graph.value_info.append(inputs[1])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def test_a_model_may_be_unsound_between_the_steps_of_a_script():
    w = np.random.default_rng(0).normal(size=(4, 2, 1, 1)).astype(np.float32)
    outputs = []
    for wrapper in both(unsound()):
        made = wrapper.transform(GiveUniqueNodeNames())
        assert [n.op_type for n in made.graph.node] in (["Conv", "Clip", "Neg"], ["Conv", "Neg", "Clip"])
        made.set_initializer("w", w)
        made = made.transform(InferShapes())
        outputs.append(execute_onnx(made, {"x": np.ones((1, 2, 3, 3), np.float32)})["y"])
    np.testing.assert_array_equal(*outputs)


def test_the_package_runs_what_the_wrapper_cleaned():
    """Node by node, which needs a value info of each initializer; shared ones are copied."""
    nodes = [
        helper.make_node("Add", ["c", "x"], ["a"], "first"),
        helper.make_node("Mul", ["a", "c"], ["m"], "second"),
        helper.make_node("Sub", ["m", "c"], ["y"], "third"),
    ]
    proto, x = model(nodes, {"c": np.float32([1, 2])}, inputs={"x": [2]}, outputs=["y"]), np.float32([3, -4])
    proto.graph.output[0].type.tensor_type.shape.dim.add(dim_value=2)
    proto.graph.quantization_annotation.add(tensor_name="c").quant_parameter_tensor_names.add(
        key="finn_datatype", value="UINT2"
    )
    theirs, ours = (w.transform(InferShapes()) for w in both(proto))
    assert [list(n.input)[:1] for n in ours.graph.node] == [["x"], ["a"], ["m"]]
    parameters = {n.input[1] for n in ours.graph.node}
    assert len(parameters) == 3
    assert {ours.get_tensor_datatype(p).name for p in parameters} == {"UINT2"}
    np.testing.assert_array_equal(execute_onnx(ours, {"x": x})["y"], execute_onnx(theirs, {"x": x})["y"])
    np.testing.assert_array_equal(execute_onnx(ours, {"x": x})["y"], np.float32([3, -6]))


def test_hls4mls_front_end_reads_it(tmp_path):
    hls4ml = pytest.importorskip("hls4ml")
    prepared = anybit.prepare_hls4ml(mlp(), input_ranges={"x": (-4, 3.5)})
    assert prepared.ready
    layers = []
    for kind in (qonnx.core.modelwrapper.ModelWrapper, ModelWrapper):
        wrapper = kind(anybit.to_proto(prepared.model))
        config = hls4ml.utils.config_from_onnx_model(
            wrapper, granularity="name", backend="Vitis", default_precision=prepared.precision
        )
        converted = hls4ml.converters.convert_from_onnx_model(
            wrapper,
            output_dir=str(tmp_path / kind.__module__),
            hls_config=config,
            backend="Vitis",
            io_type="io_parallel",
        )
        converted.write()
        layers.append(
            [(n.name, n.class_name, str(n.get_output_variable().type.precision)) for n in converted.get_layers()]
        )
    assert layers[0] == layers[1]
    assert len(layers[0]) > 3
