"""The sound models that the fuzzer damages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import anybit
from anybit.formats.convert import translate
from anybit.io.save import to_proto
from tests.graphs import WITH_SCOPES
from tests.graphs.builder import BATCH, Builder
from tests.integration.corpus import CORPUS
from tests.models import DOMAIN, mlp, model, parameters, quant

_LARGEST = 1 << 16  # bytes of a model that is damaged thousands of times
_RANDOM_GRAPHS = 12
_STEPS = 6
_SHAPES = ((BATCH, 6), (BATCH, 3, 4), (BATCH, 2, 5, 4))


def small_seeds() -> tuple[bytes, ...]:
    """Models of a few nodes, those written by hand also in all formats."""
    own = list(_written_by_hand())
    return _distinct([*own, *_random_graphs(), *(c for proto in own for c in _conversions(proto))])


def nightly_seeds() -> tuple[bytes, ...]:
    """The small ones, onnx's own example of each operator, and the smaller of the real models."""
    from onnx.backend.test.case.node import collect_testcases

    examples = [case.model for case in collect_testcases(None) if case.model is not None]
    files = [path.read_bytes() for path in sorted(CORPUS.rglob("*.onnx")) if path.stat().st_size < _LARGEST]
    return tuple(dict.fromkeys((*small_seeds(), *_distinct(examples), *files)))


def _distinct(protos: Iterable[onnx.ModelProto]) -> tuple[bytes, ...]:
    written = (proto.SerializeToString(deterministic=True) for proto in protos)
    return tuple(dict.fromkeys(data for data in written if len(data) < _LARGEST))


def _conversions(proto: onnx.ModelProto) -> Iterator[onnx.ModelProto]:
    for target in anybit.Dialect:
        try:
            yield to_proto(translate(proto, target).model)
        except anybit.AnybitError:
            continue


def _random_graphs() -> Iterator[onnx.ModelProto]:
    names = sorted(WITH_SCOPES)
    for seed in range(_RANDOM_GRAPHS):
        rng = np.random.default_rng(seed)
        builder = Builder(rng, np.float32, int(rng.choice((11, 13, 17, 21))), version=int(rng.integers(1, 3)))
        builder.input(_SHAPES[seed % len(_SHAPES)], -1.0, 1.0, free_batch=bool(rng.integers(2)))
        for name in rng.choice(names, _STEPS):
            builder.attempt(WITH_SCOPES[str(name)])
        yield builder.model()


def _written_by_hand() -> Iterator[onnx.ModelProto]:
    yield mlp()
    yield mlp(batch="N", opset=11)
    yield _convolutions()
    yield _linear_quantisation()
    yield _byte_operators()
    yield _control_flow()
    yield _functions()
    yield _annotated()
    yield _shapes_at_run_time()
    yield _text_and_sequences()
    yield _sparse()


def _convolutions() -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.normal(size=(4, 2, 3, 3)).astype(np.float32),
        "d": rng.normal(size=(2, 3, 2, 2)).astype(np.float32),
        "thresholds": np.sort(rng.normal(size=(4, 3)), axis=1).astype(np.float32),
        **{name: np.full(4, 0.5, np.float32) for name in ("gamma", "beta", "mean", "var")},
        **parameters("wq", scale=0.25),
        **parameters("a"),
    }
    nodes = [
        quant("w", "wq", narrow=1),
        helper.make_node("Conv", ["x", "wq"], ["c"], "conv", pads=[1, 1, 1, 1], strides=[1, 1]),
        helper.make_node("BatchNormalization", ["c", "gamma", "beta", "mean", "var"], ["n"], "norm"),
        helper.make_node("MultiThreshold", ["n", "thresholds"], ["t"], "steps", domain=DOMAIN, out_scale=0.5),
        helper.make_node("MaxPool", ["t"], ["m"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        quant("m", "a"),
        helper.make_node("Split", ["a"], ["s", "r"], "split", axis=1, num_outputs=2),
        helper.make_node("ConvTranspose", ["s", "d"], ["e"], "deconv", strides=[2, 2]),
        helper.make_node("AveragePool", ["e"], ["p"], "average", kernel_shape=[2, 2]),
        helper.make_node("Transpose", ["p"], ["y"], "last", perm=[0, 2, 3, 1]),
    ]
    return model(nodes, constants, inputs={"x": [1, 2, 6, 6]}, outputs=["y", "r"])


def _linear_quantisation() -> onnx.ModelProto:
    nodes, constants, x = [], {"w": np.arange(12, dtype=np.int8).reshape(4, 3)}, "x"
    for k, (zero, axis) in enumerate(((np.uint8(3), None), (np.zeros(4, np.int8), 1))):
        constants[f"s{k}"] = np.full(zero.shape, 0.1, np.float32)
        constants[f"z{k}"] = np.asarray(zero)
        attributes = {} if axis is None else {"axis": axis}
        nodes.append(helper.make_node("QuantizeLinear", [x, f"s{k}", f"z{k}"], [f"q{k}"], f"q{k}", **attributes))
        lo, hi = (np.asarray(v, zero.dtype) for v in (0, 15))
        constants |= {f"lo{k}": lo, f"hi{k}": hi}
        nodes.append(helper.make_node("Clip", [f"q{k}", f"lo{k}", f"hi{k}"], [f"l{k}"], f"clip{k}"))
        nodes.append(
            helper.make_node("DequantizeLinear", [f"l{k}", f"s{k}", f"z{k}"], [f"d{k}"], f"d{k}", **attributes)
        )
        x = f"d{k}"
    constants |= {"ws": np.full(3, 0.2, np.float32), "wz": np.zeros(3, np.int8)}
    nodes.append(helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], "weights", axis=1))
    nodes.append(helper.make_node("Gemm", [x, "wd"], ["y"], "gemm", alpha=0.5))
    return model(nodes, constants, inputs={"x": [2, 4]}, outputs=["y"])


