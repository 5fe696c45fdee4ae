"""Models over to the package and back; and names in its style."""

from __future__ import annotations

import pytest

pytest.importorskip("qonnx", reason="the qonnx package is not installed: make test-qonnx")

import onnx
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.general import GiveReadableTensorNames, GiveUniqueNodeNames

import anybit
from tests.integration.corpus import corpus_files, needs_corpus
from tests.models import mlp
from tests.passes.surgery.test_partitions import diamond

LARGEST = 8 << 20
FILES = [c for c in corpus_files() if c.path.stat().st_size < LARGEST]


@needs_corpus
@pytest.mark.parametrize("case", FILES, ids=lambda c: c.name)
def test_every_model_is_the_same_after_a_visit(case):
    """`ModelWrapper(anybit.to_proto(m))` and back: the package changes nothing that anybit reads."""
    model = anybit.load(case.path)
    back = anybit.load(ModelWrapper(anybit.to_proto(model)).model)
    assert anybit.to_proto(back).SerializeToString(deterministic=True) == anybit.to_proto(model).SerializeToString(
        deterministic=True
    )


def assert_same_names(proto: onnx.ModelProto) -> None:
    """Of a model in the package's order of nodes, which it changes whenever it transforms."""
    ordered = ModelWrapper(proto).cleanup().cleanup()
    theirs = ordered.transform(GiveUniqueNodeNames()).transform(GiveReadableTensorNames()).model
    ours = anybit.to_proto(anybit.apply(ordered.model, STEPS).model)
    assert names(ours) == names(theirs)


STEPS = ("unique-parameters:operators=[]", "name-tensors:style=qonnx")


def names(proto: onnx.ModelProto):
    return [(n.name, list(n.input), list(n.output)) for n in proto.graph.node]


@pytest.mark.parametrize("proto", [mlp(), diamond()], ids=["mlp", "shared"])
def test_small_models_have_the_names_of_the_package(proto):
    assert_same_names(proto)


@needs_corpus
@pytest.mark.parametrize(
    "case", [c for c in FILES if c.path.stat().st_size < LARGEST // 8 and c.path.name == "model.onnx"],
    ids=lambda c: c.name,
)  # fmt: skip
def test_real_models_have_the_names_of_the_package(case):
    assert_same_names(anybit.to_proto(anybit.clean(case.path)))
