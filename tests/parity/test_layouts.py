"""Names of axes: where both say something of a tensor of a real network, they say the same."""

from __future__ import annotations

import pytest

pytest.importorskip("qonnx", reason="the qonnx package is not installed: make test-qonnx")

import warnings

from qonnx.transformation.infer_data_layouts import InferDataLayouts

import anybit
from tests.integration.corpus import CORPUS, needs_corpus
from tests.parity.bridge import wrapped

FILES = ("cnv_2w2a/model.onnx", "tfc_1w1a/model.onnx", "trunc_avgpool_floor/model.onnx", "jet_mlp_6b/model.onnx")
GUESSED = {"Reshape", "Flatten"}
"""Behind these the package keeps the names of the input, of which there are more than axes."""


@needs_corpus
@pytest.mark.parametrize("file", FILES)
def test_the_same_axes(file):
    model = anybit.clean(CORPUS / file, batch=1)
    theirs = wrapped(anybit.to_proto(model))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Assuming")
        theirs = theirs.transform(InferDataLayouts())
    ours = {t.name: t.layout for t in anybit.types(model)}
    behind = {o for n in theirs.graph.node if n.op_type in GUESSED for o in n.output}
    compared = 0
    for value in theirs.get_all_tensor_names():
        stated = theirs.get_tensor_layout(value)
        known = ours.get(value)
        if known is None or not stated or len(stated) != len(known) or value in behind:
            continue
        assert list(known) == list(stated), value
        compared += 1
    assert compared > 3
