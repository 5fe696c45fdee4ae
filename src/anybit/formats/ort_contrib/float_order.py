"""float_order: whether the installed ONNX Runtime rounds in the order that the reference states.

`anybit.ops.contributed` has the order of float operations that the kernels of one release have on one kind of
processor. Others add in integers, or round where these do not, and give another byte next to ties. So the installed
kernels are asked first: the bytes that they compute are compared with those of the reference. A reader may replace an
operator only where they agree, since it promises the byte that ONNX Runtime gives, each time.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.errors import Refusal
from anybit.graph.walk import label
from anybit.ops.contributed import DOMAIN
from anybit.ops.contributed.kernels import compile_contributed
from anybit.ops.contributed.softmax import BY_AXIS
from anybit.ops.standard.kernels import compile_node

_COMPARED = frozenset(
    (
        ("1.32", "x86_64"),
        ("1.32", "AMD64"),  # x86-64, as Windows names it
    )
)
"""Releases and processors whose kernels the tests have compared with the reference, for random scales by the thousand.

They are probed with one set of scales, which tells a processor without AVX2 and FMA; others with many.
"""
_PROBES, _MORE_PROBES = 1, 16
_OPSET = 21
_IR_VERSION = 10
_CLASSES, _TERMS, _COLUMNS, _SIZE = 12, 24, 16, 9


@dataclass(frozen=True)
class Probe:
    """One node with its inputs, whose output depends on the order of float operations.

    Attributes:
        op_type: The operator.
        inputs: All inputs in order.
        fed: Places of those that the model is fed; the others are constants of it.
        attributes: Its attributes.
        domain: That of the operator.
    """

    op_type: str
    inputs: tuple[Array, ...]
    fed: tuple[int, ...] = (0,)
    attributes: Mapping[str, int | list[int]] = field(default_factory=dict[str, "int | list[int]"])
    domain: str = DOMAIN

    def node(self) -> ir.Node:
        """The node; its inputs are named by their places, and have their types."""
        values = [ir.val(f"i{k}", ir.DataType.from_numpy(a.dtype), a.shape) for k, a in enumerate(self.inputs)]
        return ir.node(self.op_type, values, dict(self.attributes), domain=self.domain)


Run = Callable[[Probe], Array]
"""What computes a probe's output."""


def refusal_of_order(node: ir.Node) -> Refusal | None:
    """A refusal where the order of float operations of a node's operator is not known in the installed ONNX Runtime."""
    if node.op_type not in _MAKERS or _is_confirmed_here(node.op_type):
        return None
    return Refusal(
        problem=f"the order of float operations of {node.op_type} in this ONNX Runtime is not known",
        node=label(node),
        got=" on ".join(_here()),
        expected="kernels that give the bytes of the reference, as those of 1.32 on x86-64 with AVX2 and FMA",
    )


def is_confirmed(op_type: str, release: str, processor: str, run: Run) -> bool:
    """Whether an engine gives the reference's output for all probes of an operator, which are more for a new release.

    Args:
        op_type: Operator that there are probes of.
        release: Of ONNX Runtime, by its first two numbers.
        processor: As the platform names it.
        run: The engine.
    """
    rounds = _PROBES if (release, processor) in _COMPARED else _MORE_PROBES
    return all(np.array_equal(run(probe), _reference(probe)) for probe in probes(op_type, rounds))


def probes(op_type: str, rounds: int) -> Generator[Probe]:
    """Probes of an operator, the same ones each time: for both types of bytes, in so many rounds of random scales."""
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        for dtype in (np.dtype(np.uint8), np.dtype(np.int8)):
            yield from _MAKERS[op_type](op_type, rng, dtype)


def onnxruntime_output(probe: Probe) -> Array:
    """What the installed ONNX Runtime computes, without any optimisation of the graph."""
    import onnxruntime

    node = probe.node()
    (y,) = node.outputs
    y.name = "y"
    fed = [v for k, v in enumerate(node.inputs) if k in probe.fed and v is not None]
    constants = [v for k, v in enumerate(node.inputs) if k not in probe.fed and v is not None]
    for value in constants:
        value.const_value = ir.tensor(probe.inputs[int(str(value.name)[1:])], name=value.name)
    imports = {"": _OPSET, DOMAIN: 1}
    graph = ir.Graph(fed, [y], nodes=[node], initializers=constants, opset_imports=imports, name="probe")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    proto = ir.to_proto(ir.Model(graph, ir_version=_IR_VERSION)).SerializeToString()
    session = onnxruntime.InferenceSession(proto, options, ["CPUExecutionProvider"])
    return np.asarray(session.run(None, {f"i{k}": probe.inputs[k] for k in probe.fed})[0])


def _reference(probe: Probe) -> Array:
    node = probe.node()
    kernel = compile_contributed(node) or compile_node(node, _OPSET)
    return kernel(probe.inputs)[0]


@cache
def _is_confirmed_here(op_type: str) -> bool:
    return is_confirmed(op_type, *_here(), onnxruntime_output)


def _here() -> tuple[str, str]:
    """Release of the installed ONNX Runtime and processor."""
    return ".".join(version("onnxruntime").split(".")[:2]), platform.machine()


_Maker = Callable[[str, np.random.Generator, np.dtype[Any]], Generator[Probe]]


def _bytes(rng: np.random.Generator, dtype: np.dtype[Any], *shape: int) -> Array:
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)


