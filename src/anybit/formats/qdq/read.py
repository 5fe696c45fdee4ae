"""read_linear: QuantizeLinear, Clip and DequantizeLinear, or constant integers, as quantisers of the hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.cleanup.infer_shapes import infer_missing
from anybit.errors import InvalidModelError, Refusal
from anybit.formats.dialect import Outcome
from anybit.formats.qdq.trace import LinearChain, filling, is_movement, trace
from anybit.formats.zero_signs import Told, keep_positive_zeros
from anybit.graph.constants import constant
from anybit.graph.editor import Editor
from anybit.graph.walk import label
from anybit.ops.operator import DOMAIN
from anybit.ops.zero_sign import tensors_of_told_zeros
from anybit.quantizers.clip_fusion import behind_clip
from anybit.quantizers.linear_parameters import parameters_of
from anybit.quantizers.minifloat import Minifloat, float_quant_node
from anybit.quantizers.possible_values import Enumeration
from anybit.quantizers.quantizer import Quantizer, quant_nodes

INTEGERS = "/integers"
"""Suffix of the name of a constant's integers."""

_Key = tuple[object, ...]


def read_linear(model: ir.Model) -> Outcome:
    """Makes hub quantisers of all chains that end in a DequantizeLinear, in place.

    Every result is exact: see `anybit.quantizers.quantizer`. A DequantizeLinear whose integers are an input of the
    model, and a QuantizeLinear whose integers are an output, are standard nodes of the hub.

    Returns:
        A refusal for every DequantizeLinear and QuantizeLinear that is not understood; they stay as they are.
    """
    with Editor(model, rule="read") as edit:
        for node in edit.nodes("ArgMax", "ArgMin"):
            _compare_reals(edit, node)
        nodes = edit.nodes("QuantizeLinear", "DequantizeLinear")
        infer_missing(model, [v for n in nodes for v in (*n.inputs, *n.outputs)])
        reader = _LinearReader(edit, Enumeration(model), tensors_of_told_zeros(model) if nodes else {})
        traced = [(n, trace(n)) for n in nodes if n.op_type == "DequantizeLinear"]
        plans = [(n, reader.plan(t) if isinstance(t, LinearChain) else t) for n, t in traced]
        refusals = [p for _, p in plans if isinstance(p, Refusal)]
        chains = [p for _, p in plans if isinstance(p, _ReadPlan)]
        for plan in chains:
            reader.apply(plan)
    if chains:
        model.opset_imports.setdefault(DOMAIN, 1)
    refusals += [r for n in nodes if n.op_type == "QuantizeLinear" and (r := _left_over(n)) is not None]
    return Outcome(tuple(refusals))


def _compare_reals(edit: Editor, node: ir.Node) -> None:
    """Lets an operator that compares integers, if a QuantizeLinear made them, compare what they stand for."""
    integers = node.inputs[0]
    maker = None if integers is None else integers.producer()
    while maker is not None and is_movement(maker) and maker.inputs[0] is not None:
        maker = maker.inputs[0].producer()
    if maker is None or maker.domain != "" or maker.op_type != "QuantizeLinear":
        return
    parameters = parameters_of(maker)
    if integers is None or isinstance(parameters, Refusal) or parameters.scale.size > 1:
        return
    if (parameters.scale < np.finfo(np.float32).tiny).any():  # two integers may stand for the same number
        return
    real = edit.node("DequantizeLinear", [integers, *maker.inputs[1:]], f"{integers.name}/compared", like=integers)
    real.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    edit.insert(real, before=node)
    node.replace_input_with(0, real.outputs[0])


def _left_over(quantize: ir.Node) -> Refusal | None:
    """Why a QuantizeLinear is still there, unless a DequantizeLinear says so, or nothing is wrong with it."""
    if quantize.graph is None:
        return None
    pending, seen = [quantize], {quantize}
    while pending:
        for reader, _ in pending.pop().outputs[0].uses():
            if reader in seen or (reader.domain == "" and reader.op_type == "DequantizeLinear"):
                continue
            if not is_movement(reader):
                problem = "its integers are read by another operator than DequantizeLinear"
                return Refusal(problem=problem, node=label(quantize), got=label(reader))
            seen.add(reader)
            pending.append(reader)
    return None


@dataclass(frozen=True)
class _ReadPlan:
    """A chain and what the hub says for it.

    Attributes:
        chain: What is replaced.
        meaning: What the hub says for it.
        x: What the quantiser reads: the first input of this node, or these real numbers, a constant.
    """

    chain: LinearChain
    meaning: Quantizer | Minifloat
    x: ir.Node | Array

    @property
    def makes_negative_zeros(self) -> bool:
        """Whether the hub makes -0 where the chain makes +0."""
        if not isinstance(self.x, ir.Node):  # the real numbers of integers
            return False
        meaning = self.meaning
        return meaning.makes_negative_zeros if isinstance(meaning, Quantizer) else not meaning.has_negative_zero


