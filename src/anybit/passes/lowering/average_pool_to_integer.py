"""AveragePoolToInteger: averages of quantised pixels as sums of integers and a shift."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.interpreter import Values, values_of
from anybit.analysis.values.tensor_values import IntegerGrid
from anybit.cleanup.infer_shapes import InferShapes
from anybit.errors import Refusal
from anybit.graph.editor import Editor
from anybit.graph.walk import all_nodes, label, shape_of
from anybit.ops.calls import is_call, operator_of
from anybit.ops.operator import DOMAIN
from anybit.ops.quant_avg_pool import QUANT_AVG_POOL, shift_of
from anybit.ops.sizes import refuse_bytes
from anybit.ops.trunc import TRUNC, TRUNC_1
from anybit.ops.zero_sign import refusal_where_told, tensors_of_told_zeros
from anybit.passes.lowering.integer_pool import Pool, Shift, pool_behind, read_pool, read_trunc
from anybit.rounding import Rounding

_WIDEST = 32  # bits that QuantAvgPool2d can name


@dataclass(frozen=True)
class AveragePoolToInteger(ir.passes.InPlacePass):
    """Replaces an average pool and the Trunc behind it by a pool of integers.

    Before: ``y = Trunc(AveragePool(x), s/4, 0, 6, s, 4)`` with x on a grid of scale s and kernel 2 x 2; after:
    ``y = Mul(QuantAvgPool2d(Div(x, s), kernel=2, ibits=4, obits=4), s)``. GlobalAveragePool and ReduceMean are pools,
    too; a Mul by the number of pixels may stand between. Where Trunc rounds by another mode than FLOOR, clips, or the
    windows are not square, the sum is a depthwise Conv with weights of 1, and a Trunc of integers stays behind it.
    The value analysis proves that the pixels are on the grid; the result is the same bit for bit.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        with Editor(model, rule="average-pool-to-integer") as edit:
            found = [
                (node, behind)
                for node in all_nodes(model.graph)
                if is_call(node, TRUNC) and (behind := pool_behind(node))
            ]
            if found:
                InferShapes()(model)
                _lower_all(edit, found)
        return edit.result()


def _lower_all(edit: Editor, found: list[tuple[ir.Node, tuple[ir.Node, ir.Node | None]]]) -> None:
    """Replaces each pool with the Trunc behind it, or notes why not."""
    values, told = values_of(edit.model), tensors_of_told_zeros(edit.model)
    for trunc, (node, mul) in found:
        refusal = refusal_where_told(trunc.outputs[0], told) or _lower(edit, values, trunc, node, mul)
        if refusal is not None:
            edit.leave(trunc, refusal)


def _lower(edit: Editor, values: Values, trunc: ir.Node, node: ir.Node, mul: ir.Node | None) -> Refusal | None:
    """Replaces the pool and the Trunc, or says why not."""
    opsets, pixels = edit.model.opset_imports, node.inputs[0]
    shape = None if pixels is None else shape_of(pixels)
    between = [n.outputs[0] for n in (node, mul) if n is not None]
    if any(len(v.uses()) != 1 or v.is_graph_output() for v in between):
        return Refusal(problem="the average is used elsewhere")
    pool = read_pool(node, opsets)
    if isinstance(pool, Refusal):
        return pool
    if pixels is None or shape is None or shape[1] is None:
        return Refusal(problem="the number of channels is not known", got=str(shape))
    shift = read_trunc(trunc, mul, pool, values[pixels], opsets)
    if isinstance(shift, Refusal):
        return shift
    grid = values[pixels].grid
    if grid is None or shift.unit < 1:
        return Refusal(problem="the output grid is finer than that of the sums", got=str(shift.unit))
    widths = _widths(pool, shift, grid)
    steps = _Steps(edit, trunc, pixels)
    steps.by_constant("Div", grid.scale.reshape(()), "integers")
    if widths is None:
        _sum_and_trunc(steps, pool, shift, trunc, shape[1], opsets)
        scale = shift.scale if shift.limits is None else shift.scale / np.asarray(shift.unit, shift.scale.dtype)
    else:
        numbers = {"kernel": pool.kernel[0], "stride": pool.strides[0], "ibits": widths[0], "obits": widths[1]}
        numbers["signed"] = int(bool((grid.lo < grid.zero_point).any()))
        attributes: dict[str, ir.Attr] = {name: ir.AttrInt64(name, number) for name, number in numbers.items()}
        attributes["data_layout"] = ir.AttrString("data_layout", "NCHW")
        steps.add(QUANT_AVG_POOL.name, [], "pool", attributes, domain=DOMAIN)
        scale = shift.scale
    steps.by_constant("Mul", scale, "scaled", last=True)
    edit.remove(trunc)
    return None


