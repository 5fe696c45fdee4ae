"""write_linear: quantisers of the hub as QuantizeLinear, Clip and DequantizeLinear, weights as integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.cleanup.convert_opset import ConvertOpset
from anybit.cleanup.infer_shapes import infer_missing
from anybit.errors import Refusal, UnsupportedError
from anybit.formats.dialect import Approximation, Outcome
from anybit.formats.qdq.read import INTEGERS, required_input
from anybit.formats.zero_signs import Told
from anybit.graph.constants import constant
from anybit.graph.editor import Editor
from anybit.graph.walk import all_nodes, label, shape_of
from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from anybit.ops.calls import is_call, operator_of
from anybit.ops.float_quant import FLOAT_QUANT
from anybit.ops.quant import QUANT
from anybit.ops.zero_sign import is_negative_zero, refusal_where_told, tensors_of_told_zeros
from anybit.quantizers.clip_fusion import before_clip
from anybit.quantizers.containers import Choose
from anybit.quantizers.linear_parameters import Parameters, Spelling, since, spelling_of
from anybit.quantizers.minifloat import read_float_quant
from anybit.quantizers.possible_values import Enumeration
from anybit.quantizers.quantizer import Quantizer, read_quant

_FIRST_INTEGER_CLIP = 12  # from here on Clip takes int8 and uint8


def write_linear(model: ir.Model, choose: Choose, *, approximate: bool) -> Outcome:
    """Writes every hub quantiser that can be carried, in place; the others stay.

    The opset is raised where a type or a form needs it, as little as possible.

    Args:
        model: Model to write.
        choose: The format's containers.
        approximate: Whether other roundings may become half to even, and one bit two.

    Returns:
        A refusal for every quantiser that stays, an approximation for every one that does not mean the same.
    """
    with Editor(model, rule="write") as edit:
        nodes = [n for n in all_nodes(model.graph) if operator_of(n, model.opset_imports) is not None]
        infer_missing(model, [v for n in nodes for v in (*n.inputs, *n.outputs)])
        told = tensors_of_told_zeros(model) if nodes else {}
        planner = _Planner(model, choose, approximate=approximate, enumeration=Enumeration(model), told=told)
        plans = [planner.plan(n) for n in nodes]
        refusals = [p for p in plans if isinstance(p, Refusal)]
        written = [p for p in plans if isinstance(p, _WritePlan)]
        written, too_new = _raise_opset(model, written)
        for plan in written:
            _apply(edit, plan)
    return Outcome((*refusals, *too_new), tuple(a for p in written for a in p.approximations))


@dataclass(frozen=True)
class _WritePlan:
    """What one quantiser becomes.

    Attributes:
        node: The quantiser.
        last: The node whose output is replaced: the quantiser, or the Clip that narrows it.
        dtype: Element type of the integers.
        spelling: Their scale and zero point.
        clip: Bounds of a Clip between.
        stored: The integers themselves, where x is constant.
        saturate: Whether a float type saturates.
        approximations: What is not the same.
    """

    node: ir.Node
    last: ir.Node
    dtype: ir.DataType
    spelling: Spelling
    clip: tuple[int, int] | None = None
    stored: Array | None = None
    saturate: bool = True
    approximations: tuple[Approximation, ...] = ()

    @property
    def since(self) -> int:
        """The first opset at which all this is legal."""
        clip = 1 if self.clip is None else _FIRST_INTEGER_CLIP
        return max(since(self.dtype) or 1, self.spelling.since, clip)


@dataclass(frozen=True)
class _Planner:
    model: ir.Model
    choose: Choose
    approximate: bool
    enumeration: Enumeration
    told: Told

    def plan(self, node: ir.Node) -> _WritePlan | Refusal:
        """What a quantiser becomes; the graph stays as it is."""
        if is_call(node, FLOAT_QUANT):
            plan = _plan_floats(node, self.told)
        elif is_call(node, QUANT, BIPOLAR_QUANT):
            quantizer = read_quant(node, self.model)
            plan = quantizer if isinstance(quantizer, Refusal) else self._plan_integers(node, quantizer)
        else:
            plan = Refusal(problem="QuantizeLinear and DequantizeLinear do not mean this operator")
        return replace(plan, node=label(node)) if isinstance(plan, Refusal) else plan

    def _plan_integers(self, node: ir.Node, quantizer: Quantizer) -> _WritePlan | Refusal:
        if not quantizer.has_integer_zero_point:
            return Refusal(problem="the zero point is no integer", got=str(quantizer.zero_point.flat[0]))
        array = constant(node.inputs[0])
        told = refusal_where_told(node.outputs[0], self.told) if quantizer.makes_negative_zeros else None
        if told is not None and (array is None or is_negative_zero(quantizer(array)).any()):
            return told
        narrowed = before_clip(node, quantizer)
        plan = None if narrowed is None else self._contained(node, *narrowed, array)
        if not isinstance(plan, _WritePlan):
            plan = self._contained(node, node, quantizer, array)
        if isinstance(plan, Refusal):
            return plan
        changes = self._changes(node, quantizer) if array is None else self._changes_of_constants(node, quantizer)
        return changes if isinstance(changes, Refusal) else replace(plan, approximations=changes)

    def _changes(self, node: ir.Node, quantizer: Quantizer) -> tuple[Approximation, ...] | Refusal:
        """What it costs to round x / scale half to even, if anything; a refusal where that is not allowed."""
        if quantizer.is_bipolar:
            return Refusal(problem="the sign of an activation is no rounding", got="one signed bit")
        if quantizer.is_half_even or self.enumeration.agrees(node.inputs[0], quantizer):
            return ()
        rounding = quantizer.rounding.value
        if quantizer.zero_point.any():
            rounding += f" of x / scale + {quantizer.zero_point.flat[0]:g}"
        expected = "ROUND of x / scale, ties to even"
        if not self.approximate:
            return Refusal(problem="rounding", got=rounding, expected=expected, hint="allow approximations")
        bound = f"results move by at most one step of {quantizer.scale.max():g}"
        return (Approximation(problem=f"{rounding} became {expected}", node=label(node), got=bound),)

    def _changes_of_constants(self, node: ir.Node, quantizer: Quantizer) -> tuple[Approximation, ...] | Refusal:
        """What it costs that no element type has one signed bit."""
        if not quantizer.is_bipolar:
            return ()
        if not self.approximate:
            return Refusal(problem="one signed bit", expected="at least 2", hint="allow approximations: -1, 0, 1")
        problem = "one signed bit became the 2-bit grid -1 .. 1"
        return (Approximation(problem=problem, node=label(node), got="values are equal"),)

    def _contained(self, node: ir.Node, last: ir.Node, meaning: Quantizer, array: Array | None) -> _WritePlan | Refusal:
        """The quantiser, and what narrows it up to `last`, in a container of the format."""
        held = meaning.between(meaning.lo, meaning.hi) if meaning.is_bipolar else meaning
        container = self.choose(held, array is not None)
        if isinstance(container, Refusal):
            return container
        spelling = spelling_of(Parameters(meaning.scale, container.offset), shape_of(required_input(node)))
        if isinstance(spelling, Refusal):
            return spelling
        plan = _WritePlan(node, last, container.dtype, spelling, container.clip)
        if array is None:
            return plan
        integers = meaning.integers(array)
        if not np.array_equal(meaning.dequantized(integers), meaning(array)):
            return Refusal(problem="float32 does not hold the products of its integers and the scale")
        stored = integers - meaning.zero_point + container.offset
        return replace(plan, stored=stored.astype(np.int64).astype(container.dtype.numpy()))


def _plan_floats(node: ir.Node, told: Told) -> _WritePlan | Refusal:
    value = read_float_quant(node)
    if isinstance(value, Refusal):
        return value
    told_apart = None if value.has_negative_zero else refusal_where_told(node.outputs[0], told)
    if told_apart is not None:
        return told_apart
    spelling = spelling_of(Parameters(value.scale, np.zeros(())), shape_of(required_input(node)))
    if isinstance(spelling, Refusal):
        return spelling
    array = constant(node.inputs[0])
    stored = None if array is None else value.numbers(array)
    if array is not None and stored is not None and not np.array_equal(value.dequantized(stored), value(array)):
        return Refusal(problem="its constants", got="numbers that the element type rounds otherwise")
    return _WritePlan(node, node, value.dtype, spelling, None, stored, value.saturate)


def _raise_opset(model: ir.Model, plans: Sequence[_WritePlan]) -> tuple[list[_WritePlan], list[Refusal]]:
    """Raises the model's opset as the plans need; those that need more than the model can be converted to are out."""
    kept, out, old = list(plans), list[Refusal](), model.opset_imports.get("", 1)
    needed = max((p.since for p in kept), default=1)
    while kept and needed > old:
        try:
            ConvertOpset(needed)(model)
        except UnsupportedError as error:
            problem = f"it needs opset {needed}, and another node stands in the way"
            hint = " ".join(str(error).split())
            out += [Refusal(problem=problem, node=label(p.node), hint=hint) for p in kept if p.since == needed]
            kept = [p for p in kept if p.since < needed]
            needed = max((p.since for p in kept), default=1)
            continue
        break
    return kept, out


