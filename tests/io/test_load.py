"""Reading models: every source, every way in which a file can be broken."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from anybit import compare, load, repairs, save
from anybit.errors import AnybitError, ModelFileError
from tests.models import mlp, model


@pytest.fixture
def external(tmp_path):
    """A model whose weights are in ``w.bin``."""
    proto = mlp(hidden=64)
    path = tmp_path / "model.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    return path


def test_path_text_bytes_proto_and_ir_model_read_the_same(tmp_path):
    proto = mlp()
    path = tmp_path / "m.onnx"
    onnx.save(proto, path)
    sources = [path, str(path), path.read_bytes(), proto, load(proto)]
    texts = {str(load(s).graph) for s in sources}
    assert len(texts) == 1


def test_the_source_is_not_changed(tmp_path):
    proto = mlp(domain="onnx.brevitas")
    before = proto.SerializeToString(deterministic=True)
    model = load(proto)
    again = load(model)
    again.graph.node(0).name = "changed"
    assert proto.SerializeToString(deterministic=True) == before
    assert model.graph.node(0).name != "changed"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "graph"),
        (b"hello world, this is no model", "no ONNX protobuf"),
        (b"\x08\x01", "without a graph"),
        (mlp().SerializeToString()[:200], "truncated"),
    ],
)
def test_bytes_that_are_no_model_are_refused(data, text, tmp_path):
    with pytest.raises(ModelFileError, match=text):
        load(data)
    path = tmp_path / "x.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match=r"x\.onnx"):
        load(path)


def test_random_bytes_never_crash():
    rng = np.random.default_rng(0)
    good = mlp().SerializeToString()
    for _ in range(300):
        data = bytearray(good)
        for position in rng.integers(0, len(data), 5):
            data[position] = rng.integers(0, 256)
        try:
            load(bytes(data))
        except AnybitError as error:
            assert "\n" not in str(error)


def test_missing_file_and_folder_are_refused(tmp_path):
    with pytest.raises(ModelFileError, match="No such file"):
        load(tmp_path / "absent.onnx")
    with pytest.raises(ModelFileError, match="directory"):
        load(tmp_path)


def test_external_data_stays_on_disk(external):
    weights = load(external).graph.initializers["w"].const_value
    assert type(weights).__name__ == "ExternalTensor"
    assert isinstance(weights.numpy().base, np.memmap | np.ndarray)


def test_external_data_of_a_proto_needs_a_folder(external):
    proto = onnx.load(external, load_external_data=False)
    with pytest.raises(ModelFileError, match="base_dir"):
        load(proto)
    assert load(proto, base_dir=external.parent).graph.initializers["w"].const_value.numpy().shape == (6, 64)


def test_missing_and_truncated_external_data_are_refused(external):
    data = external.parent / "w.bin"
    whole = data.read_bytes()
    data.write_bytes(whole[:-8])
    with pytest.raises(ModelFileError, match="truncated"):
        load(external)
    data.unlink()
    with pytest.raises(ModelFileError, match="missing"):
        load(external)


@pytest.mark.parametrize("location", ["../w.bin", "/etc/passwd", "a/../../w.bin", "", "w.bin\0"])
def test_external_data_outside_of_the_folder_is_refused(external, location):
    (external.parent.parent / "w.bin").write_bytes(b"\0" * 10_000)
    proto = onnx.load(external, load_external_data=False)
    for entry in proto.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = location
    external.write_bytes(proto.SerializeToString())
    with pytest.raises(ModelFileError, match="outside"):
        load(external)


def test_a_link_out_of_the_folder_is_refused(external, tmp_path):
    outside = tmp_path.parent / f"{tmp_path.name}-outside.bin"
    (external.parent / "w.bin").rename(outside)
    (external.parent / "w.bin").symlink_to(outside)
    with pytest.raises(ModelFileError, match="outside"):
        load(external)


def test_two_annotations_of_one_tensor_are_merged(tmp_path):
    proto = mlp()
    for key, value in (("finn_datatype", "INT4"), ("tensor_layout", "['N', 'C']"), ("finn_datatype", "INT8")):
        annotation = proto.graph.quantization_annotation.add(tensor_name="h")
        annotation.quant_parameter_tensor_names.add(key=key, value=value)
    save(load(proto), tmp_path / "m.onnx")
    (merged,) = onnx.load(tmp_path / "m.onnx").graph.quantization_annotation
    entries = {e.key: e.value for e in merged.quant_parameter_tensor_names}
    assert entries == {"finn_datatype": "INT4", "tensor_layout": "['N', 'C']"}


def test_renaming_a_weight_leaves_the_proto_alone():
    proto = mlp()
    load(proto).graph.initializers["w"].name = "v"
    assert "w" in {t.name for t in proto.graph.initializer}


def test_repairs_stay_known_when_a_model_is_loaded_again():
    loaded = load(mlp(domain="onnx.brevitas"))
    assert repairs(load(loaded)) == repairs(loaded) != ()


_PLACES = ("_LARGE_FILE", "_MIDDLE_FILE")
"""Sizes from which on weights stay in the file, and in its bytes."""


@pytest.mark.parametrize("place", _PLACES)
@pytest.mark.parametrize("change", ["intact", "truncated", "garbage"])
def test_large_files_keep_their_weights_where_they_are(tmp_path, monkeypatch, change, place):
    monkeypatch.setattr(f"anybit.io.reading.{place}", 1)
    monkeypatch.setattr("anybit.io.files.wire._LARGE", 64)
    proto = mlp(hidden=64)
    path = tmp_path / "m.onnx"
    data = proto.SerializeToString()
    path.write_bytes({"intact": data, "truncated": data[:-7], "garbage": b"\xff" * 50}[change])
    if change != "intact":
        with pytest.raises(ModelFileError, match=r"m\.onnx"):
            load(path)
        return
    loaded = load(path)
    weights = loaded.graph.initializers["w"].const_value
    assert type(weights).__name__ == "LazyTensor"
    path.unlink()
    assert weights.numpy().flags.aligned
    np.testing.assert_array_equal(weights.numpy(), onnx.numpy_helper.to_array(proto.graph.initializer[0]))
    assert compare(proto, loaded, tolerance=0).equal


def test_a_large_file_that_shrinks_after_loading_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("anybit.io.reading._LARGE_FILE", 1)
    monkeypatch.setattr("anybit.io.files.wire._LARGE", 64)
    path = tmp_path / "m.onnx"
    path.write_bytes(mlp(hidden=64).SerializeToString())
    loaded = load(path)
    with path.open("r+b") as file:
        file.truncate(10)
    with pytest.raises(ModelFileError, match="cut short"):
        loaded.graph.initializers["w"].const_value.numpy()


@pytest.mark.parametrize("indices", [[1, 3], [[0, 1], [1, 1]]])
def test_sparse_initializers_become_dense(indices):
    proto = model([helper.make_node("Add", ["x", "w"], ["y"])], {}, inputs={"x": [2, 2]}, outputs=["y"])
    values = onnx.numpy_helper.from_array(np.float32([5, 7]), "w")
    sparse = helper.make_sparse_tensor(values, onnx.numpy_helper.from_array(np.int64(indices), "i"), [2, 2])
    proto.graph.sparse_initializer.append(sparse)
    read = load(proto)
    assert [r.rule for r in repairs(read)] == ["sparse"]
    assert read.graph.initializers["w"].const_value.numpy().tolist() == [[0, 5], [0, 7]]
    sparse.indices.CopyFrom(onnx.numpy_helper.from_array(np.int64([1, 99]), "i"))
    proto.graph.sparse_initializer[0].CopyFrom(sparse)
    with pytest.raises(ModelFileError, match="sparse"):
        load(proto)


def _field(number: int, content: bytes) -> bytes:
    """One field of bytes in protobuf's wire format."""
    size, length = len(content), bytearray()
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([number << 3 | 2, *length, size]) + content


