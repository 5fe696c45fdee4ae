"""Every real model in each format that stock ONNX Runtime runs: as the file says at every level, or a note says why."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

import anybit
from anybit.formats.convert import STANDARD_FORMATS, translate
from tests.formats.stock_runtime.stock_models import LEVELS, departs, stock_outputs
from tests.integration.corpus import Case, executable_files, needs_corpus

_LARGE = ("mobilenetv1_4w4a_224", "resnet18_4w4a")
_HUB = "qonnx"
_CASES = [c for c in executable_files() if "dynamo" not in c.name and not c.name.startswith(_LARGE)]


@needs_corpus
@pytest.mark.parametrize("to", [*(f.value for f in STANDARD_FORMATS), _HUB])
@pytest.mark.parametrize("case", _CASES, ids=lambda c: c.name)
def test_stock_onnx_runtime_computes_what_is_written(case: Case, to: str):
    options = {"embed_functions": True, "pack": True} if to == _HUB else {"standard": True}
    written = translate(case.path, to, **options)
    proto = anybit.to_proto(written.model)
    assert to == _HUB or {n.domain for n in proto.graph.node} == {""}
    (source,) = proto.graph.input
    batch = source.type.tensor_type.shape.dim[0].dim_value
    dtype = helper.tensor_dtype_to_np_dtype(source.type.tensor_type.elem_type)
    feeds = {source.name: case.inputs[: batch or 2].astype(dtype)}
    expected = stock_outputs(proto, feeds, level="none")
    (reference,) = anybit.Session(written.model, engine="reference").run(feeds).values()
    np.testing.assert_allclose(*expected.values(), reference, rtol=0, atol=1e-5 * float(np.abs(reference).max()))
    departing = [level for level in LEVELS if departs(expected, proto, feeds, level=level)]
    assert written.notes or not departing, departing
    for remedy in {n.remedy for n in written.notes} if departing else ():
        assert not departs(expected, proto, feeds, remedy=remedy)
