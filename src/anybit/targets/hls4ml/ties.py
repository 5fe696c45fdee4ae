"""Sums on rounding boundaries: where constants that hls4ml rounds could take a number to another level.

hls4ml computes arithmetic with short binary fractions exactly, and all other constants with a relative error of 2^-20.
A quantiser behind whole numbers is right all the same, unless one of them comes as near to a boundary as that. Which
ones occur is known: each is looked at, or those beside the steps of a function that rises or falls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.analysis.values.interpreter import Values
from anybit.analysis.values.tensor_values import Float64s, IntegerGrid
from anybit.arrays import Array, as_float64, is_power_of_two, lowest_bit
from anybit.errors import Refusal
from anybit.exact.chain import Chain, chain_of, extended, step_function_of
from anybit.exact.numbers import Integers
from anybit.exact.runs import beside_steps
from anybit.exact.step_function import Proof, StepFunction, undecidable
from anybit.graph.constants import constant
from anybit.graph.walk import shape_of
from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from anybit.ops.calls import is_call
from anybit.ops.quant import QUANT
from anybit.quantizers.quantizer import Quantizer, read_quant
from anybit.rounding import Rounding
from anybit.targets.hls4ml.precision import constant_bits
from anybit.targets.hls4ml.repairs import ARITHMETIC, split

_MOVES = frozenset("Flatten MaxPool Reshape Transpose".split())
_OF_FACTORS = 2.0**-19  # relative; hls4ml's factors are off by half as much
_OF_OFFSETS = 2.0**-22  # levels; offsets have 24 bits behind the point of the finest ones
_OF_FLOATS = 2.0**-24  # relative; half of it is how float32 rounds one number
_OF_ORDERS = 2.0**-22  # relative; how far sums of float32 may be apart that are added up in other orders


@dataclass(frozen=True)
class Path:
    """What is done, element by element, to whole numbers on their way to a quantiser.

    Attributes:
        root: The numbers.
        chain: The nodes behind them, without the quantiser.
        quantizer: The node.
        levels: What it means.
    """

    root: Integers
    chain: Chain
    quantizer: ir.Node
    levels: Quantizer

    @property
    def scale(self) -> float:
        """The scale of the quantiser: the real number by which two neighbouring levels differ."""
        return float(self.levels.scale.reshape(-1)[0])

    def function(self, model: ir.Model) -> StepFunction | Refusal:
        """From the numbers to the levels."""
        whole = extended(self.chain, self.quantizer, 0, model.opset_imports)
        if isinstance(whole, Refusal):
            return whole
        return step_function_of(whole, self.root, np.full(whole.channels, self.scale), self.quantizer)

    @property
    def inexact(self) -> npt.NDArray[np.bool_]:
        """By channel, whether a constant on the way is one that hls4ml rounds."""
        found = np.zeros(self.chain.channels, np.bool_)
        for step in self.chain.steps:
            if step.node.op_type in ARITHMETIC:
                operand = next(p for p in step.parameters if p is not None)
                found |= ~_exact_elements(step.node.op_type, operand)
        return found

    def errors(self, heights: Float64s) -> Float64s:
        """How far hls4ml and float32 may be apart in what is rounded, in units of levels."""
        at_zero = self.heights(np.zeros((1, 1)))
        largest = np.maximum(np.abs(heights), np.abs(at_zero))
        return _OF_FACTORS * np.abs(heights - at_zero) + _OF_OFFSETS * (at_zero != 0) + _OF_FLOATS * largest

    def noise(self, heights: Float64s) -> Float64s:
        """How far float32 may be from itself, where it adds up summands that it rounds in another order."""
        return _OF_ORDERS * np.maximum(np.abs(heights), np.abs(self.heights(np.zeros((1, 1)))))

    def heights(self, numbers: Float64s) -> Float64s:
        """What is rounded for (n, channels) numbers, in units of levels."""
        return self.chain(self.root.reals(numbers)).astype(np.float64) / self.scale


@dataclass(frozen=True)
class Risk:
    """Numbers that may be taken to another level.

    Attributes:
        count: How many.
        total: Of so many that occur.
        expected: How many there would be by chance, if where numbers lie between two boundaries had no pattern.
    """

    count: int
    total: int
    expected: float

    @property
    def is_chance(self) -> bool:
        """Whether chance explains them, rather than scales whose ratio puts numbers on boundaries."""
        return self.count <= 4 * self.expected + min(3.0, 100 * self.expected)


def is_exact(node: ir.Node) -> bool:
    """Whether hls4ml computes arithmetic with a constant as it is written: the constant is a short binary fraction."""
    known = split(node)
    return known is None or bool(_exact_elements(node.op_type, known[1]).all())


def _exact_elements(op_type: str, operand: Array) -> Array:
    array = np.atleast_1d(as_float64(operand))
    if op_type == "Div":
        return is_power_of_two(np.abs(array))
    return lowest_bit(array) >= 2.0 ** -constant_bits(array)


def are_exact(constants: Float64s) -> bool:
    """Whether hls4ml gets factors, or offsets, as they are."""
    return bool(_exact_elements("Mul", constants).all())


def inexact(quantizer: ir.Node) -> bool:
    """Whether constants that hls4ml rounds stand between a quantiser and the last product or quantiser before it."""
    return any(not is_exact(node) for node in _behind_integers(quantizer.inputs[0]))


def paths(quantizer: ir.Node, model: ir.Model, values: Values) -> list[Path] | None:
    """The ways on which whole numbers come to a quantiser; None where something else comes to it, or two meet."""
    levels = read_quant(quantizer, model)
    if isinstance(levels, Refusal):
        return None
    found: list[Path] = []
    for root, nodes in _ways(quantizer.inputs[0], values):
        numbers = None if root is None else _numbers(root, values)
        chain = None if numbers is None else _behind(numbers, nodes, model)
        if numbers is None or chain is None:
            return None
        found.append(Path(numbers, chain, quantizer, levels))
    return found


def risk_of(path: Path, model: ir.Model, near: Callable[[Path, Float64s], Float64s] = Path.errors) -> Risk | None:
    """The numbers on a path that come near a boundary; None where there are too many to look at, or infinite ones.

    A function such as Relu that makes 0 of a number and of its neighbour makes it exactly, wherever a boundary lies.

    Args:
        path: The way to a quantiser.
        model: The model that it is in.
        near: From heights to the distances that are near.
    """
    function = path.function(model)
    if isinstance(function, Refusal) or undecidable(function) is not None:
        return None
    count, expected, beside = 0, 0.0, function.proof is Proof.COMPOSITION
    tried = [beside_steps(function)] if beside else function.stretches()
    for numbers in tried:
        if isinstance(numbers, Refusal):
            return None
        rows = np.broadcast_to(numbers, (len(numbers), function.channels))
        heights = np.broadcast_to(path.heights(numbers), rows.shape)
        lower, upper = (path.heights(np.clip(rows + d, path.root.lo, path.root.hi)) for d in (-1.0, 1.0))
        if not (np.isfinite(heights).all() and np.isfinite(lower).all() and np.isfinite(upper).all()):
            return None
        cut_off = (heights == 0) & ((lower == 0) | (upper == 0)) & (path.root.lo < path.root.hi)
        errors = np.broadcast_to(near(path, heights), rows.shape)
        is_near = path.inexact & ~cut_off & is_beside(heights, errors, path.quantizer, path.levels)
        count += sum(len(np.unique(rows[is_near[:, c], c])) for c in np.flatnonzero(is_near.any(axis=0)))
        slope = np.minimum(np.abs(upper - lower) / 2 if beside else 0.5, 0.5)
        chances = np.divide(errors, slope, out=np.zeros(rows.shape), where=slope > 0)
        expected += float((np.minimum(chances, 1.0) * path.inexact).sum())
    return Risk(count, function.total, expected)


def is_beside(heights: Float64s, distance: Float64s, node: ir.Node, levels: Quantizer) -> Array:
    """Whether numbers, in units of levels, are as near to a boundary as a distance."""
    if is_call(node, BIPOLAR_QUANT):
        return np.abs(heights) < distance
    shifted = heights + (0.5 if levels.rounding is Rounding.ROUND else 0.0)
    boundary = np.rint(shifted)
    inside = (boundary > levels.lo.min()) & (boundary <= levels.hi.max())
    return inside & (np.abs(shifted - boundary) < distance)


def _behind_integers(value: ir.Value | None) -> Iterator[ir.Node]:
    """The arithmetic and the functions between a value and the last products and quantisers before it."""
    waiting, seen = [value], set[ir.Value]()
    while waiting:
        at = waiting.pop()
        maker = None if at is None or at in seen else at.producer()
        if at is None or maker is None or maker.op_type in ("MatMul", "Conv") or is_call(maker, QUANT, BIPOLAR_QUANT):
            continue
        seen.add(at)
        yield maker
        waiting += maker.inputs


def _ways(value: ir.Value | None, values: Values) -> Iterator[tuple[ir.Value | None, list[ir.Node]]]:
    """From where numbers come to a value, and the nodes on their way; None where they are no whole numbers."""
    nodes: list[ir.Node] = []
    while value is not None and integers_of(values[value].grid) is None:
        node = value.producer()
        computed = [] if node is None else [v for v in node.inputs if v is not None and constant(v) is None]
        if node is not None and node.op_type == "Concat":
            for operand in node.inputs:
                for root, before in _ways(operand, values):
                    yield root, [*before, *nodes]
            return
        if node is None or len(computed) != 1:
            yield None, []
            return
        nodes.insert(0, node)
        (value,) = computed
    yield value, nodes


def integers_of(grid: IntegerGrid | None) -> IntegerGrid | None:
    """A grid of binary steps around 0; None where it is another one."""
    centred = None if grid is None else grid.centred()
    if centred is None or not is_power_of_two(centred.scale).all() or (centred.scale != centred.scale.flat[0]).any():
        return None
    return centred if np.isfinite(centred.lo).all() and np.isfinite(centred.hi).all() else None


def _numbers(root: ir.Value, values: Values) -> Integers | None:
    """The whole numbers of a tensor, by its last axis where bounds vary along it."""
    grid = integers_of(values[root].grid)
    if grid is None:
        return None
    rank = len(shape_of(root) or ())
    scale, lo, hi = np.broadcast_arrays(
        grid.scale.reshape(-1)[:1], _by_channel(grid.lo, rank).min(axis=0), _by_channel(grid.hi, rank).max(axis=0)
    )
    return Integers(root, rank - 1 if scale.size > 1 else None, scale, lo, hi)


def _by_channel(bound: Float64s, rank: int) -> Float64s:
    """(n, channels): a bound with all axes but the last in one."""
    return bound.reshape(-1, bound.shape[-1] if bound.ndim == rank else 1)


def _behind(numbers: Integers, nodes: Sequence[ir.Node], model: ir.Model) -> Chain | None:
    chain: Chain | Refusal = chain_of(numbers)
    for node in nodes:
        if node.op_type in _MOVES:
            continue
        position = next(i for i, v in enumerate(node.inputs) if v is not None and constant(v) is None)
        chain = extended(chain, node, position, model.opset_imports)
        if isinstance(chain, Refusal):
            return None
    return chain
