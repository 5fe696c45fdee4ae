"""certify_hubs: whether two hub models mean the same for every input, tensor by tensor; nothing is run on data.

Products of quantised tensors mean exact sums of integers, as everywhere in the hub; NaN is left aside. Values are equal
as numbers: -0 and +0 are one, in an output; in front of an operator that tells them apart, as 1 / x does, they are not.
Inputs and outputs are matched by position.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.interpreter import Values, values_of
from anybit.arrays import Array, content
from anybit.exact.certificate import Certificate, TensorProof, Verdict
from anybit.exact.integer_functions import Function, Key, Root
from anybit.exact.node_functions import NUMBERED_BY_RUNS
from anybit.exact.step_function import MOST_INTEGERS, without_domain
from anybit.exact.value_numbering import Numbering
from anybit.graph.constants import has_default
from anybit.graph.walk import label, shape_of
from anybit.ops.calls import is_call

_FLOAT_ROUNDING = 2.0**-20  # share of the largest magnitude up to which a difference is stated as a bound
_MOST_OUTPUTS = 1 << 27  # integers of an output, over all channels, that are tried one by one: some seconds
_ORDER = tuple(Verdict)


def certify_hubs(first: ir.Model, second: ir.Model, *, notes: Sequence[str] = ()) -> Certificate:
    """Proves that two hub models are equal, or names what stands in the way; never says that they differ.

    Args:
        first: Hub model without model-local functions, shapes inferred.
        second: The other one.
        notes: What the certificate is to say besides.
    """
    notes = (
        *_named(first.graph.inputs, second.graph.inputs, "inputs"),
        *_named(first.graph.outputs, second.graph.outputs, "outputs"),
        *notes,
    )
    problem = _mismatch(first, second)
    if problem:
        return Certificate(Verdict.UNDECIDED, (), (TensorProof("", "", Verdict.UNDECIDED, detail=problem),), notes)
    values = values_of(first), values_of(second)
    shared = _Shared()
    certificate = _certified(*values, notes, shared, tabulate=False)
    return certificate if certificate.verdict.is_proof else _certified(*values, notes, shared, tabulate=True)


@dataclass(frozen=True)
class _Shared:
    """What the numberings of two models share, see `Numbering`."""

    roots: dict[Key, Root] = field(default_factory=dict[Key, Root])
    functions: dict[Key, Function] = field(default_factory=dict[Key, Function])


def _certified(
    first: Values, second: Values, notes: tuple[str, ...], shared: _Shared, *, tabulate: bool
) -> Certificate:
    pairing = _Pairing(*(Numbering(v, shared.roots, shared.functions, tabulate) for v in (first, second)))
    pairs = zip(first.model.graph.outputs, second.model.graph.outputs, strict=True)
    layers = tuple(pairing.layer(node) for node in _quantizers(pairing.a))
    outputs = tuple(pairing.output(x, y) for x, y in pairs)
    verdict = max((o.verdict for o in outputs), key=_ORDER.index, default=_ORDER[0])  # of none, nothing differs
    return Certificate(verdict, layers, outputs, notes)


def _named(first: Any, second: Any, what: str) -> list[str]:
    names = [[str(v.name) for v in values] for values in (first, second)]
    if names[0] == names[1] or len(names[0]) != len(names[1]):
        return []
    pairs = ", ".join(f"{x} = {y}" for x, y in zip(*names, strict=True) if x != y)
    return [f"{what} matched by position: {pairs}"]


def _mismatch(first: ir.Model, second: ir.Model) -> str:
    """Why the models cannot be fed alike; empty if they can."""
    for what, x, y in (
        ("inputs", first.graph.inputs, second.graph.inputs),
        ("outputs", first.graph.outputs, second.graph.outputs),
    ):
        if len(x) != len(y):
            return f"{len(x)} and {len(y)} {what}"
        for v, w in zip(x, y, strict=True):
            if v.dtype != w.dtype:
                return f"{what} '{v.name}' and '{w.name}' are {v.dtype} and {w.dtype}"
    for v, w in zip(first.graph.inputs, second.graph.inputs, strict=True):
        if not _same_default(v, w):
            return f"inputs '{v.name}' and '{w.name}' have not the same default"
        s, t = shape_of(v), shape_of(w)
        if (s and s[1:]) != (t and t[1:]):
            return f"inputs '{v.name}' and '{w.name}' have shapes {list(s or ())} and {list(t or ())}"
    return ""


def _same_default(v: ir.Value, w: ir.Value) -> bool:
    """Whether both inputs are the same where they are not fed."""
    if not (has_default(v) and has_default(w)):
        return has_default(v) == has_default(w)
    x, y = v.const_value, w.const_value
    return x is not None and y is not None and x.shape == y.shape and content(x.numpy()) == content(y.numpy())


def _quantizers(numbering: Numbering) -> list[ir.Node]:
    """The nodes that make quantised tensors from what is not constant."""
    found: list[ir.Node] = []
    for node in numbering.values.model.graph:
        if is_call(node, *NUMBERED_BY_RUNS) and node.outputs[0] in numbering.numbers:
            found += [node] if numbering.numbers[node.outputs[0]].node is node else []
    return found


@dataclass
class _Pairing:
    """Finds what in the second model corresponds to tensors of the first."""

    a: Numbering
    b: Numbering
    by_structure: dict[Key, ir.Node] = field(default_factory=dict[Key, ir.Node], init=False)
    by_key: dict[Key, ir.Node] = field(default_factory=dict[Key, ir.Node], init=False)
    by_root: dict[Key, ir.Node] = field(default_factory=dict[Key, ir.Node], init=False)

    def __post_init__(self) -> None:
        for node in _quantizers(self.b):
            number = self.b.of(node.outputs[0])
            self.by_structure.setdefault(number.structure, node)
            self.by_key.setdefault(_levels(self.b, node.outputs[0]), node)
            if number.function is not None:
                self.by_root.setdefault(number.function.root.key, node)

    def layer(self, node: ir.Node) -> TensorProof:
        """How a quantised tensor of the first model is shown to be in the second."""
        number = self.a.of(node.outputs[0])
        same = self.by_structure.get(number.structure)
        if same is not None:
            return TensorProof(label(node), label(same), Verdict.EXACT_BY_CONSTRUCTION)
        function = number.function
        runs = None if function is None else function.runs
        values, steps = (0, 0) if runs is None else (runs.tried, int(np.isfinite(runs.starts).sum()))
        equal = self.by_key.get(_levels(self.a, node.outputs[0]))
        if equal is not None:
            return TensorProof(label(node), label(equal), Verdict.EXACT_BY_ENUMERATION, values, steps)
        other = None if function is None else self.by_root.get(function.root.key)
        if function is None or other is None:
            detail = "what it is computed from has no counterpart"
            return TensorProof(label(node), "", Verdict.UNDECIDED, values, steps, detail=detail)
        theirs = self.b.of(other.outputs[0]).function
        detail = "" if theirs is None else _first_departure(function, theirs)
        return TensorProof(label(node), label(other), Verdict.UNDECIDED, values, steps, detail=detail)

    def _stop(self, x: ir.Value) -> str:
        """The first tensor on the way to an output of the first model that has no counterpart in the second one."""
        known = {number.key for number in self.b.numbers.values()}
        open_, met = [x], set[ir.Value]()
        stops: list[ir.Node] = []
        while open_:
            value = open_.pop()
            node = value.producer()
            if node is None or value in met or self.a.of(value).key in known:
                continue
            met.add(value)
            before = [v for v in node.inputs if v is not None and v in self.a.numbers]
            unknown = [v for v in before if self.a.of(v).key not in known and v.producer() is not None]
            stops += [] if unknown else [node]
            open_ += unknown
        if not stops:
            return "computed from tensors that are not known to be equal"
        order = {node: place for place, node in enumerate(self.a.values.model.graph)}
        return f"what {label(min(stops, key=lambda node: order.get(node, len(order))))} computes has no counterpart"

    def output(self, x: ir.Value, y: ir.Value) -> TensorProof:
        """How two outputs are shown to be equal."""
        names = str(x.name), str(y.name)
        s, t = shape_of(x), shape_of(y)
        if s is not None and t is not None and s[1:] != t[1:]:
            return TensorProof(*names, Verdict.UNDECIDED, detail=f"shapes {list(s)} and {list(t)}")
        first, second = self.a.of(x), self.b.of(y)
        if first.structure == second.structure:
            return TensorProof(*names, Verdict.EXACT_BY_CONSTRUCTION)
        f, g = first.function, second.function
        if first.key == second.key:
            runs = None if f is None else f.runs
            return TensorProof(*names, Verdict.EXACT_BY_ENUMERATION, 0 if runs is None else runs.tried)
        if f is None or g is None or f.root.key != g.root.key:
            return TensorProof(*names, Verdict.UNDECIDED, detail=self._stop(x))
        if not _comparable(f, g, _MOST_OUTPUTS):
            return TensorProof(*names, Verdict.UNDECIDED, detail="too many integers to try")
        if (f.runs is not None or g.runs is not None) and _levels(self.a, x) != _levels(self.b, y):
            return TensorProof(*names, Verdict.UNDECIDED, detail=_first_departure(f, g))
        return _judged(names, f, g)


def _levels(numbering: Numbering, value: ir.Value) -> Key:
    """The integers of a quantised tensor, whatever their scale, where it has one; else its key."""
    kernel = numbering.kernel(value)
    return numbering.of(value).key if kernel is None else kernel.key


def _comparable(f: Function, g: Function, most: int) -> bool:
    """Whether two functions of one root belong to the same elements, and have few enough integers to try."""
    same = f.rank == g.rank and (f.channels == 1 or g.channels == 1 or (f.axis, f.channels) == (g.axis, g.channels))
    return same and without_domain(f.steps) is None and max(f.steps.total, g.steps.total) <= most


def _tables(f: Function, g: Function) -> Iterator[tuple[int, Array, Array]]:
    """The values of two functions of one root, some rows at a time, with the number of the first row."""
    row = 0
    for integers in f.steps.stretches():
        with np.errstate(all="ignore"):  # overflow and NaN have defined results
            first, second = np.broadcast_arrays(f.steps(integers), g.steps(integers))
        yield row, first, second
        row += len(integers)


def _judged(names: tuple[str, str], f: Function, g: Function) -> TensorProof:
    tried, largest, magnitude, equal, detail = 0, 0.0, 0.0, True, ""
    for _, first, second in _tables(f, g):
        tried += first.size
        magnitude = max(magnitude, float(np.abs(first[np.isfinite(first)]).max(initial=0)))
        if np.array_equal(first, second, equal_nan=True):
            continue
        with np.errstate(invalid="ignore"):  # of infinities; NaN is no float rounding
            gap = np.abs(first.astype(np.float64) - second.astype(np.float64))
        equal, place = False, np.unravel_index(int(gap.argmax()), gap.shape)
        if not gap[place] <= largest:
            largest = float(gap[place])
            detail = f"channel {place[1]}: {first[place]:g} and {second[place]:g} for one integer"
        if np.isnan(largest):
            break
    if equal:
        return TensorProof(*names, Verdict.EXACT_BY_ENUMERATION, tried)
    if largest <= _FLOAT_ROUNDING * magnitude:
        return TensorProof(*names, Verdict.EXACT_BUT_FOR_FLOAT_ROUNDING, tried, bound=largest)
    return TensorProof(*names, Verdict.UNDECIDED, tried, bound=largest, detail=detail)


def _first_departure(f: Function, g: Function) -> str:
    """The first integer on which two quantised functions of one root differ."""
    if not _comparable(f, g, MOST_INTEGERS):
        return "the levels differ"
    for start, left, right in _tables(f, g):
        unequal = np.argwhere(left != right)
        if len(unequal):
            row, channel = (int(i) for i in unequal[0])
            integers = np.broadcast_to(f.root.integers(f.root.lo + start + row), left.shape[1:])
            first, second = (float(t[row, channel]) for t in (left, right))
            return f"channel {channel}: {first:g} and {second:g} for the integer {int(integers[channel])}"
    return "equal values in other channels"
