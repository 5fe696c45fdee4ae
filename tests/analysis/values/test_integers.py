"""Random graphs of integer operators, whose results wrap around: no run leaves the bounds, nor the grid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests.analysis.values.soundness import check_sound
from tests.models import model
from tests.strategies import Array, examples

_SHAPE = (3, 4)
_TYPES = [TensorProto.INT8, TensorProto.UINT8, TensorProto.INT32, TensorProto.UINT32, TensorProto.INT64]
_LARGE = (TensorProto.INT32, TensorProto.INT64, TensorProto.UINT32)
_PAIRS = ("Add", "Sub", "Mul", "Max", "Min", "BitwiseAnd", "BitwiseOr", "Where")
_BY_CONSTANT = ("Add", "Sub", "Mul", "Div", "Mod", "Clip")
_ALONG_AXES = ("ReduceSum", "ReduceMax", "ReduceProd", "ReduceL1", "ReduceSumSquare", "CumSum")
Draw = Callable[..., Any]


class _Graph:
    """A graph that grows by one tensor at a time, all of one element type and shape."""

    def __init__(self, draw: Draw, elem_type: int) -> None:
        self.draw, self.elem_type = draw, elem_type
        self.dtype = np.dtype(helper.tensor_dtype_to_np_dtype(elem_type))
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}
        self.tensors = ["x", "z"]

    def constant(self, low: int, high: int, *, shape: tuple[int, ...] = (), dtype: Any = None) -> str:
        """A drawn constant, which is not negative where the type is not."""
        low = 0 if self.dtype.kind == "u" else low
        drawn = self.draw(st.lists(st.integers(low, high), min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(drawn, dtype or self.dtype).reshape(shape)
        return name

    def add(self, op_type: str, inputs: list[str], **attributes: Any) -> str:
        """A node, and the name of what it makes."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], **attributes))
        return name

    def grow(self) -> None:
        """Draws an operator, and what it reads."""
        x, y = (self.draw(st.sampled_from(self.tensors)) for _ in range(2))
        kinds = [*_PAIRS, *(f"{op} constant" for op in _BY_CONSTANT), "Abs", "Sign"]
        kinds += ["Neg"] if self.dtype.kind == "i" else ["BitShift"]
        kinds += [*_ALONG_AXES, "MatMul"] if self.elem_type in _LARGE else []
        kinds += ["Pow", "Relu"] if self.elem_type in (TensorProto.INT32, TensorProto.INT64) else []
        kind = self.draw(st.sampled_from(kinds))
        self.tensors.append(self._made(kind, x, y))

    def _made(self, kind: str, x: str, y: str) -> str:
        match kind:
            case "Where":
                return self.add(kind, [self.constant(0, 1, shape=_SHAPE, dtype=np.bool_), x, y])
            case "BitShift":
                return self.add(kind, [x, self.constant(0, 4)], direction=self.draw(st.sampled_from(["LEFT", "RIGHT"])))
            case "Div constant" | "Mod constant":
                divisor = self.constant(0, 6)
                self.constants[divisor] = self.constants[divisor] + self.dtype.type(1)
                return self.add(kind.split(maxsplit=1)[0], [x, divisor])
            case "Clip constant":
                return self.add("Clip", [x, self.constant(-5, 0), self.constant(0, 9)])
            case "Pow":
                return self.add(kind, [x, self.constant(0, 3)])
            case "MatMul":
                return self.add(kind, [x, self.constant(-5, 5, shape=(_SHAPE[1], _SHAPE[1]))])
            case "CumSum":
                return self.add(kind, [x, self.constant(0, 1, dtype=np.int64)])
            case _ if kind in _ALONG_AXES:
                reduced = self.add(kind, [x, self.constant(0, 1, shape=(1,), dtype=np.int64)], keepdims=1)
                shape = self.constant(0, 0, shape=(2,), dtype=np.int64)
                self.constants[shape] = np.asarray(_SHAPE, np.int64)
                return self.add("Expand", [reduced, shape])
            case _ if kind.endswith("constant"):
                names = [x, self.constant(-5, 5, shape=self.draw(st.sampled_from([(), (4,), (3, 1)])))]
                return self.add(kind.split(maxsplit=1)[0], names if self.draw(st.booleans()) else names[::-1])
            case _:
                return self.add(kind, [x, y] if kind in _PAIRS else [x])


@pytest.mark.parametrize("elem_type", _TYPES)
@given(st.data())
@examples(300)
def test_integers_that_wrap_around_stay_within_bounds(elem_type: int, data: st.DataObject):
    graph = _Graph(data.draw, elem_type)
    for _ in range(data.draw(st.integers(1, 6))):
        graph.grow()
    outputs = [node.output[0] for node in graph.nodes]
    inputs = dict.fromkeys(("x", "z"), _SHAPE)
    proto = model(graph.nodes, graph.constants, inputs=inputs, outputs=outputs, input_type=elem_type)
    for output in proto.graph.output:
        output.type.tensor_type.elem_type = elem_type
    info = np.iinfo(graph.dtype)
    ends = [(0, 9), (3, 3), (max(info.min, -5), 7), (int(info.min) // 2, int(info.max) // 2)]
    limits = data.draw(st.sampled_from(ends))
    with np.errstate(all="ignore"):
        check_sound(proto, dict.fromkeys(("x", "z"), limits), 6)