@dataclass
class _LinearReader:
    edit: Editor
    enumeration: Enumeration
    told: Told
    made: dict[_Key, ir.Value] = field(default_factory=dict[_Key, ir.Value])
    claimed: set[ir.Value] = field(default_factory=set[ir.Value])

    def plan(self, chain: LinearChain) -> _ReadPlan | Refusal:
        """What the hub says for a chain; the graph stays as it is."""
        quantize, meaning = chain.quantize, chain.meaning
        array = constant(chain.source if quantize is None else quantize.inputs[0])
        if quantize is None or array is not None:
            return _constant_plan(chain, np.zeros(()) if array is None else array)
        if isinstance(meaning, Minifloat):
            return _ReadPlan(chain, meaning, quantize)
        keeps = meaning.zero_point.any() and meaning.grid is not None
        if keeps and self.enumeration.agrees(quantize.inputs[0], meaning):
            return _ReadPlan(chain, meaning, quantize)
        centred = meaning.centred()
        node, narrowed = behind_clip(required_input(quantize), centred) or (quantize, centred)
        return _ReadPlan(chain, narrowed, node)

    def apply(self, plan: _ReadPlan) -> None:
        """Puts the quantiser where the integers were made, moves what stood behind it to real numbers."""
        value = self._quantized(plan)
        for step in plan.chain.path:
            value = self._moved(step, value, plan.chain.dequantize)
        if plan.makes_negative_zeros:
            keep_positive_zeros(self.edit, plan.chain.dequantize.outputs[0], value, self.told)
        self._hand_over(plan.chain.dequantize, value)

    def _quantized(self, plan: _ReadPlan) -> ir.Value:
        chain = plan.chain
        place = chain.quantize or (chain.path[0].producer() if chain.path else None) or chain.dequantize
        key = (chain.source, place.graph, *_key(plan.meaning))
        if key in self.made:
            return self.made[key]
        x, name = self._input(plan), str(chain.dequantize.outputs[0].name)
        if isinstance(plan.meaning, Minifloat):
            nodes = [float_quant_node(self.edit, x, plan.meaning, name)]
        else:
            nodes = quant_nodes(self.edit, x, plan.meaning, name)
        if chain.quantize is None:
            self.edit.insert(nodes, before=place)
        else:
            self.edit.insert(nodes, after=place, of=place)
        self.made[key] = nodes[-1].outputs[0]
        return self.made[key]

    def _input(self, plan: _ReadPlan) -> ir.Value:
        if isinstance(plan.x, ir.Node):
            return required_input(plan.x)
        quantize, source = plan.chain.quantize, plan.chain.source
        old = source if quantize is None else required_input(quantize)
        name = str(old.name)
        stored = name.removesuffix(INTEGERS)
        return self.edit.constant(f"{name}/real" if stored == name else stored, plan.x, like=old)

    def _moved(self, old: ir.Value, value: ir.Value, dequantize: ir.Node) -> ir.Value:
        """What the operator that makes the integers `old` makes of real numbers."""
        node = old.producer()
        if node is None:  # a step of a chain has one
            return value
        filled = self._filled(node, dequantize)
        key = (node, value, None if filled is None else filled.tobytes())
        if (*key, old) not in self.made:
            inputs = [value, *node.inputs[1:]]
            if filled is not None:
                inputs[2:3] = [self.edit.constant(f"{old.name}/filling", filled)]
            outputs = [ir.Value(name=self.edit.name(f"{o.name}/real"), type=value.type) for o in node.outputs]
            for made, stored in zip(outputs, node.outputs, strict=True):
                made.shape = None if stored.shape is None else stored.shape.copy()
            name = f"{outputs[0].name}/{node.op_type}"
            new = ir.Node("", node.op_type, inputs, node.attributes.values(), outputs=outputs, name=name)
            self.edit.insert(new, after=node, of=node)
            self.made.update({(*key, o): made for o, made in zip(node.outputs, outputs, strict=True)})
        return self.made[*key, old]

    def _filled(self, node: ir.Node, dequantize: ir.Node) -> Array | None:
        parameters = parameters_of(dequantize)
        return None if isinstance(parameters, Refusal) else filling(node, parameters)

    def _hand_over(self, dequantize: ir.Node, value: ir.Value) -> None:
        """Lets the users of the DequantizeLinear read the value, which takes its name if it has none to keep."""
        old = dequantize.outputs[0]
        if value not in self.claimed and value.producer() is not None and value.graph is old.graph:
            self.edit.replace(old, value)
            self.claimed.add(value)
        elif old.is_graph_output():
            self.edit.replace(old, self.edit.node("Identity", [value], f"{old.name}/copy", like=value))
        else:
            self.edit.redirect(old, value)


def _key(meaning: Quantizer | Minifloat) -> _Key:
    """Equal for chains of one source that mean the same."""
    if isinstance(meaning, Minifloat):
        return (meaning.scale.shape, meaning.scale.tobytes(), meaning.saturate)
    arrays = (meaning.scale, meaning.zero_point, meaning.lo, meaning.hi)
    return tuple(part for a in arrays for part in (a.shape, a.tobytes()))


def _constant_plan(chain: LinearChain, array: Array) -> _ReadPlan | Refusal:
    """Real numbers and a quantiser that leaves them as they are; its zero point is kept where that is so."""
    meaning = chain.meaning
    if isinstance(meaning, Minifloat):
        real = meaning.dequantized(array) if chain.quantize is None else meaning.dequantized(meaning.numbers(array))
        candidates: Sequence[Quantizer | Minifloat] = (meaning,)
    elif chain.quantize is None:
        real = meaning.dequantized(np.clip(array.astype(np.float64), meaning.lo, meaning.hi))
        candidates = (meaning, meaning.centred())
    else:
        real = meaning.linear(array)
        candidates = (meaning, meaning.centred())
    for candidate in candidates:
        if np.array_equal(candidate(real), real, equal_nan=True):
            return _ReadPlan(chain, candidate, real)
    return Refusal(
        problem="the real numbers of its integers are not recovered by any quantiser",
        node=label(chain.dequantize),
        got="a product of integer and scale that float32 rounds",
    )


def required_input(node: ir.Node) -> ir.Value:
    """The first input of an operator that cannot do without.

    Raises:
        InvalidModelError: It is missing.
    """
    x = node.inputs[0]
    if x is None:
        raise InvalidModelError("the first input is missing", node=label(node))
    return x
