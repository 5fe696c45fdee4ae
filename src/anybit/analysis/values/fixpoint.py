"""If, Loop and Scan: what their outputs can hold, from what their bodies compute."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.tensor_values import (
    Float64s,
    IntegerGrid,
    Shape,
    TensorValues,
    aligned,
    bounded,
    hull,
    integers,
    limited,
    of_dtype,
    unbounded,
)
from anybit.analysis.values.transfer import NotFollowed
from anybit.graph.walk import shape_of

Body = Callable[[ir.Graph, Sequence[TensorValues]], list[TensorValues]]
"""Analyses a subgraph for these inputs, and gives its outputs."""

ControlRule = Callable[[ir.Node, Sequence[TensorValues | None], Body], list[TensorValues]]

# Rounds in which states are joined as they are, then guessed ahead by so many times their growth, then given up.
_PLAIN_ROUNDS = 8
_GUESSES = (8.0, 64.0, 4096.0)

# Loops with no more steps than this are followed to their last one.
_MAX_STEPS = 16


def if_(node: ir.Node, inputs: Sequence[TensorValues | None], body: Body) -> list[TensorValues]:
    """All that one of the branches can compute; one branch alone where the condition is known."""
    branches = [node.attributes[name].as_graph() for name in ("else_branch", "then_branch")]
    condition = inputs[0]
    if condition is not None and condition.is_point and condition.lo.size == 1:
        branches = [branches[int(condition.lo.item() != 0)]]
    results = [body(branch, []) for branch in branches]
    outputs = zip(*(branch.outputs for branch in branches), strict=True)
    return [_joined(parts, values) for parts, values in zip(zip(*results, strict=True), outputs, strict=True)]


def loop(node: ir.Node, inputs: Sequence[TensorValues | None], body: Body) -> list[TensorValues]:
    """States: a set that holds the initial ones and that the body does not leave; scans: what it makes of that set.

    A body runs with a true condition only.
    """
    graph = node.attributes["body"].as_graph()
    trips, condition = (inputs[i] if i < len(inputs) else None for i in (0, 1))
    most = np.inf if trips is None else max(float(trips.hi.max()), 0.0)
    runs = (trips is None or bool((trips.lo >= 1).all())) and (condition is None or bool((condition.lo == 1).all()))
    counter = integers(0.0, max(min(most, 2.0**63) - 1, 0.0))
    count = len(node.inputs) - 2
    carried = list(zip(node.inputs[2:], graph.inputs[2:], graph.outputs[1 : 1 + count], strict=True))

    def run(states: Sequence[TensorValues]) -> list[TensorValues]:
        return body(graph, [counter, bounded(1.0, 1.0), *states])[1:]

    return _iterated(run, inputs[2:], carried, most=most, runs=runs)


def scan(node: ir.Node, inputs: Sequence[TensorValues | None], body: Body) -> list[TensorValues]:
    """As `loop`, over the elements of the scanned inputs along their axes."""
    graph = node.attributes["body"].as_graph()
    scanned = node.attributes["num_scan_inputs"].as_int()
    count = len(node.inputs) - scanned
    if len(node.inputs) != len(graph.inputs):  # version 8 has a batch axis and lengths of sequences
        body(graph, [_widest(v) for v in graph.inputs])
        raise NotFollowed("Scan of version 8")
    shapes = [None if v is None else shape_of(v) for v in node.inputs[count:]]
    axes = _axes(node, "scan_input_axes", [None if s is None else len(s) for s in shapes])
    elements = [
        _element(values or _widest(None), shape, axis)
        for values, shape, axis in zip(inputs[count:], shapes, axes, strict=True)
    ]
    length = None if shapes[0] is None else shapes[0][axes[0]]
    carried = list(zip(node.inputs[:count], graph.inputs[:count], graph.outputs[:count], strict=True))

    def run(states: Sequence[TensorValues]) -> list[TensorValues]:
        return body(graph, [*states, *elements])

    most = np.inf if length is None else float(length)
    results = _iterated(run, inputs[:count], carried, most=most, runs=bool(length))
    rows = [shape_of(v) for v in graph.outputs[count:]]
    out_axes = _axes(node, "scan_output_axes", [None if s is None else len(s) + 1 for s in rows])
    stacked = [_stacked(r, s, a) for r, s, a in zip(results[count:], rows, out_axes, strict=True)]
    return [*results[:count], *stacked]


def _iterated(
    run: Callable[[Sequence[TensorValues]], list[TensorValues]],
    initial: Sequence[TensorValues | None],
    carried: Sequence[tuple[ir.Value | None, ir.Value, ir.Value]],
    *,
    most: float,
    runs: bool,
) -> list[TensorValues]:
    """States and scans after at most `most` steps.

    The last analysis of the body is that of the widest states. They are joined by `_joined`, which forgets constants:
    a state is a known number in the body only as long as the body leaves it so.

    Args:
        run: States and scans behind one step.
        initial: States before the first step.
        carried: For each state the tensor before the loop, the input and the output of the body.
        most: Largest number of steps.
        runs: There is at least one step, so that no initial state is left.
    """
    states = [_joined([i or unbounded()], v) for i, v in zip(initial, carried, strict=True)]
    step = 0
    while True:
        step += 1
        results = [replace(r, constant=None) for r in run(states)]
        joined = [_joined([s, r], v) for s, r, v in zip(states, results, carried, strict=False)]
        done = all(_holds(s, j) for s, j in zip(states, joined, strict=True))
        if done or (most <= _MAX_STEPS and step >= most):
            return [*(results[: len(states)] if runs else joined), *results[len(states) :]]
        if most > _MAX_STEPS:
            joined = [_guessed(s, j, step, v[1]) for s, j, v in zip(states, joined, carried, strict=True)]
        states = joined


def _holds(wide: TensorValues, values: TensorValues) -> bool:
    """Whether `values`, joined from `wide` and more, says nothing new."""
    if (values.lo < wide.lo).any() or (values.hi > wide.hi).any():
        return False
    a, b = wide.grid, values.grid
    if a is None or b is None:
        return a is b
    same = (a.scale == b.scale).all() and (a.zero_point == b.zero_point).all() and a.datatype == b.datatype
    return bool(same and (b.lo >= a.lo).all() and (b.hi <= a.hi).all())


def _guessed(old: TensorValues, new: TensorValues, step: int, like: ir.Value) -> TensorValues:
    """A guess at where a state that grew from `old` to `new` comes to rest; the next round checks it.

    Its last forms have no grid: the limits of the element type, and no limits, so that every round settles a state.
    """
    if step < _PLAIN_ROUNDS or _holds(old, new):
        return new
    widest = _widest(like)
    last = _PLAIN_ROUNDS + len(_GUESSES)
    if step >= last:
        return TensorValues(widest.lo, widest.hi) if step == last else unbounded()
    ahead = _GUESSES[step - _PLAIN_ROUNDS]
    with np.errstate(invalid="ignore", over="ignore"):
        lo = np.where(new.lo < old.lo, new.lo - ahead * (old.lo - new.lo), new.lo)
        hi = np.where(new.hi > old.hi, new.hi + ahead * (new.hi - old.hi), new.hi)
    settled = old.grid is not None and _holds(replace(old, lo=new.lo, hi=new.hi), new)
    return bounded(np.maximum(lo, widest.lo), np.minimum(hi, widest.hi), new.grid if settled else None)


def _joined(parts: Sequence[TensorValues], tensors: Sequence[ir.Value | None]) -> TensorValues:
    """The hull of what the tensors can hold, channel by channel where they all have one shape."""
    shapes = {None if t is None else shape_of(t) for t in tensors}
    shape = shapes.pop() if len(shapes) == 1 else None
    if not all(_tells_fixed_apart(p, shape) for p in parts):
        shape = None
    kept = [limited(p, shape) for p in parts]
    grid = next((p.grid for p in kept if p.grid is not None), None)
    return limited(hull(kept if grid is None else [_on(grid, p) for p in kept]), shape)


def _tells_fixed_apart(values: TensorValues, shape: Shape | None) -> bool:
    """Whether only axes of fixed length have an entry for each of their elements."""
    if shape is None:
        return False
    g = values.grid
    arrays = [values.lo, values.hi, *(() if g is None else (g.scale, g.zero_point, g.lo, g.hi))]
    return all(
        a.ndim <= len(shape) and all(n in (1, d) for n, d in zip(reversed(a.shape), reversed(shape), strict=False))
        for a in arrays
    )


def _on(grid: IntegerGrid, values: TensorValues) -> TensorValues:
    """Known numbers, such as a state of zeros, on the grid of the others if they are numbers of it."""
    if values.grid is not None or not values.is_point or not values.is_bounded:
        return values
    try:
        q = np.rint(values.lo / grid.scale + grid.zero_point)
    except ValueError:  # they do not broadcast to each other
        return values
    if (grid.scale * (q - grid.zero_point) != values.lo).any():
        return values
    declared = grid.datatype is None or bool(grid.datatype.allows(q).all())
    return replace(values, grid=IntegerGrid(grid.scale, grid.zero_point, q, q, grid.datatype if declared else None))


def _element(values: TensorValues, shape: Shape | None, axis: int) -> TensorValues:
    """What one element of a tensor along an axis can hold."""
    values = limited(values, shape)
    if shape is None:
        return replace(values, constant=None)
    rank = len(shape)

    def least(bound: Float64s) -> Float64s:
        return bound if bound.ndim == 0 else aligned(bound, rank).min(axis)

    def most(bound: Float64s) -> Float64s:
        return bound if bound.ndim == 0 else aligned(bound, rank).max(axis)

    grid = values.grid
    if grid is not None:
        uniform = all((least(p) == most(p)).all() for p in (grid.scale, grid.zero_point))
        moved = IntegerGrid(least(grid.scale), least(grid.zero_point), least(grid.lo), most(grid.hi), grid.datatype)
        grid = moved if uniform else None
    return TensorValues(least(values.lo), most(values.hi), grid)


def _stacked(values: TensorValues, shape: Shape | None, axis: int) -> TensorValues:
    """Values with a new axis of one entry; a leading one needs no axis in the bounds."""
    values = limited(values, shape)
    if shape is None:
        return values
    rank = len(shape)
    return values.moved(lambda b: b if b.ndim == 0 else np.expand_dims(aligned(b, rank), axis))


def _axes(node: ir.Node, name: str, ranks: Sequence[int | None]) -> Sequence[int]:
    """The axes that an attribute names, one for each tensor of these ranks.

    Raises:
        NotFollowed: One of the tensors does not have its axis.
    """
    attribute = node.attributes.get(name)
    axes = (0,) * len(ranks) if attribute is None else attribute.as_ints()
    if any(rank is not None and not -rank <= axis < rank for axis, rank in zip(axes, ranks, strict=True)):
        raise NotFollowed(f"an axis of {name} that its tensor does not have")
    return axes


def _widest(value: ir.Value | None) -> TensorValues:
    """All that the element type of a tensor can hold."""
    dtype = None if value is None else value.dtype
    return of_dtype(None if dtype is None or dtype == ir.DataType.STRING else dtype.numpy())


CONTROL_FLOW: Mapping[str, ControlRule] = {"If": if_, "Loop": loop, "Scan": scan}