def _graph_in_two_fields(proto: onnx.ModelProto) -> bytes:
    first, second = onnx.ModelProto(), onnx.ModelProto()
    first.CopyFrom(proto)
    del first.graph.initializer[2:]
    second.graph.initializer.extend(proto.graph.initializer[2:])
    return first.SerializeToString() + second.SerializeToString()


def _data_twice(proto: onnx.ModelProto, *, last: int) -> bytes:
    """The first initializer comes with other data first, of a size that stays in the file or does not."""
    other = onnx.ModelProto()
    other.CopyFrom(proto)
    tensor = other.graph.initializer[0]
    own = tensor.raw_data
    tensor.raw_data = bytes(last)
    twice = _field(5, tensor.SerializeToString() + _field(9, own))
    del other.graph.initializer[0]
    graph = twice + other.graph.SerializeToString()
    other.ClearField("graph")
    return other.SerializeToString() + _field(7, graph)


@pytest.mark.parametrize("place", _PLACES)
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize(
    "write",
    [_graph_in_two_fields, lambda proto: _data_twice(proto, last=4096), lambda proto: _data_twice(proto, last=8)],
)
def test_large_files_may_split_and_repeat_fields_as_protobuf_does(tmp_path, monkeypatch, write, order, place):
    nodes = [helper.make_node("Add", ["x" if i == 0 else f"h{i}", f"w{i}"], [f"h{i + 1}"]) for i in range(4)]
    sizes = [(16, 1), (1, 1)] if order else [(1, 1), (16, 1)]  # of which one stays in the file
    values = {f"w{i}": np.full(sizes[i % 2], i + 1, np.float32) for i in range(4)}
    proto = model(nodes, values, inputs={"x": [16, 1]}, outputs=["h4"])
    data = write(proto)
    assert onnx.ModelProto.FromString(data) == proto
    monkeypatch.setattr(f"anybit.io.reading.{place}", 1)
    monkeypatch.setattr("anybit.io.files.wire._LARGE", 64)
    (tmp_path / "m.onnx").write_bytes(data)
    loaded = load(tmp_path / "m.onnx")
    for name, array in values.items():
        np.testing.assert_array_equal(loaded.graph.initializers[name].const_value.numpy(), array)