def _all_bytes(dtype: np.dtype[Any]) -> Array:
    info = np.iinfo(dtype)
    return np.arange(info.min, info.max + 1).astype(dtype)


def _ends(rng: np.random.Generator, dtype: np.dtype[Any], low: float = 0.01, high: float = 0.2) -> tuple[Array, Array]:
    """A random scale between `low` and `high`, and a random zero point, for one operand of a probe."""
    return np.asarray(rng.uniform(low, high), np.float32), _bytes(rng, dtype)


def _pair(op_type: str, rng: np.random.Generator, dtype: np.dtype[Any]) -> Generator[Probe]:
    """All pairs of bytes, each operand the repeated one in turn."""
    least = 0.01 if op_type == "QLinearAdd" else 0.1
    known = (*_ends(rng, dtype), *_ends(rng, dtype), *_ends(rng, dtype, least, 20 * least))
    column, row = _all_bytes(dtype)[:, None], _all_bytes(dtype)[None, :]
    for a, b in ((column, row), (row, column)):
        yield Probe(op_type, (a, *known[:2], b, *known[2:]), (0, 3))


def _leaky_relu(op_type: str, rng: np.random.Generator, dtype: np.dtype[Any]) -> Generator[Probe]:
    yield Probe(op_type, (_all_bytes(dtype), *_ends(rng, dtype), *_ends(rng, dtype)))


def _where(op_type: str, rng: np.random.Generator, dtype: np.dtype[Any]) -> Generator[Probe]:
    condition, x = rng.integers(0, 2, (256,)).astype(np.bool_), _all_bytes(dtype)
    ends = [_ends(rng, dtype) for _ in range(3)]
    yield Probe(op_type, (condition, x, *ends[0], x[::-1].copy(), *ends[1], *ends[2]), (0, 1, 4))


def _concat(op_type: str, rng: np.random.Generator, dtype: np.dtype[Any]) -> Generator[Probe]:
    x, ends = _all_bytes(dtype)[None, :], [_ends(rng, dtype) for _ in range(3)]
    yield Probe(op_type, (*ends[0], x, *ends[1], x, *ends[2]), (2, 5), {"axis": 1})


def _average_pool(op_type: str, rng: np.random.Generator, dtype: np.dtype[Any]) -> Generator[Probe]:
    """Half of the outputs have the scale of the input, where ties are frequent."""
    source = _ends(rng, dtype)
    for is_last in (0, 1):
        x = _bytes(rng, dtype, 2, _SIZE, _SIZE, 3) if is_last else _bytes(rng, dtype, 2, 3, _SIZE, _SIZE)
        attributes: dict[str, int | list[int]] = {"channels_last": is_last}
        if op_type == "QLinearAveragePool":
            attributes["kernel_shape"] = [2, 3]
        for target in (source[0], np.asarray(source[0] * np.float32(rng.uniform(0.3, 1)))):
            yield Probe(op_type, (x, *source, target, _bytes(rng, dtype)), attributes=attributes)


def _softmax(op_type: str, rng: np.random.Generator, dtype: np.dtype[Any]) -> Generator[Probe]:
    x, source = _bytes(rng, dtype, 256, _CLASSES), _ends(rng, dtype, 0.001, 0.1)
    attributes: dict[str, int | list[int]] = {"axis": 1, "opset": BY_AXIS}
    yield Probe(op_type, (x, *source, *_ends(rng, dtype, 1 / 256, 1 / 50)), attributes=attributes)


def _matmul(op_type: str, rng: np.random.Generator, dtype: np.dtype[Any]) -> Generator[Probe]:
    """Few terms and small weights, which no kernel saturates in 16 bits."""
    b = rng.integers(-30, 31, (_TERMS, _COLUMNS)).astype(np.int8)
    known = (*_ends(rng, dtype), b, np.asarray(rng.uniform(0.01, 0.2), np.float32), np.zeros((), np.int8))
    yield Probe(op_type, (_bytes(rng, dtype, 256, _TERMS), *known, *_ends(rng, dtype, 0.2, 2)), (0, 3), domain="")


def _matmul_to_float(op_type: str, rng: np.random.Generator, dtype: np.dtype[Any]) -> Generator[Probe]:
    b = rng.integers(-30, 31, (_TERMS, _COLUMNS)).astype(np.int8)
    scales = np.asarray(rng.uniform(0.01, 0.2), np.float32), rng.uniform(0.01, 0.2, _COLUMNS).astype(np.float32)
    zeros = _bytes(rng, dtype), np.zeros(_COLUMNS, np.int8)
    bias = rng.normal(size=_COLUMNS).astype(np.float32)
    yield Probe(op_type, (_bytes(rng, dtype, 64, _TERMS), b, *scales, *zeros, bias))


_MAKERS: dict[str, _Maker] = {
    "MatMulIntegerToFloat": _matmul_to_float,
    "QLinearAdd": _pair,
    "QLinearAveragePool": _average_pool,
    "QLinearConcat": _concat,
    "QLinearGlobalAveragePool": _average_pool,
    "QLinearLeakyRelu": _leaky_relu,
    "QLinearMatMul": _matmul,
    "QLinearMul": _pair,
    "QLinearSoftmax": _softmax,
    "QLinearWhere": _where,
}
"""What makes the probes of an operator; operators that are not here do no float operation that could be ordered
otherwise, or become standard operators that do it."""