def _byte_operators() -> onnx.ModelProto:
    constants = {
        "w": np.ones((2, 2, 1, 1), np.int8),
        "v": np.ones((3, 2), np.int8),
        "s": np.float32(0.5),
        "z": np.uint8(0),
        "o": np.int8(0),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], "quantize"),
        helper.make_node("QLinearConv", ["q", "s", "z", "w", "s", "o", "s", "z"], ["c"], "qconv"),
        helper.make_node("QLinearAdd", ["c", "s", "z", "q", "s", "z", "s", "z"], ["a"], "qadd", domain="com.microsoft"),
        helper.make_node("QLinearMatMul", ["a", "s", "z", "v", "s", "o", "s", "z"], ["m"], "qmatmul"),
        helper.make_node("MatMulInteger", ["a", "v", "z", "o"], ["i"], "imatmul"),
        helper.make_node("ConvInteger", ["q", "w", "z", "o"], ["k"], "iconv"),
        helper.make_node("Cast", ["i"], ["f"], "cast", to=TensorProto.FLOAT),
        helper.make_node("DequantizeLinear", ["m", "s", "z"], ["d"], "dequantize"),
        helper.make_node("Add", ["f", "d"], ["y"], "add"),
    ]
    imports = {"": 13, "com.microsoft": 1}
    return model(nodes, constants, inputs={"x": [1, 2, 2, 3]}, outputs=["y", "k"], opset=13, imports=imports)


def _control_flow() -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    nothing, boolean = value("b", TensorProto.FLOAT, None), value("go", TensorProto.BOOL, [])
    then = helper.make_graph([helper.make_node("Relu", ["x"], ["b"])], "then", [], [nothing])
    other = helper.make_graph([helper.make_node("Neg", ["x"], ["b"])], "else", [], [nothing])
    body = helper.make_graph(
        [
            helper.make_node("Mul", ["s", "half"], ["b"], "inside"),
            helper.make_node("Identity", ["going"], ["go"]),
            helper.make_node("ReduceSum", ["b"], ["row"], keepdims=0),
        ],
        "body",
        [value("i", TensorProto.INT64, []), value("going", TensorProto.BOOL, []), value("s", TensorProto.FLOAT, None)],
        [boolean, nothing, value("row", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["top"], "top", keepdims=0),
        helper.make_node("Greater", ["top", "half"], ["condition"], "greater"),
        helper.make_node("If", ["condition"], ["chosen"], "if", then_branch=then, else_branch=other),
        helper.make_node("Loop", ["trips", "", "chosen"], ["y", "rows"], "loop", body=body),
    ]
    constants = {"half": np.float32(0.5), "trips": np.int64(3)}
    return model(nodes, constants, inputs={"x": [2, 3]}, outputs=["y", "rows"])


def _functions() -> onnx.ModelProto:
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("own", 1), helper.make_opsetid(DOMAIN, 1)]
    leaky = helper.make_node("LeakyRelu", ["a"], ["b"])
    leaky.attribute.add(name="alpha", type=onnx.AttributeProto.FLOAT, ref_attr_name="slope")
    inner = helper.make_function("own", "Inner", ["a"], ["b"], [leaky], opsets[:1], ["slope"])
    doubled = [
        helper.make_node("Inner", ["a"], ["t"], domain="own", slope=0.25),
        helper.make_node("Quant", ["t", "s", "z", "bits"], ["q"], domain=DOMAIN, signed=1),
        helper.make_node("Add", ["q", "q"], ["b"]),
    ]
    outer = helper.make_function("own", "Outer", ["a", "s", "z", "bits"], ["b"], doubled, opsets)
    nodes = [
        helper.make_node("Outer", ["x", "p_scale", "p_zeropt", "p_bits"], ["h"], "first", domain="own"),
        helper.make_node("Inner", ["h"], ["y"], "second", domain="own", slope=0.5),
    ]
    imports = {"": 21, "own": 1, DOMAIN: 1}
    return model(
        nodes, parameters("p"), inputs={"x": ["N", 3]}, outputs=["y"], imports=imports, functions=[inner, outer]
    )


