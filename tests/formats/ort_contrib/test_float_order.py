"""An operator is read only where the installed kernels round as the reference: asked of them, and of impostors."""

from __future__ import annotations

import numpy as np
import pytest

from anybit.formats.convert import translate
from anybit.formats.ort_contrib import float_order
from anybit.formats.ort_contrib.float_order import Probe, is_confirmed, onnxruntime_output
from tests.ops.contributed.calls import CALLS
from tests.strategies import Array

_PROBED = (
    "MatMulIntegerToFloat", "QLinearAdd", "QLinearAveragePool", "QLinearConcat", "QLinearGlobalAveragePool",
    "QLinearLeakyRelu", "QLinearMatMul", "QLinearMul", "QLinearSoftmax", "QLinearWhere",
)  # fmt: skip


@pytest.mark.parametrize("op_type", _PROBED)
@pytest.mark.parametrize("release", ["1.32", "9.99"])
def test_the_installed_kernels_are_confirmed_by_few_and_by_many_probes(op_type: str, release: str):
    assert is_confirmed(op_type, release, "x86_64", onnxruntime_output)


def _scales(probe: Probe) -> list[tuple[np.float32, int]]:
    """Scale and zero point of both operands and of the output."""
    return [(np.float32(probe.inputs[k]), int(probe.inputs[k + 1])) for k in (1, 4, 6)]


def _saturated(probe: Probe, levels: Array) -> Array:
    info = np.iinfo(probe.inputs[0].dtype)
    return np.clip(levels, info.min, info.max).astype(probe.inputs[0].dtype)


def _by_real_numbers(probe: Probe) -> Array:
    """Dequantised, added or multiplied and quantised again, each step rounded to float32."""
    (p, pz), (q, qz), (y, yz) = _scales(probe)
    a, b = ((probe.inputs[k].astype(np.float32) - z) * s for k, s, z in ((0, p, pz), (3, q, qz)))
    return _saturated(probe, np.rint((a + b if probe.op_type == "QLinearAdd" else a * b) / y) + yz)


def _in_float64(probe: Probe) -> Array:
    """As exact as an integer kernel with long multipliers."""
    (p, pz), (q, qz), (y, yz) = _scales(probe)
    a, b = (probe.inputs[k].astype(np.float64) - z for k, z in ((0, pz), (3, qz)))
    if probe.op_type == "QLinearAdd":
        return _saturated(probe, np.rint(a * (float(p) / float(y)) + b * (float(q) / float(y)) + yz))
    return _saturated(probe, np.rint(a * b * (float(p) * float(q) / float(y))) + yz)


def _without_fma(probe: Probe) -> Array:
    """The stated order of QLinearAdd, but the products rounded to float32 before they are added."""
    (p, pz), (q, qz), (y, yz) = _scales(probe)
    p, q = np.float32(p / y), np.float32(q / y)
    fixed = np.float32(yz - np.float32(p * np.float32(pz) + np.float32(qz) * q))
    a, b = (probe.inputs[k].astype(np.float32) for k in (0, 3))
    if probe.inputs[0].shape[-1] == 1:
        return _saturated(probe, np.rint(b * q + (a * p + fixed)))
    return _saturated(probe, np.rint(a * p + (b * q + fixed)))


@pytest.mark.parametrize(
    ("op_type", "impostor"),
    [
        ("QLinearAdd", _by_real_numbers),
        ("QLinearAdd", _in_float64),
        ("QLinearAdd", _without_fma),
        ("QLinearMul", _by_real_numbers),
        ("QLinearMul", _in_float64),
    ],
)
@pytest.mark.parametrize(("release", "processor"), [("1.32", "x86_64"), ("9.99", "aarch64")])
def test_kernels_of_another_order_are_told_from_them(op_type, impostor, release: str, processor: str):
    assert not is_confirmed(op_type, release, processor, impostor)


@pytest.mark.parametrize("op_type", _PROBED)
def test_one_other_byte_is_enough(op_type: str):
    def run(probe: Probe) -> Array:
        y = onnxruntime_output(probe).copy()
        last = y.reshape(-1)[-1:]
        last[:] = np.nextafter(last, np.float32(np.inf)) if y.dtype == np.float32 else last ^ 1
        return y

    assert not is_confirmed(op_type, "1.32", "x86_64", run)


@pytest.mark.parametrize("op_type", [op for op in _PROBED if op != "QLinearMatMul"])
def test_what_is_not_confirmed_is_refused_by_name(op_type: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(float_order, "_is_confirmed_here", lambda _: False)
    proto = CALLS[op_type](np.random.default_rng(0), np.uint8).proto()
    refusals = translate(proto, "qonnx").refusals
    problem = f"the order of float operations of {op_type} in this ONNX Runtime is not known"
    assert (refusals[0].node, refusals[0].problem) == (f"{op_type} 'call'", problem)
    assert refusals[0].got.startswith("1.")


def test_operators_without_an_order_are_not_probed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(float_order, "_is_confirmed_here", lambda _: False)
    proto = CALLS["NhwcMaxPool"](np.random.default_rng(0), np.uint8).proto()
    assert "order" not in str(translate(proto, "qonnx").refusals)
