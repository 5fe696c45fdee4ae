"""Network: a model as steps on fixed-point numbers, none of which is ever rounded but by its quantisers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.tensor_values import Float64s
from anybit.arguments import checked
from anybit.arrays import Array, is_power_of_two
from anybit.cleanup.infer_shapes import InferShapes
from anybit.cleanup.set_batch import SetBatch
from anybit.errors import InvalidModelError, Refusal
from anybit.formats.convert import to_hub
from anybit.graph.attributes import values_of_attributes
from anybit.graph.constants import constant
from anybit.graph.walk import label, shape_of
from anybit.io.load import ModelSource
from anybit.ops.calls import call_of, is_call, operator_of
from anybit.ops.evaluate import known_value
from anybit.ops.quant import QUANT
from anybit.passes.lowering.gemm_to_matmul import GemmToMatMul
from anybit.rounding import Rounding
from anybit.targets.da4ml import fixed
from anybit.targets.da4ml.fixed import Bounds

_MOST_BITS = 24


@dataclass(frozen=True)
class Quantize:
    """y = (clip(rounding(x / scale + zero point), lo, hi) - zero point) * scale; all arrays by element.

    Attributes:
        scale: Powers of two.
        zero_point: Integers.
        lo: Smallest integer.
        hi: Largest one.
        rounding: How.
    """

    scale: Float64s
    zero_point: Float64s
    lo: Float64s
    hi: Float64s
    rounding: Rounding

    def __call__(self, x: Float64s) -> Float64s:
        """The levels of exact numbers."""
        found = np.clip(self.rounding(x / self.scale + self.zero_point), self.lo, self.hi)
        return (found - self.zero_point) * self.scale


@dataclass(frozen=True)
class Modulo:
    """y = x - floor(x / by) * by, by a power of two."""

    by: Float64s


@dataclass(frozen=True)
class Apply:
    """An operation that numpy has the words for; arrays of da4ml understand the same ones."""

    function: Callable[..., Any]


@dataclass(frozen=True)
class Step:
    """One operation.

    Attributes:
        y: The tensor that it makes.
        xs: Tensors that it reads.
        operation: What it does.
        node: How messages name its node.
    """

    y: str
    xs: tuple[str, ...]
    operation: Quantize | Modulo | Apply
    node: str


@dataclass(frozen=True)
class Network:
    """A model between the first quantisers and its outputs; one sample, with its batch axis.

    Attributes:
        inputs: What the circuit reads: levels that quantisers make of the model's inputs, by tensor.
        steps: In order.
        outputs: What it makes.
    """

    inputs: Mapping[str, Bounds]
    steps: tuple[Step, ...]
    outputs: tuple[str, ...]

    @staticmethod
    @checked
    def load(model: ModelSource) -> Network:
        """The network of a model.

        Raises:
            ModelFileError: The model cannot be read.
            InvalidModelError: Something in it is not exact, or not known.
        """
        found, _ = network_of(hub_of(model))
        if isinstance(found, Network):
            return found
        first = found[0]
        raise InvalidModelError(first.problem, node=first.node, got=first.got, expected=first.expected, hint=first.hint)


def hub_of(model: ModelSource) -> ir.Model:
    """A copy of a model with one sample, in the operators that are read here."""
    hub, _ = to_hub(model)
    InferShapes()(hub)
    SetBatch(1)(hub)
    GemmToMatMul()(hub)
    InferShapes()(hub)
    return hub


def network_of(hub: ir.Model) -> tuple[Network | tuple[Refusal, ...], tuple[str, ...]]:
    """The network of a hub model, or why it is none; and the nodes that are left to the caller, before its inputs."""
    reader = _Reader(hub)
    for node in hub.graph:
        reader.read(node)
    outputs = tuple(str(v.name) for v in hub.graph.outputs)
    missing = [Refusal(problem="not made of levels", node=f"output '{n}'") for n in outputs if n not in reader.bounds]
    refusals = (*reader.refusals, *([] if reader.refusals else missing))
    if refusals:
        return refusals, tuple(reader.head)
    return Network(reader.inputs, tuple(reader.steps), outputs), tuple(reader.head)


@dataclass
class _Reader:
    """The walk over a model.

    Attributes:
        model: Hub model.
        bounds: Tensors of the circuit.
        reals: Tensors before it: inputs, and what is computed of them before the first quantisers.
        inputs: What quantisers make of these.
        steps: Steps of the circuit.
        head: Nodes before it.
        refusals: Nodes that are no steps, and why.
        failed: What these nodes, and nodes behind them, make.
        quotients: By tensor x / by, x and by.
        floors: By tensor floor(x / by), likewise.
        multiples: By tensor floor(x / by) * by, likewise.
    """

    model: ir.Model
    bounds: dict[str, Bounds] = field(default_factory=dict[str, Bounds])
    reals: set[str] = field(default_factory=set[str])
    inputs: dict[str, Bounds] = field(default_factory=dict[str, Bounds])
    steps: list[Step] = field(default_factory=list[Step])
    head: list[str] = field(default_factory=list[str])
    refusals: list[Refusal] = field(default_factory=list[Refusal])
    failed: set[str] = field(default_factory=set[str])
    quotients: dict[str, tuple[str, Array]] = field(default_factory=dict[str, tuple[str, Array]])
    floors: dict[str, tuple[str, Array]] = field(default_factory=dict[str, tuple[str, Array]])
    multiples: dict[str, tuple[str, Array]] = field(default_factory=dict[str, tuple[str, Array]])

    def __post_init__(self) -> None:
        self.reals.update(str(v.name) for v in self.model.graph.inputs)

    def read(self, node: ir.Node) -> None:
        """One node: of the head, a step, or refused."""
        names = [str(v.name) for v in node.inputs if v is not None]
        made = [str(v.name) for v in node.outputs]
        if self.failed.intersection(names):
            self.failed.update(made)
            return
        if self.reals.intersection(names):
            self._head(node, made)
        elif any(n in self.bounds for n in names):
            found = self._step(node)
            if found is not None:
                self.refusals.append(found)
                self.failed.update(made)

    def _head(self, node: ir.Node, made: list[str]) -> None:
        self.head.append(label(node))
        if not is_call(node, QUANT):
            self.reals.update(made)
            return
        quantize = self._quantizer(node)
        if isinstance(quantize, Refusal):
            self.refusals.append(quantize)
            self.failed.update(made)
            return
        lo, hi = ((end - quantize.zero_point) * quantize.scale for end in (quantize.lo, quantize.hi))
        self.bounds[made[0]] = self.inputs[made[0]] = Bounds(lo, hi, quantize.scale)

    def _step(self, node: ir.Node) -> Refusal | None:
        if is_call(node, QUANT):
            quantize = self._quantizer(node)
            if isinstance(quantize, Refusal):
                return quantize
            x = self.bounds[str(node.inputs[0].name)] if node.inputs[0] is not None else None
            if x is None:
                return Refusal(problem="no input", node=label(node))
            return self.keep(node, quantize, Bounds(quantize(x.lo), quantize(x.hi), quantize.scale))
        rule = _RULES.get(node.op_type) if node.domain == "" else None
        if rule is None or len(node.outputs) != 1:
            return Refusal(
                problem="no exact circuit is known for it",
                node=label(node),
                got=node.op_type,
                hint="take --logits" if node.op_type == "Softmax" else "",
            )
        return rule(self, node)

    def keep(
        self, node: ir.Node, operation: Quantize | Modulo | Apply, bounds: Bounds, *, parts: float = 0.0
    ) -> Refusal | None:
        """A step, if float32 holds all that it makes, and all parts of its sums."""
        largest = max(bounds.multiples, parts)
        if largest > fixed.LARGEST:
            return Refusal(
                problem="float32 rounds it, and the circuit would not",
                node=label(node),
                got=f"{int(largest).bit_length()} bits",
                expected=f"at most {_MOST_BITS}",
            )
        xs = tuple(n for v in node.inputs if v is not None and (n := str(v.name)) in self.bounds)
        y = str(node.outputs[0].name)
        self.steps.append(Step(y, xs, operation, label(node)))
        self.bounds[y] = bounds
        return None

    def _quantizer(self, node: ir.Node) -> Quantize | Refusal:
        operator, shape = operator_of(node, self.model.opset_imports), shape_of(node.outputs[0])
        arrays = [constant(v) for v in node.inputs[1:]]
        known = [np.asarray(a, np.float64) for a in arrays if a is not None and a.size]
        if operator is None or len(known) < 3 or shape is None or None in shape:
            return Refusal(problem="parameters or a shape that are not known", node=label(node))
        attributes = call_of(node, operator).attributes
        sizes = tuple(n for n in shape if n is not None)
        scale, zero_point, bits = (np.broadcast_to(a, sizes) for a in known)
        signed, narrow = bool(attributes["signed"]), 1.0 if attributes["narrow"] else 0.0
        if not is_power_of_two(scale).all():
            return Refusal(
                problem="a scale that is no power of two", node=label(node), got=f"{scale.flat[0]:g}", expected="2^n"
            )
        if (zero_point != np.rint(zero_point)).any() or (bits != np.rint(bits)).any() or (signed and (bits < 2).any()):
            return Refusal(problem="levels that are no two's complement", node=label(node))
        lo = -(2.0 ** (bits - 1)) + narrow if signed else np.zeros(sizes)
        hi = 2.0 ** (bits - 1) - 1 if signed else 2.0**bits - 1 - narrow
        return Quantize(scale, zero_point, lo, hi, Rounding.parse(str(attributes["rounding_mode"])))

    # --- operands

    def operands(self, node: ir.Node) -> list[Bounds | Float64s] | Refusal:
        """The inputs of a node: tensors of the circuit, or constants."""
        found: list[Bounds | Float64s] = []
        for value in node.inputs:
            known = None if value is None else self.bounds.get(str(value.name))
            number = None if value is None or known is not None else known_value(value, self.model.opset_imports)
            if known is None and number is None:
                return Refusal(problem="an input that is not known", node=label(node))
            found.append(known if known is not None else np.asarray(number, np.float64))
        return found


def _as_bounds(operand: Bounds | Float64s) -> Bounds:
    return operand if isinstance(operand, Bounds) else fixed.bounds_of(operand)


def _sum(reader: _Reader, node: ir.Node) -> Refusal | None:
    operands = reader.operands(node)
    if isinstance(operands, Refusal):
        return operands
    a, b = operands
    y, name = str(node.outputs[0].name), [str(v.name) for v in node.inputs if v is not None]
    known = reader.multiples.get(name[1])
    if node.op_type == "Sub" and known is not None and known[0] == name[0] and isinstance(a, Bounds):
        by = np.broadcast_to(np.asarray(known[1], np.float64), a.lo.shape)
        reader.steps.append(Step(y, (name[0],), Modulo(by), label(node)))
        reader.bounds[y] = Bounds(np.zeros(a.lo.shape), np.maximum(by - a.step, 0), np.minimum(a.step, by))
        return None
    left, right = _as_bounds(a), _as_bounds(b)
    subtract = node.op_type == "Sub"
    bounds = fixed.total(left, fixed.negative(right) if subtract else right)
    operation = np.subtract if subtract else np.add
    return reader.keep(node, Apply(_bound(operation, operands)), bounds)


def _bound(function: Callable[..., Any], operands: Sequence[Bounds | Float64s]) -> Callable[..., Any]:
    """The function of those operands that are tensors."""

    def applied(*given: Any) -> Any:
        rest = list(given)
        return function(*(rest.pop(0) if isinstance(o, Bounds) else o for o in operands))

    return applied


def _multiply(reader: _Reader, node: ir.Node) -> Refusal | None:
    operands = reader.operands(node)
    if isinstance(operands, Refusal):
        return operands
    a, b = operands
    if node.op_type == "Mul" and not isinstance(a, Bounds):
        a, b = b, a
    if not isinstance(a, Bounds) or isinstance(b, Bounds):
        return Refusal(problem="a product of two tensors", node=label(node))
    if node.op_type == "Div" and not is_power_of_two(b).all():
        return Refusal(problem="a quotient that is no power of two", node=label(node))
    factor = 1 / b if node.op_type == "Div" else b
    floored = reader.floors.get(_name(node, 0))
    if node.op_type == "Mul" and floored is not None and np.array_equal(floored[1], b):
        reader.multiples[_name_of(node)] = floored
    if node.op_type == "Div":
        reader.quotients[_name_of(node)] = _name(node, 0), b
    return reader.keep(node, Apply(lambda x: x * factor), fixed.scaled(a, factor))


def _floor(reader: _Reader, node: ir.Node) -> Refusal | None:
    x = reader.bounds[_name(node, 0)]
    if _name(node, 0) in reader.quotients:
        reader.floors[_name_of(node)] = reader.quotients[_name(node, 0)]
    one, far = np.ones(x.lo.shape), np.full(x.lo.shape, 2.0**_MOST_BITS)
    quantize = Quantize(one, 0 * one, -far, far, Rounding.FLOOR)
    return reader.keep(node, quantize, Bounds(np.floor(x.lo), np.floor(x.hi), np.maximum(x.step, 1.0)))


def _matmul(reader: _Reader, node: ir.Node) -> Refusal | None:
    operands = reader.operands(node)
    if isinstance(operands, Refusal):
        return operands
    a, b = operands
    if not isinstance(a, Bounds) or isinstance(b, Bounds) or b.ndim != 2:
        return Refusal(problem="a product of two tensors, or of constants in front", node=label(node))
    bounds, parts = fixed.product(a, b)
    return reader.keep(node, Apply(lambda x: x @ b), bounds, parts=parts)


def _relu(reader: _Reader, node: ir.Node) -> Refusal | None:
    x = reader.bounds[_name(node, 0)]
    bounds = Bounds(np.maximum(x.lo, 0), np.maximum(x.hi, 0), x.step)
    return reader.keep(node, Apply(lambda v: np.maximum(v, 0.0)), bounds)


def _negate(reader: _Reader, node: ir.Node) -> Refusal | None:
    return reader.keep(node, Apply(lambda v: -v), fixed.negative(reader.bounds[_name(node, 0)]))


def _move(reader: _Reader, node: ir.Node) -> Refusal | None:
    """What only moves elements, by their places."""
    x, shape = reader.bounds[_name(node, 0)], shape_of(node.outputs[0])
    if shape is None or None in shape:
        return Refusal(problem="a tensor of unknown shape", node=label(node))
    sizes = tuple(n for n in shape if n is not None)
    places = np.arange(x.lo.size).reshape(x.lo.shape)
    if node.op_type == "Transpose":
        places = places.transpose(values_of_attributes(node).get("perm"))
    index = places.reshape(sizes)

    def moved(v: Any) -> Any:
        return v.reshape(-1)[index.reshape(-1)].reshape(sizes)

    return reader.keep(node, Apply(moved), Bounds(*(moved(a) for a in (x.lo, x.hi, x.step))))


def _name(node: ir.Node, position: int) -> str:
    value = node.inputs[position]
    return "" if value is None else str(value.name)


def _name_of(node: ir.Node) -> str:
    return str(node.outputs[0].name)


_RULES: Mapping[str, Callable[[_Reader, ir.Node], Refusal | None]] = {
    **dict.fromkeys(("Add", "Sub"), _sum),
    **dict.fromkeys(("Mul", "Div"), _multiply),
    **dict.fromkeys(("Identity", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose"), _move),
    "Floor": _floor,
    "MatMul": _matmul,
    "Neg": _negate,
    "Relu": _relu,
}