def _widths(pool: Pool, shift: Shift, grid: IntegerGrid) -> tuple[int, int] | None:
    """`ibits` and `obits` of the QuantAvgPool2d that does the same; None where there is none."""
    lo, hi = float((grid.lo - grid.zero_point).min()), float((grid.hi - grid.zero_point).max())
    results = [np.floor(end * pool.pixels / shift.unit) for end in (lo, hi)]
    if shift.rounding is not Rounding.FLOOR or not pool.is_square:
        return None
    if shift.limits is not None and not shift.limits[0] <= results[0] <= results[1] <= shift.limits[1]:
        return None
    shifted = int(np.log2(shift.unit))
    kernel, signed = pool.kernel[0], lo < 0
    for ibits in range(1, _WIDEST + 1):
        low, high = (-(2 ** (ibits - 1)), 2 ** (ibits - 1) - 1) if signed else (0, 2**ibits - 1)
        obits = (pool.pixels * (2**ibits - 1)).bit_length() - shifted
        if low <= lo and hi <= high and 2 <= obits <= _WIDEST and shift_of(kernel, ibits, obits) == shifted:
            return ibits, obits
    return None


def _sum_and_trunc(
    steps: _Steps, pool: Pool, shift: Shift, trunc: ir.Node, channels: int, opsets: dict[str, int]
) -> None:
    """Sums by a depthwise convolution, then a Trunc whose input has the scale 1."""
    lists = {"kernel_shape": pool.kernel, "strides": pool.strides, "pads": pool.pads}
    attributes: dict[str, ir.Attr] = {name: ir.AttrInt64s(name, list(values)) for name, values in lists.items()}
    attributes["group"] = ir.AttrInt64("group", channels)
    refuse_bytes(shift.scale.itemsize * channels * math.prod(pool.kernel), label(trunc))
    steps.add("Conv", [np.ones((channels, 1, *pool.kernel), shift.scale.dtype)], "sums", attributes)
    one, unit = np.ones((), shift.scale.dtype), np.asarray(shift.unit, shift.scale.dtype)
    in_bits, out_bits = shift.bits
    is_first = operator_of(trunc, opsets) is TRUNC_1
    parameters = [one, 0 * one, in_bits, *([] if is_first else [unit]), out_bits]
    steps.add(TRUNC.name, parameters, "shifted", dict(trunc.attributes), domain=DOMAIN)


class _Steps:
    """Nodes one behind the other, in front of the one that they replace."""

    def __init__(self, edit: Editor, old: ir.Node, start: ir.Value) -> None:
        self._edit = edit
        self._old = old
        self._value = start
        self._name = old.outputs[0].name
        self._output = edit.successor(old.outputs[0], "replaced")

    def add(
        self,
        op_type: str,
        constants: list[np.ndarray],
        suffix: str,
        attributes: dict[str, ir.Attr] | None = None,
        *,
        domain: str = "",
        last: bool = False,
    ) -> None:
        """One more node; the last one makes the output."""
        wish = f"{self._name}/{suffix}"
        inputs = [self._edit.constant(f"{wish}_{i}", np.asarray(c)) for i, c in enumerate(constants)]
        target = self._output if last else wish
        node = self._edit.node(op_type, [self._value, *inputs], target, domain=domain, attributes=attributes)
        node.outputs[0].type = self._output.type
        self._edit.insert(node, before=self._old)
        self._value = node.outputs[0]

    def by_constant(self, op_type: str, number: np.ndarray, suffix: str, *, last: bool = False) -> None:
        """Mul or Div by a number; none for 1, unless it is the last."""
        dtype = np.float32 if self._output.dtype is None else self._output.dtype.numpy()
        if last or number != 1:
            self.add(op_type, [np.asarray(number, dtype)], suffix, last=last)
