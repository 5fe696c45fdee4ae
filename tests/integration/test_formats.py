"""Every real model: to QCDQ and back, and from QCDQ to the hub; nothing differs, and every refusal has its reason."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import anybit
from anybit.cleanup.fold_transpose import FoldTranspose
from anybit.formats.convert import translate
from tests.formats.qdq.linear_models import onnxruntime_outputs, operators
from tests.integration.corpus import CORPUS, Case, departures, executable_files, needs_corpus, zoo_files

# What QuantizeLinear, Clip and DequantizeLinear cannot say of these models, how often.
_TRUNC = "QuantizeLinear and DequantizeLinear do not mean this operator"
_WIDTH = "no element type holds the integers"
_REFUSED = {
    "hgq2_jet_sat_rnd/model.onnx": {"bit widths differ between elements": 4},
    "hgq2_jet_wrap_trn/model.onnx": {_WIDTH: 4},
    "legacy_bv0103_mixnet/model.onnx": {_TRUNC: 1, "one signed bit": 1},
    "legacy_bv0103_tfc_1w1a/model.onnx": {"one signed bit": 4, "the sign of an activation is no rounding": 4},
    "mobilenetv1_4w4a_224/model.onnx": {_TRUNC: 1},
    "mobilenetv1_w05_4w4a_96/model.onnx": {_TRUNC: 1},
    "qkeras_mlp_mixed/model.onnx": {"one signed bit": 1, _WIDTH: 1},
    "resnet18_4w4a/model.onnx": {_TRUNC: 1},
    "tfc_1w1a/model.onnx": {"one signed bit": 4, "the sign of an activation is no rounding": 4},
    "trunc_avgpool_floor/model.onnx": {_TRUNC: 2},
    "trunc_avgpool_round/model.onnx": {_TRUNC: 2},
    "zoo_asym_ternary/model.onnx": {"rounding": 2, "one signed bit": 1},
    "zoo_bias_wide/model.onnx": {_WIDTH: 1},
    "zoo_rounding_modes/model.onnx": {"rounding": 3},
}
_SAMPLES = 3


def _name(case: Case) -> str:
    return case.name.replace("model_dynamo", "model").replace("model_baked", "model")


def _run(model, x):
    return next(iter(anybit.Session(model, engine="reference").run(x).values()))


def _fed(case: Case) -> np.ndarray:
    (info,) = anybit.Session(case.path).inputs
    size = info.shape[0]
    return case.inputs[: size if isinstance(size, int) else _SAMPLES].astype(info.dtype)


@needs_corpus
@pytest.mark.parametrize("case", [c for c in executable_files() if "qcdq" not in c.name], ids=lambda c: c.name)
def test_real_models_to_qcdq_and_back(case: Case):
    x = _fed(case)
    result = translate(case.path, "qcdq")
    assert Counter(r.problem for r in result.refusals) == _REFUSED.get(_name(case), {})
    expected = _run(case.path, x)
    np.testing.assert_array_equal(_run(result.model, x), expected)
    back = translate(result.model, "qonnx")
    assert not back.refusals
    assert not {"QuantizeLinear", "DequantizeLinear"} & set(operators(back.model))
    hub = translate(case.path, "qonnx").model
    FoldTranspose()(hub)  # as writers of standard operators do
    assert Counter(operators(back.model)) == Counter(operators(hub))
    np.testing.assert_array_equal(_run(back.model, x), expected)


@needs_corpus
@pytest.mark.parametrize("case", [c for c in executable_files() if "qcdq" in c.name], ids=lambda c: c.name)
def test_real_qcdq_models_to_the_hub_and_back(case: Case):
    x = _fed(case)
    result = translate(case.path, "qonnx")
    assert not result.refusals
    assert not {"QuantizeLinear", "DequantizeLinear"} & set(operators(result.model))
    expected = _run(case.path, x)
    np.testing.assert_array_equal(_run(result.model, x), expected)
    written = translate(result.model, "qcdq")
    assert not written.refusals
    np.testing.assert_array_equal(_run(written.model, x), expected)


@needs_corpus
@pytest.mark.parametrize("name", ["cnv_2w2a", "tfc_2w2a", "jet_mlp_6b", "transformer_4w8a", "espcn_deconv_4w4a"])
def test_qcdq_and_qonnx_exports_of_one_network_have_the_same_quantisers(name: str):
    ours, theirs = (translate(CORPUS / name / f, "qonnx").model for f in ("model.onnx", "model_qcdq.onnx"))

    def quantisers(model) -> Counter[tuple[float, int, int]]:
        nodes = [n for n in model.graph.all_nodes() if n.op_type == "Quant"]
        widths = [float(n.inputs[3].const_value.numpy()) for n in nodes]
        flags = [(n.attributes.get_int("signed", 1), n.attributes.get_int("narrow", 0)) for n in nodes]
        return Counter((w, *f) for w, f in zip(widths, flags, strict=True))

    assert quantisers(ours) == quantisers(theirs)
    case = Case(CORPUS / name / "model.onnx")
    x = _fed(case)
    assert departures(_run(theirs, x), _run(ours, x), None) == 0


@needs_corpus
@pytest.mark.parametrize("name", ["cnv_2w2a", "tfc_2w2a", "jet_mlp_6b", "embedding_4w"])
def test_written_models_run_in_onnx_runtime_as_in_the_reference(name: str):
    case = Case(CORPUS / name / "model.onnx")
    x = _fed(case)[:1]
    proto = anybit.to_proto(translate(case.path, "qcdq").model)
    actual = onnxruntime_outputs(proto, {proto.graph.input[0].name: x})
    (output,) = actual.values()
    expected = next(iter(anybit.Session(case.path, engine="reference").run(x).values()))
    assert departures(output, expected, None) == 0


@needs_corpus
@pytest.mark.parametrize("path", zoo_files(), ids=lambda p: p.name)
def test_zoo_models_mean_the_same_in_every_format(path: Path):
    (info,) = anybit.Session(path).inputs
    x = np.random.default_rng(0).random((1, *info.shape[1:])).astype(np.float32)
    for to in ("qcdq", "qdq", "qonnx"):
        np.testing.assert_array_equal(_run(translate(path, to).model, x), _run(path, x))
