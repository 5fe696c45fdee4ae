"""SetInputShape: sizes that the graph can follow, and clear words where it cannot."""

from __future__ import annotations

import numpy as np
import pytest

from anybit import load
from anybit.cleanup.set_input_shape import SetInputShape
from anybit.errors import AnybitError, InvalidModelError, UsageError
from anybit.graph.editor import EditResult
from anybit.runtime.session import Session
from tests.integration.corpus import executable_files, needs_corpus
from tests.models import mlp, model, parameters, quant
from tests.passes.surgery.surgery import branches, node, text, valid


def _cnn(target=None):
    """Conv, a quantiser per channel, GlobalAveragePool, or a Reshape to `target`, then Gemm."""
    rng = np.random.default_rng(0)
    nodes = [
        node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        quant("c", "q"),
        node("GlobalAveragePool", ["q"], ["p"]) if target is None else node("Identity", ["q"], ["p"]),
        node("Flatten", ["p"], ["f"], name="flat")
        if target is None
        else node("Reshape", ["p", "t"], ["f"], name="shape"),
        node("Gemm", ["f", "g"], ["y"], name="fc", transB=1),
    ]
    weights = {"w": rng.normal(size=(2, 3, 3, 3)).astype(np.float32)} | parameters(
        "q", scale=np.full((2, 1, 1), 0.25, np.float32)
    )
    features = 2 if target is None else 2 * 8 * 8
    weights["g"] = rng.normal(size=(5, features)).astype(np.float32)
    if target is not None:
        weights["t"] = np.array(target, np.int64)
    return model(nodes, weights, inputs={"x": [1, 3, 8, 8]}, outputs=["y"])


def _shapes(read) -> dict[str, str]:
    return {str(o.name): str(o.shape) for n in read.graph for o in n.outputs}


def test_before_and_after():
    read = load(_cnn())
    before = text(read)
    assert SetInputShape({"x": (1, 3, 12, 10)})(read).modified
    assert text(read) == before
    assert str(read.graph.inputs[0].shape) == "[1,3,12,10]"
    assert _shapes(read)["c"] == "[1,2,12,10]"
    assert _shapes(read)["y"] == "[1,5]"
    assert not SetInputShape({"x": (1, 3, 12, 10)})(read).modified
    valid(read)


@pytest.mark.parametrize(
    "shape", [(1, 3, 12, 10), (4, 3, 8, 8), (2, 3, 16, 4), ("N", 3, 8, 8), (1, 3, "H", "W"), ("N", 3, "H", 6)]
)
def test_it_runs_on_the_new_shape(shape):
    read = load(_cnn())
    SetInputShape({"x": shape})(read)
    assert [d if isinstance(d, int) else str(d) for d in read.graph.inputs[0].shape] == list(shape)
    x = np.random.default_rng(1).normal(size=[{"N": 3, "H": 5, "W": 7}.get(d, d) for d in shape]).astype(np.float32)
    made = Session(read, engine="reference").run(x)["y"]
    rows = [Session(_sized(x.shape), engine="reference").run(x[i : i + 1])["y"] for i in range(len(x))]
    np.testing.assert_array_equal(made, np.concatenate(rows))


def _sized(shape):
    proto = _cnn()
    for d, size in zip(proto.graph.input[0].type.tensor_type.shape.dim[2:], shape[2:], strict=True):
        d.dim_value = size
    return proto


def test_the_batch_repairs_a_reshape_and_the_rest_follows():
    read = load(_cnn(target=(1, -1)))
    SetInputShape({"x": (4, 3, 8, 8)})(read)
    assert _shapes(read)["y"] == "[4,5]"
    x = np.random.default_rng(1).normal(size=(4, 3, 8, 8)).astype(np.float32)
    assert Session(read).run(x)["y"].shape == (4, 5)


