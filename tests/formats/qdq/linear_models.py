"""Models of QuantizeLinear and DequantizeLinear, of quantisers, what they are fed, and how they are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from hypothesis import strategies as st
from onnx import TensorProto, helper

import anybit
from anybit.cleanup.infer_shapes import InferShapes
from anybit.errors import Refusal
from anybit.formats.dialect import Outcome
from anybit.graph.walk import label
from tests.models import model, parameters, quant
from tests.strategies import MODES, Array, near, parameter_shapes, positive_scales, seeds

# onnx's reference of QuantizeLinear converts the quotient to int32 before it saturates.
_LARGEST_QUOTIENT = 2.0**30

QUARTER = np.float32(0.25)


@dataclass(frozen=True)
class QuantCase:
    """One Quant node of float32 and what it is fed."""

    x: Array
    scale: Array
    zero_point: Array
    bits: int
    signed: int
    narrow: int
    mode: str

    @property
    def is_bipolar(self) -> bool:
        return self.bits == 1 and bool(self.signed)

    def hub(self, *, constant: bool = False, opset: int = 13) -> onnx.ModelProto:
        """x -> Quant -> y, x an input; or y = x + Quant(w) with w = x."""
        node = quant("w" if constant else "x", "q", signed=self.signed, narrow=self.narrow, rounding_mode=self.mode)
        values = parameters("q", scale=self.scale, zeropt=self.zero_point, bits=float(self.bits))
        last = helper.make_node("Mul" if constant else "Identity", ["x", "q"] if constant else ["q"], ["y"])
        shape = list(self.x.shape)
        return model([node, last], values | ({"w": self.x} if constant else {}), inputs={"x": shape}, outputs=["y"],
                     opset=opset)  # fmt: skip


@st.composite
def quant_cases(
    draw: st.DrawFn,
    *,
    widths: Sequence[int] = (*range(1, 9), 9, 12, 16),
    modes: Sequence[str] = MODES,
    zero_points: bool = True,
    per_axis: bool = False,
) -> QuantCase:
    """Quant nodes; X on, between and beside the integers of the grid and of the ends, and far out."""
    shape = draw(st.sampled_from([(2, 3, 4), (5,), (3, 4), (1, 4, 2, 2)]))
    scale_shape, zero_shape = draw(parameter_shapes(shape)), draw(parameter_shapes(shape)) if zero_points else ()
    if per_axis:
        scale_shape, zero_shape = _one_axis(scale_shape), ()
    bits, mode = draw(st.sampled_from(widths)), draw(st.sampled_from(modes))
    signed, narrow = draw(st.sampled_from((0, 1))), draw(st.sampled_from((0, 1)))
    if bits == 1:
        narrow = 0
    rng = np.random.default_rng(draw(seeds))
    scale = positive_scales(rng, scale_shape, np.float32)
    zero_point = rng.integers(-3, 9, zero_shape) * (rng.integers(0, 2) if zero_points else 0)
    lo, hi = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    ends = rng.choice([lo - 1, lo, lo + 1, hi - 1, hi, hi + 1], shape)
    integers = np.where(rng.random(shape) < 0.4, ends, rng.integers(lo, hi + 1, shape))
    x = near(rng, integers, np.broadcast_to(scale, shape), np.asarray(zero_point, np.float64), np.float32)
    return QuantCase(np.nan_to_num(x, nan=0.5, posinf=np.inf, neginf=-np.inf), scale,
                     np.asarray(zero_point, np.float32), bits, signed, narrow, mode)  # fmt: skip


def _one_axis(shape: tuple[int, ...]) -> tuple[int, ...]:
    kept = next((a for a, size in enumerate(shape) if size > 1), None)
    return tuple(size if a == kept else 1 for a, size in enumerate(shape))


def loaded(source: Any) -> ir.Model:
    """The model as translators take it: loaded, shapes inferred."""
    result = anybit.load(source)
    InferShapes()(result)
    return result


def onnxruntime_outputs(proto: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """A standard model in ONNX Runtime, without its inexact rewriting of QuantizeLinear and DequantizeLinear.

    Sums of products of bytes are exact on every processor: the option for that takes effect from the second level on.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def assert_same(hub: Any, other: Any, x: Array, *, step: float = 1e-3, runtime: bool = True) -> None:
    """Bit-equal results, the sign of zero aside: by the reference, and of ONNX Runtime where it has the types."""
    limit = _LARGEST_QUOTIENT * step
    tame = np.clip(np.where(np.isfinite(x), x, np.sign(x) * limit), -limit, limit).astype(x.dtype)
    models = [loaded(m) for m in (hub, other)]
    first, second = (anybit.Session(m, engine="reference").run(tame) for m in models)
    assert_equal(first, second)
    if not runtime:
        return
    exact = anybit.Session(models[0], engine="onnxruntime").run(x)
    proto = anybit.to_proto(models[1])
    assert {n.domain for n in proto.graph.node} == {""}
    onnx.checker.check_model(proto, full_check=True)
    (name,) = (i.name for i in proto.graph.input)
    assert_equal(exact, onnxruntime_outputs(proto, {name: x}))


def assert_equal(first: Mapping[str, Array], second: Mapping[str, Array]) -> None:
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


def operators(source: ir.Model) -> list[str]:
    return [n.op_type for n in source.graph.all_nodes()]


def assert_refused(outcome: Outcome, source: ir.Model) -> Refusal:
    """One refusal, which names a node that is still there."""
    (refusal,) = outcome.refusals
    assert refusal.node in {label(n) for n in source.graph.all_nodes()}
    return refusal


def linear_model(
    nodes: Sequence[onnx.NodeProto],
    initializers: Mapping[str, Any],
    *,
    shape: Sequence[int | str] | None,
    opset: int = 13,
    input_type: int = TensorProto.FLOAT,
    output_type: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A standard model x -> y; an initializer is an array, or a tensor as onnx makes it."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("x", input_type, shape)],
        [helper.make_tensor_value_info("y", output_type, None)],
        [_tensor(n, a) for n, a in initializers.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=11)


def _tensor(name: str, value: Any) -> onnx.TensorProto:
    if isinstance(value, onnx.TensorProto):
        value.name = name
        return value
    return onnx.numpy_helper.from_array(np.asarray(value), name)


def q_dq(
    *,
    dtype: int = TensorProto.INT8,
    zero_point: int | None = 0,
    scale: Any = QUARTER,
    clip: tuple[int | None, int | None] | None = None,
    **attributes: Any,
) -> tuple[list[onnx.NodeProto], dict[str, Any]]:
    """QuantizeLinear, perhaps Clip, DequantizeLinear from x to y."""
    names = ["s"] if zero_point is None else ["s", "z"]
    values: dict[str, Any] = {"s": scale}
    if zero_point is not None:
        values["z"] = helper.make_tensor("z", dtype, np.shape(scale), [zero_point] * int(np.size(scale)))
    nodes = [helper.make_node("QuantizeLinear", ["x", *names], ["q"], name="quantize", **attributes)]
    last = "q"
    if clip is not None:
        bounds = ["" if b is None else n for n, b in zip(("lo", "hi"), clip, strict=True)]
        values |= {n: helper.make_tensor(n, dtype, [], [b]) for n, b in zip(("lo", "hi"), clip, strict=True)
                   if b is not None}  # fmt: skip
        nodes.append(helper.make_node("Clip", ["q", *bounds], ["c"], name="clip"))
        last = "c"
    nodes.append(helper.make_node("DequantizeLinear", [last, *names], ["y"], name="dequantize", **attributes))
    return nodes, values
