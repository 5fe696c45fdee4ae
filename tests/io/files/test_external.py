"""External data: every tensor that a model can hold is read from the model's folder, and written where it belongs."""

from __future__ import annotations

import os

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper

from anybit import Session, load, repairs, run, save, to_proto
from anybit.errors import ModelFileError

RIGHT = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
WRONG = np.full((2, 3), 666, np.float32)
LARGE = 600  # elements: more than a kilobyte
X = np.zeros((2, 3), np.float32)


def external(name: str, dtype: int = TensorProto.FLOAT, shape: tuple[int, ...] = (2, 3), **entries: object):
    tensor = TensorProto(name=name, data_type=dtype, dims=shape, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": "w.bin", **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def info(name: str, shape=(2, 3), dtype: int = TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def proto_of(nodes, initializers=(), *, functions=(), sparse=(), extra=()):
    graph = helper.make_graph(nodes, "g", [info("x"), *extra], [info("y")], list(initializers))
    graph.sparse_initializer.extend(sparse)
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("f", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10, functions=list(functions))


def add(a: str, b: str, y: str = "y"):
    return helper.make_node("Add", [a, b], [y])


def branches(captured: str, tensor: TensorProto | None, *inner):
    """An If on a constant, whose branch adds a tensor of its own to `captured`, by way of the nodes `inner`."""
    held = [] if tensor is None else [tensor]
    then = helper.make_graph([*inner, add(captured, "t", "o")], "then", [], [info("o", None)], held)
    other = helper.make_graph([helper.make_node("Neg", [captured], ["p"])], "else", [], [info("p", None)])
    true = helper.make_node("Constant", [], ["c"], value=helper.make_tensor("true", TensorProto.BOOL, [], [True]))
    return [true, helper.make_node("If", ["c"], ["z"], then_branch=then, else_branch=other)]


def constant_node(name: str = "t"):
    return helper.make_node("Constant", [], [name], value=external("t"))


def function(nodes, result: str = "z"):
    return helper.make_function("f", "A", ["a"], [result], nodes, [helper.make_opsetid("", 21)])


def loop():
    """Adds the body's own initializer once."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), add("v", "t", "u")],
        "body",
        [info("i", (), TensorProto.INT64), info("go", (), TensorProto.BOOL), info("v", None)],
        [info("on", (), TensorProto.BOOL), info("u", None)],
        [external("t")],
    )
    once = helper.make_node("Constant", [], ["n"], value=helper.make_tensor("n", TensorProto.INT64, [], [1]))
    return [once, helper.make_node("Loop", ["n", "", "x"], ["y"], body=body)]


def sparse(values: TensorProto, indices: TensorProto):
    tensor = onnx.SparseTensorProto(values=values, indices=indices)
    tensor.dims.extend((2, 3))
    return tensor


def default_of_an_attribute():
    """A function whose Constant takes its value from an attribute that has a default."""
    node = helper.make_node("Constant", [], ["t"])
    node.attribute.add(name="value", ref_attr_name="w", type=onnx.AttributeProto.TENSOR)
    made = function([node, add("a", "t", "z")])
    made.attribute_proto.append(helper.make_attribute("w", external("t")))
    return made


CALL = helper.make_node("A", ["x"], ["y"], domain="f")
SPARSE_INDICES = helper.make_tensor("i", TensorProto.INT64, [6], range(6))
PLACES = {
    "initializer": lambda: proto_of([add("x", "t")], [external("t")]),
    "constant": lambda: proto_of([constant_node(), add("x", "t")]),
    "branch": lambda: proto_of([*branches("x", external("t")), helper.make_node("Identity", ["z"], ["y"])]),
    "constant in a branch": lambda: proto_of(
        [*branches("x", None, constant_node()), helper.make_node("Identity", ["z"], ["y"])]
    ),
    "loop": lambda: proto_of(loop()),
    "function": lambda: proto_of([CALL], functions=[function([constant_node(), add("a", "t", "z")])]),
    "branch in a function": lambda: proto_of([CALL], functions=[function(branches("a", external("t")))]),
    "default of a function's attribute": lambda: proto_of([CALL], functions=[default_of_an_attribute()]),
    "sparse values": lambda: proto_of([add("x", "t")], sparse=[sparse(external("t", shape=(6,)), SPARSE_INDICES)]),
    "sparse constant": lambda: proto_of(
        [
            helper.make_node("Constant", [], ["t"], sparse_value=sparse(external("t", shape=(6,)), SPARSE_INDICES)),
            add("x", "t"),
        ]
    ),
}


@pytest.fixture(params=PLACES)
def place(request, tmp_path, monkeypatch):
    """A model whose tensor is in w.bin beside it, while another w.bin is in the current directory."""
    (tmp_path / "elsewhere").mkdir()
    WRONG.tofile(tmp_path / "elsewhere" / "w.bin")
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "model").mkdir()
    RIGHT.tofile(tmp_path / "model" / "w.bin")
    path = tmp_path / "model" / "m.onnx"
    path.write_bytes(PLACES[request.param]().SerializeToString())
    return path


@pytest.mark.parametrize("engine", ["reference", "onnxruntime", "auto"])
def test_each_tensor_is_read_from_the_model_s_folder(place, engine):
    np.testing.assert_array_equal(run(place, X, engine=engine)["y"], RIGHT)
    for source in (place.read_bytes(), onnx.load(place, load_external_data=False)):
        np.testing.assert_array_equal(run(load(source, base_dir=place.parent), X, engine=engine)["y"], RIGHT)


def test_without_a_folder_nothing_is_read(place):
    with pytest.raises(ModelFileError, match="base_dir"):
        load(place.read_bytes())
    with pytest.raises(ModelFileError, match="base_dir"):
        load(onnx.load(place, load_external_data=False))


@pytest.mark.parametrize("external_data", [None, False, True])
def test_a_model_that_is_written_elsewhere_holds_its_tensors(place, tmp_path, external_data):
    target = tmp_path / "elsewhere" / "m.onnx"
    model = load(place)
    save(model, target, external_data=external_data)
    place.unlink()
    (place.parent / "w.bin").unlink()
    for read in (target, to_proto(model), to_proto(load(target))):
        np.testing.assert_array_equal(run(read, X)["y"], RIGHT)
    own = onnx.load(target)  # by the rules of others
    if not any(a.attribute_proto for a in own.functions):  # ONNX Runtime binds no defaults of this kind
        session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
        np.testing.assert_array_equal(session.run(None, {"x": X})[0], RIGHT)


@pytest.mark.parametrize("external_data", [None, False, True])
def test_a_model_is_written_over_itself_and_stays_what_it_was(place, external_data):
    model = load(place)
    save(model, place, external_data=external_data)
    (place.parent / "w.bin").unlink()
    for read in (place, model):
        np.testing.assert_array_equal(run(read, X)["y"], RIGHT)


def test_a_file_that_takes_the_place_of_a_loaded_one_changes_nothing(place):
    model = load(place)
    WRONG.tofile(place.parent / "new")
    os.replace(place.parent / "new", place.parent / "w.bin")
    np.testing.assert_array_equal(run(model, X)["y"], RIGHT)


def test_links_within_the_folder_are_read(place):
    data = place.parent / "w.bin"
    os.link(data, place.parent / "second")
    np.testing.assert_array_equal(run(place, X)["y"], RIGHT)
    data.unlink()
    (place.parent / "blobs").mkdir()
    (place.parent / "second").rename(place.parent / "blobs" / "1f3a")
    data.symlink_to("blobs/1f3a")
    np.testing.assert_array_equal(run(place, X)["y"], RIGHT)


def test_links_out_of_the_folder_are_refused(place):
    data = place.parent / "w.bin"
    data.unlink()
    data.symlink_to("../elsewhere/w.bin")
    with pytest.raises(ModelFileError, match="outside"):
        load(place)


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ({"offset": 4}, "truncated"),
        ({"length": 20}, "does not fill the shape"),
        ({"length": 28}, "does not fill the shape"),
        ({"length": 0}, "does not fill the shape"),
        ({"length": 2**70}, "broken offset or length"),
        ({"length": "1" * 5000}, "broken offset"),
        ({"offset": 2**70}, "broken offset or length"),
        ({"offset": 1, "length": 24}, "truncated"),
        ({"location": "x" * 300}, "missing"),
        ({"location": "x/" * 3000}, "missing"),
        ({"location": ""}, "outside"),
        ({"location": "a\0b"}, "outside"),
        ({"location": "loop"}, "missing"),
        ({"location": "pipe"}, "missing"),
        ({"location": "folder"}, "missing"),
        ({"location": "w.bin/x"}, "missing"),
        ({"offset": -1}, "broken offset"),
        ({"offset": "1e3"}, "broken offset"),
        ({"location": "../elsewhere/w.bin"}, "outside"),
    ],
)
def test_a_place_that_is_none_is_refused_wherever_the_tensor_is(place, entries, text):
    (place.parent / "loop").symlink_to("loop")
    (place.parent / "folder").mkdir()
    os.mkfifo(place.parent / "pipe")
    proto = onnx.load(place, load_external_data=False)
    pending: list = [proto]
    changed = 0
    while pending:  # through all messages of the model
        message = pending.pop()
        if isinstance(message, TensorProto) and message.data_location == TensorProto.EXTERNAL:
            known = {e.key: e.value for e in message.external_data} | {k: str(v) for k, v in entries.items()}
            del message.external_data[:]
            for key, value in known.items():
                message.external_data.add(key=key, value=value)
            changed += 1
        for field, value in message.ListFields():
            if field.type == field.TYPE_MESSAGE:
                pending += [value] if isinstance(value, type(message)) or hasattr(value, "ListFields") else list(value)
    assert changed == 1
    place.write_bytes(proto.SerializeToString())
    with pytest.raises(ModelFileError, match=text):
        load(place)


def test_tensors_of_operators_of_others_are_kept(tmp_path):
    RIGHT.tofile(tmp_path / "w.bin")
    node = helper.make_node("Own", ["x"], ["y"], domain="f", several=[external("a"), external("b")], one=external("c"))
    (tmp_path / "m.onnx").write_bytes(proto_of([node]).SerializeToString())
    (tmp_path / "other").mkdir()
    for external_data in (False, True):
        save(load(tmp_path / "m.onnx"), tmp_path / "other" / "m.onnx", external_data=external_data)
        written = onnx.load(tmp_path / "other" / "m.onnx").graph.node[0]
        tensors = [t for a in written.attribute for t in (*a.tensors, *([a.t] if a.HasField("t") else []))]
        assert sorted(t.name for t in tensors) == ["a", "b", "c"]
        for tensor in tensors:
            np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor), RIGHT)


@pytest.mark.parametrize("size", [1, 4, 16, 64, 200, 255, 256, 257, 1000])
@pytest.mark.parametrize("engine", ["reference", "onnxruntime", "auto"])
def test_external_initializers_of_any_size_are_run(tmp_path, size, engine):
    weights, bias = (np.random.default_rng(size).normal(size=s).astype(np.float32) for s in ((32, size), (size,)))
    nodes = [helper.make_node("MatMul", ["x", "W"], ["m"]), add("m", "bias")]
    graph = helper.make_graph(nodes, "g", [info("x", ("N", 32))], [info("y", ("N", size))])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(a, n) for a, n in ((weights, "W"), (bias, "bias")))
    path = tmp_path / "m.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    x = np.random.default_rng(0).normal(size=(3, 32)).astype(np.float32)
    stock = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    np.testing.assert_allclose(run(path, x, engine=engine)["y"], stock, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "dtype",
    [
        TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE, TensorProto.INT4, TensorProto.UINT4,
        TensorProto.INT2, TensorProto.UINT2, TensorProto.FLOAT4E2M1, TensorProto.FLOAT8E4M3FN, TensorProto.BOOL,
        TensorProto.COMPLEX64, TensorProto.INT64,
    ],
)  # fmt: skip
@pytest.mark.parametrize("elements", [0, 1, 7, LARGE + 1, 1 << 17])
def test_elements_of_every_type_are_the_same_wherever_they_are_stored(tmp_path, dtype, elements):
    bits = round(ir.DataType(dtype).itemsize * 8)
    raw = np.random.default_rng(elements).integers(0, 2, -(-elements * bits // 8), np.uint8).tobytes()
    tensor = TensorProto(name="t", data_type=dtype, dims=[elements], raw_data=raw)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["t"], ["y"])], "g", [info("x")], [info("y", None, dtype)], [tensor]
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 25)], ir_version=13)
    path = tmp_path / "m.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    read = load(path)
    array = read.graph.initializers["t"].const_value.numpy()
    np.testing.assert_array_equal(array, onnx.numpy_helper.to_array(tensor))
    for external_data in (True, False):
        save(read, tmp_path / "n.onnx", external_data=external_data)
        written = onnx.load(tmp_path / "n.onnx").graph.initializer[0]
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(written), array)


def test_subgraphs_keep_their_weights_beside_the_file(tmp_path):
    weights = np.ones((2, LARGE), np.float32)
    branch = branches("x", onnx.numpy_helper.from_array(weights, "t"))
    nodes = [*branch, helper.make_node("Identity", ["z"], ["y"])]
    graph = helper.make_graph(nodes, "g", [info("x", (2, LARGE))], [info("y", (2, LARGE))])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    path = tmp_path / "m.onnx"
    save(load(proto), path, external_data=True)
    (data,) = tmp_path.glob("m.onnx.*.data")
    assert path.stat().st_size < 1000 < data.stat().st_size
    (tmp_path / "other").mkdir()
    save(load(path), tmp_path / "other" / "m.onnx")  # they came from a second file, so they go into one
    assert (tmp_path / "other" / data.name).read_bytes() == data.read_bytes()
    x = np.zeros_like(weights)
    for read in (path, tmp_path / "other" / "m.onnx"):
        np.testing.assert_array_equal(run(read, x)["y"], weights)
        stock = onnxruntime.InferenceSession(str(read), providers=["CPUExecutionProvider"])
        np.testing.assert_array_equal(stock.run(None, {"x": x})[0], weights)


@pytest.mark.parametrize("name", [n for n in PLACES if "sparse" not in n])  # onnx-ir reads no sparse tensors
def test_a_model_of_onnx_ir_is_bound_to_the_folder_that_is_named(tmp_path, name):
    RIGHT.tofile(tmp_path / "w.bin")
    model = ir.from_proto(PLACES[name]())
    with pytest.raises(ModelFileError, match="base_dir"):
        load(model)
    with pytest.raises(ModelFileError, match="base_dir"):
        save(model, tmp_path / "n.onnx")
    np.testing.assert_array_equal(run(load(model, base_dir=tmp_path), X)["y"], RIGHT)


def test_more_files_than_a_process_may_open(tmp_path):
    resource = pytest.importorskip("resource")
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    names = [f"w{i}" for i in range(200)]
    nodes = [helper.make_node("Sum", ["x", *names], ["y"])]
    for name in names:
        RIGHT.tofile(tmp_path / f"{name}.bin")
    tensors = [external(name, location=f"{name}.bin") for name in names]
    (tmp_path / "m.onnx").write_bytes(proto_of(nodes, tensors).SerializeToString())
    session = Session(tmp_path / "m.onnx")  # what it imports needs files too
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, limit[1]))
    try:
        session = Session(tmp_path / "m.onnx")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    np.testing.assert_array_equal(session.run(X)["y"], 200 * RIGHT)


def test_what_is_for_training_is_said_to_be_dropped(tmp_path):
    proto = proto_of([add("x", "t")], [onnx.numpy_helper.from_array(RIGHT, "t")])
    step = proto.training_info.add()
    step.initialization.CopyFrom(helper.make_graph([], "start", [], [], [external("s")]))
    assert [r.rule for r in repairs(load(proto))] == ["training-info"]


@pytest.mark.parametrize("offset", [0, 1, 4, 4096, 5000])
@pytest.mark.parametrize("behind", [0, 3])
def test_offset_and_length_are_honoured_exactly(tmp_path, offset, behind):
    (tmp_path / "w.bin").write_bytes(b"\xff" * offset + RIGHT.tobytes() + b"\xff" * behind)
    for entries in ({"offset": offset, "length": RIGHT.nbytes}, {"offset": offset}):
        path = tmp_path / "m.onnx"
        path.write_bytes(proto_of([add("x", "t")], [external("t", **entries)]).SerializeToString())
        np.testing.assert_array_equal(run(path, X)["y"], RIGHT)
