"""Stock ONNX Runtime at each of its levels, and random nets of quantisers that formats of standard operators carry."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime
from hypothesis import strategies as st

from anybit.formats.dialect import Remedy
from tests import graphs
from tests.graphs import RandomGraph
from tests.graphs.builder import Builder
from tests.graphs.quantisers import parameter_shape, scales
from tests.models import DOMAIN
from tests.strategies import Array, seeds

_LEVEL = onnxruntime.GraphOptimizationLevel
LEVELS = {
    "none": _LEVEL.ORT_DISABLE_ALL,
    "basic": _LEVEL.ORT_ENABLE_BASIC,
    "extended": _LEVEL.ORT_ENABLE_EXTENDED,
    "all": _LEVEL.ORT_ENABLE_ALL,
}
_DEPTH = 6
_RELATIVE = 1e-5


def stock_outputs(
    proto: onnx.ModelProto, feeds: Mapping[str, Array], *, level: str = "all", remedy: Remedy | None = None
) -> dict[str, Array]:
    """A model in ONNX Runtime as it is installed, but for the remedy of a note."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = LEVELS[level]
    match remedy:
        case Remedy.DISABLE_QUANT_QDQ:
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        case Remedy.X64_PRECISION:
            options.add_session_config_entry("session.x64quantprecision", "1")
        case Remedy.BASIC:
            options.graph_optimization_level = _LEVEL.ORT_ENABLE_BASIC
        case Remedy.DISABLE_ALL:
            options.graph_optimization_level = _LEVEL.ORT_DISABLE_ALL
        case None:
            pass
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def departs(
    expected: Mapping[str, Array],
    proto: onnx.ModelProto,
    feeds: Mapping[str, Array],
    *,
    level: str = "all",
    remedy: Remedy | None = None,
) -> bool:
    """Whether ONNX Runtime's results are far from those expected, or it refuses the model."""
    try:
        return are_far(expected, stock_outputs(proto, feeds, level=level, remedy=remedy))
    except Exception:  # noqa: BLE001  its errors have no common base of their own
        return True


def are_far(expected: Mapping[str, Array], actual: Mapping[str, Array]) -> bool:
    """Whether results part by more than the rounding of float sums."""
    return any(_far(expected[name], array) for name, array in actual.items())


def _far(expected: Array, actual: Array) -> bool:
    gap = np.abs(actual.astype(np.float64) - expected.astype(np.float64))
    largest = np.abs(expected.astype(np.float64)).max(initial=0)
    return bool((np.nan_to_num(gap, nan=0.0) > _RELATIVE * largest).any())


def _quant(b: Builder, x: str) -> str:
    array = b.samples[x]
    bits = int(b.choose((2, 3, 4, 8, 8)))
    shape = parameter_shape(b, array.shape) if b.chance(0.3) else ()
    signed = int(b.chance(0.5 if array.min() >= 0 else 0.8))
    scale = scales(b, shape, float(np.abs(array).max()) * (1 if signed else 0.5), bits)
    inputs = [x, b.constant(scale), b.constant(0), b.constant(bits, np.float32)]
    return b.node("Quant", inputs, domain=DOMAIN, signed=signed, narrow=int(b.chance(0.2)), rounding_mode="ROUND")[0]


_STEPS: tuple[str, ...] = tuple(
    name
    for name in graphs.STEPS
    if name not in ("quant_bipolar", "trunc", "multi_threshold", "float_quant", "quantised_product", "qcdq", "quant")
)
_COMMON = ("convolution", "matmul", "gemm", "of_two", "activation")


@st.composite
def quantised_graphs(draw: st.DrawFn) -> RandomGraph:
    """Graphs in which most tensors are quantised to nearest, in all widths that have element types and some others."""
    seed = tuple(draw(seeds))
    rng = np.random.default_rng(seed)
    b = Builder(rng, np.float32, int(rng.choice((13, 17, 21, 25))), version=1)
    shape = graphs._SHAPES[rng.integers(len(graphs._SHAPES))]
    b.input(shape, *graphs._RANGES[rng.integers(len(graphs._RANGES))], free_batch=bool(rng.integers(2)))

    def quantise(builder: Builder) -> None:
        builder.pool.append(_quant(builder, builder.pick()))

    b.attempt(quantise)
    for _ in range(rng.integers(1, _DEPTH)):
        b.attempt(graphs.STEPS[b.choose(_STEPS) if b.chance(0.5) else b.choose(_COMMON)])
        if b.chance(0.6):
            b.attempt(quantise)
    return RandomGraph(b.model(), b.ranges, seed)