@pytest.mark.parametrize(
    ("make", "shape", "node_name", "got"),
    [
        (lambda: _cnn(target=(1, -1)), (1, 3, 16, 8), "Gemm 'fc'", r"\[1, 256\], \[5, 128\]"),
        (lambda: _cnn(target=(1, 128)), (1, 3, 16, 8), "Reshape 'shape'", r"\[1, 2, 16, 8\] to \[1, 128\]"),
        (lambda: _cnn(target=(-1, 128)), (1, 3, 16, 8), "Reshape 'shape'", "mixes samples"),
        (lambda: _cnn(target=(-1, 128)), (1, 3, 9, 9), "Reshape 'shape'", r"\[1, 2, 9, 9\]"),
        (_cnn, (1, 4, 8, 8), "Conv 'conv'", "4 where the weights have 3"),
        (mlp, (1, 7), "MatMul 'matmul'", r"\[1, 7\], \[6, 8\]"),
    ],
)
def test_a_contradiction_names_the_node_and_changes_nothing(make, shape, node_name, got):
    read = load(make())
    before = valid(read).SerializeToString()
    with pytest.raises(InvalidModelError, match=f"{node_name}.*{got}"):
        SetInputShape({"x": shape})(read)
    assert valid(read).SerializeToString() == before


def test_a_fixed_size_that_is_now_free_is_noted():
    read = load(_cnn(target=(1, 128)))
    result = SetInputShape({"x": (1, 3, "H", 8)})(read)
    assert isinstance(result, EditResult)
    assert [n.node for n in result.notes] == ["Reshape 'shape'"]


@pytest.mark.parametrize(
    ("shapes", "error", "message"),
    [
        ({"xx": (1, 3, 8, 8)}, UsageError, "got 'xx', expected 'x'"),
        ({"x": (1, 3, 8)}, InvalidModelError, r"\(1, 3, 8\), 3 dimensions, expected 4"),
        ({"x": (1, 3, 0, 8)}, UsageError, "positive numbers, or names"),
        ({"x": (1, 3, "", 8)}, UsageError, "positive numbers, or names"),
    ],
)
def test_options_that_make_no_sense(shapes, error, message):
    with pytest.raises(error, match=message):
        SetInputShape(shapes)(load(_cnn()))


def test_inputs_of_different_batch():
    proto = model([node("Add", ["a", "b"], ["y"])], {}, inputs={"a": [1, 4], "b": [1, 4]}, outputs=["y"])
    with pytest.raises(InvalidModelError, match="inputs of different batch"):
        SetInputShape({"a": (2, 4), "b": (3, 4)})(load(proto))
    read = load(proto)
    SetInputShape({"a": (2, 4)})(read)
    assert [str(v.shape) for v in read.graph.inputs] == ["[2,4]", "[2,4]"]  # one batch for all inputs


def test_a_batch_that_is_none():
    read = load(branches())
    with pytest.raises(InvalidModelError, match="the batch cannot be changed"):
        SetInputShape({"x": (3, 4)})(read)
    assert str(read.graph.inputs[0].shape) == "[2,4]"


def test_a_free_dimension_is_fixed_without_proof():
    proto = branches()
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    read = load(proto)
    SetInputShape({"x": (3, 4)})(read)
    assert str(read.graph.inputs[0].shape) == "[3,4]"
    x = np.ones((3, 4), np.float32)
    np.testing.assert_array_equal(*(Session(m, engine="reference").run(x)["y"] for m in (read, proto)))


@needs_corpus
@pytest.mark.parametrize(
    "case", [c for c in executable_files() if c.path.parent.name == "espcn_deconv_4w4a"], ids=lambda c: c.name
)
def test_corpus_fully_convolutional(case):
    read = load(case.path)
    name = read.graph.inputs[0].name
    SetInputShape({name: (1, 1, 16, 20)})(read)
    x = case.inputs[:1, :, :16, :20]
    (y,) = Session(read, engine="reference").run(x).values()
    assert y.shape[2:] == tuple(d for d in read.graph.outputs[0].shape)[2:]


@needs_corpus
def test_corpus_never_half_changed():
    for case in executable_files():
        if "224" in case.name or "resnet" in case.name or "w05" in case.name:
            continue
        read = load(case.path)
        (value,) = read.graph.inputs
        old = list(value.shape)
        try:
            SetInputShape({str(value.name): [*old[:-1], old[-1] + 1]})(read)
        except AnybitError:
            assert list(read.graph.inputs[0].shape) == old
            continue
        assert list(read.graph.inputs[0].shape) == [*old[:-1], old[-1] + 1]
        x = np.zeros([*old[:-1], old[-1] + 1], value.dtype.numpy())
        for name, array in Session(read, engine="reference").run(x).items():
            shape = next(v.shape for v in read.graph.outputs if v.name == name)
            assert array.shape == tuple(shape), case.name