def _apply(edit: Editor, plan: _WritePlan) -> None:
    old, x = plan.last.outputs[0], required_input(plan.node)
    name = str(old.name)
    scale = edit.constant(f"{name}/scale", np.asarray(plan.spelling.scale))
    zero_array = plan.spelling.zero_point.astype(np.int64).astype(plan.dtype.numpy())
    zero_point = edit.constant(f"{name}/zero_point", np.asarray(zero_array))
    nodes: list[ir.Node] = []
    if plan.stored is not None:
        integers = edit.constant(f"{x.name}{INTEGERS}", plan.stored, like=x)
    else:
        attributes = dict(plan.spelling.attributes)
        if not plan.saturate:
            attributes["saturate"] = ir.AttrInt64("saturate", 0)
        quantize = edit.node(
            "QuantizeLinear", [x, scale, zero_point], f"{name}/quantized", like=x, attributes=attributes
        )
        nodes.append(quantize)
        integers = quantize.outputs[0]
        integers.type = ir.TensorType(plan.dtype)
    if plan.clip is not None:
        dtype = plan.dtype.numpy()
        keys = ("min", "max")
        bounds = [edit.constant(f"{name}/{k}", np.asarray(b, dtype)) for k, b in zip(keys, plan.clip, strict=True)]
        nodes.append(edit.node("Clip", [integers, *bounds], f"{name}/clipped", like=integers))
        integers = nodes[-1].outputs[0]
    attributes = plan.spelling.attributes
    nodes.append(
        edit.node("DequantizeLinear", [integers, scale, zero_point], f"{name}/real", like=x, attributes=attributes)
    )
    edit.replace(old, nodes)