def _annotated() -> onnx.ModelProto:
    proto = mlp(hidden=3)
    for tensor, datatype in (("x", "INT4"), ("w", "INT3"), ("h", "INT8")):
        annotation = proto.graph.quantization_annotation.add(tensor_name=tensor)
        annotation.quant_parameter_tensor_names.add(key="finn_datatype", value=datatype)
    proto.graph.quantization_annotation[0].quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="xq_scale")
    proto.graph.value_info.append(helper.make_tensor_value_info("h", TensorProto.FLOAT, [1, 3]))
    proto.metadata_props.add(key="origin", value="test")
    proto.graph.initializer.append(helper.make_tensor("old", TensorProto.FLOAT, [2], [1.0, 2.0]))
    proto.graph.initializer.append(helper.make_tensor("nibbles", TensorProto.INT4, [3], [1, -2, 3]))
    proto.graph.node[0].metadata_props.add(key="layer", value="first")
    return proto


def _shapes_at_run_time() -> onnx.ModelProto:
    constants = {
        "zero": np.int64([0]),
        "one": np.int64([1]),
        "two": np.int64([2]),
        "minus": np.int64([-1]),
        "scales": np.float32([1, 2]),
        "pads": np.int64([0, 1, 0, 1]),
        "start": np.int64(0),
        "step": np.int64(1),
        "depth": np.int64(4),
        "values": np.float32([0, 1]),
    }
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"], "shape"),
        helper.make_node("Slice", ["shape", "zero", "one"], ["batch"], "slice"),
        helper.make_node("Concat", ["batch", "minus"], ["target"], "concat", axis=0),
        helper.make_node("Reshape", ["x", "target"], ["flat"], "reshape"),
        helper.make_node("Resize", ["flat", "", "scales"], ["wide"], "resize", mode="nearest"),
        helper.make_node("Pad", ["wide", "pads"], ["padded"], "pad"),
        helper.make_node("ConstantOfShape", ["shape"], ["ones"], "fill", value=helper.make_tensor("v", 1, [1], [1.0])),
        helper.make_node("Expand", ["ones", "shape"], ["more"], "expand"),
        helper.make_node("Tile", ["more", "two_by_one"], ["tiled"], "tile"),
        helper.make_node("Range", ["start", "depth", "step"], ["count"], "range"),
        helper.make_node("OneHot", ["count", "depth", "values"], ["hot"], "hot"),
        helper.make_node("TopK", ["padded", "two"], ["best", "places"], "top"),
        helper.make_node("Unsqueeze", ["best", "zero"], ["y"], "unsqueeze"),
    ]
    constants["two_by_one"] = np.int64([2, 1])
    return model(nodes, constants, inputs={"x": ["N", 4]}, outputs=["y", "tiled", "hot", "places"])


def _text_and_sequences() -> onnx.ModelProto:
    text = helper.make_tensor("text", TensorProto.STRING, [2], [b"a", b"b"])
    nodes = [
        helper.make_node("Constant", [], ["text"], "text", value=text),
        helper.make_node("StringConcat", ["text", "text"], ["joined"], "join"),
        helper.make_node("SequenceConstruct", ["x", "x"], ["list"], "list"),
        helper.make_node("ConcatFromSequence", ["list"], ["y"], "back", axis=0),
        helper.make_node("Optional", ["x"], ["maybe"], "optional"),
    ]
    proto = model(nodes, {}, inputs={"x": [2, 2]}, outputs=["y"])
    proto.graph.output.append(helper.make_tensor_value_info("joined", TensorProto.STRING, [2]))
    tensor = helper.make_tensor_type_proto(TensorProto.FLOAT, [2, 2])
    proto.graph.output.append(helper.make_value_info("list", helper.make_sequence_type_proto(tensor)))
    proto.graph.output.append(helper.make_value_info("maybe", helper.make_optional_type_proto(tensor)))
    return proto


def _sparse() -> onnx.ModelProto:
    values = numpy_helper.from_array(np.float32([1, 2]), "weight")
    indices = numpy_helper.from_array(np.int64([1, 4]), "places")
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["h"], "product"),
        helper.make_node(
            "Constant", [], ["c"], "constant", sparse_value=helper.make_sparse_tensor(values, indices, [2, 3])
        ),
        helper.make_node("Add", ["h", "c"], ["y"], "add"),
    ]
    proto = model(nodes, {}, inputs={"x": [2, 2]}, outputs=["y"])
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [2, 3]))
    return proto
