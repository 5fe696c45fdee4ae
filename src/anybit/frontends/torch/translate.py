"""translate: a captured module, whose quantisers are operators of `anybit`, as a hub model."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
import torch
from onnxscript import evaluator
from onnxscript.onnx_opset import opset18 as opset
from onnxscript.values import Opset
from torch import fx

from anybit.errors import FrontEndError
from anybit.frontends.torch.capture import exported, quietly
from anybit.frontends.torch.captured import Captured, attribute, where
from anybit.frontends.torch.doubles import settle_doubles
from anybit.frontends.torch.failure import failure
from anybit.frontends.torch.free_axes import Shapes, Tensors
from anybit.frontends.torch.program import program_of
from anybit.frontends.torch.scans import Loop, mark, place, placeholder
from anybit.frontends.torch.steps import is_steps
from anybit.graph.walk import all_nodes
from anybit.io.load import load
from anybit.ops.operator import DOMAIN
from anybit.ops.schemas import register_schemas

_KNOWN = frozenset(("_operator", "anybit", "aten", "higher_order", "math", "prim", "prims", "torch"))
"""Where operators come from that torch's exporter, or this one, has translations for."""

_NOTES = "pkg.torch."


@dataclass(frozen=True)
class Translated:
    """A graph in ONNX.

    Attributes:
        model: The model.
        nodes: The node of the captured graph that each tensor is the value of, by the tensor's name.
    """

    model: ir.Model
    nodes: Mapping[str, fx.Node]


def translate(
    captured: Captured, inputs: Tensors, shapes: Shapes, *, bodies: Sequence[tuple[Loop, ir.Model]] = ()
) -> Translated:
    """The graph in ONNX operators and those of the hub.

    Args:
        captured: The graph.
        inputs: Its example.
        shapes: What is free in it.
        bodies: The calls of `steps` in it, and the body of each, translated; they become part of the model.

    Raises:
        FrontEndError: An operator has no translation.
    """
    _settle_operators(captured)
    mark(captured)
    program = program_of(captured) or exported(captured.finish(), inputs, shapes)
    register_schemas()
    try:
        with quietly():
            made: Any = torch.onnx.export(
                program, dynamo=True, custom_translation_table=_table(), verbose=False, optimize=True
            )
    except Exception as error:  # the exporter's errors have no common root
        _refuse_complex(captured, error)
        cause = error.__cause__
        raise failure(
            "torch's ONNX exporter cannot translate the module", cause if isinstance(cause, Exception) else error
        ) from error
    for loop, body in bodies:
        place(made.model, loop, body)
    model = load(made.model)
    _forget_the_machine(model)
    if shapes is not None:
        _name_axes(model, shapes)
    return Translated(model, _origins(captured, made.exported_program))


def _refuse_complex(captured: Captured, error: Exception) -> None:
    """Refuses complex numbers by their name, where torch's exporter could not make pairs of real ones of them."""
    for node in captured.module.graph.nodes:
        value = node.meta.get("val")
        if any(isinstance(a, complex) for a in node.args) or (isinstance(value, torch.Tensor) and value.is_complex()):
            raise FrontEndError(
                "complex numbers, which ONNX has no type for",
                node=where(node),
                expected="real numbers",
                hint="compute real and imaginary parts as tensors of their own",
            ) from error


def _origins(captured: Captured, program: Any) -> dict[str, fx.Node]:
    """From the names that torch gives the tensors, while it decomposes operators, to the nodes that it was given.

    Where it made several of a node, the last one has its value.
    """
    known = {n.name: n for n in captured.module.graph.nodes if n.op == "call_function"}
    last: dict[str, str] = {}
    for node in program.graph.nodes:
        sources = node.meta.get("from_node") or ()
        if node.op == "call_function" and sources and sources[-1].name in known:
            last[sources[-1].name] = node.name
    return {name: known[source] for source, name in last.items()}


def _forget_the_machine(model: ir.Model) -> None:
    """Removes what torch notes of the code that each node came from: paths and lines of this machine."""
    graph, nodes = model.graph, list(all_nodes(model.graph))
    values = (*graph.inputs, *graph.initializers.values(), *(v for n in nodes for v in n.outputs))
    for item in (*nodes, *values):
        for key in [k for k in item.metadata_props if k.startswith(_NOTES)]:
            del item.metadata_props[key]


def _name_axes(model: ir.Model, shapes: Sequence[Mapping[int, Any]]) -> None:
    """Gives the free axes, which torch calls s and a number, their names: the caller's, or input and axis."""
    names: dict[str, str] = {}
    for value, free in zip(model.graph.inputs, shapes, strict=False):
        for axis, dim in free.items():
            given = "" if value.shape is None else str(value.shape[axis])
            if given.isidentifier():
                names.setdefault(given, getattr(dim, "__name__", None) or f"{value.name}_{axis}")
    if not names:
        return
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, names))})\b")
    values = [*model.graph.inputs, *(v for n in all_nodes(model.graph) for v in n.outputs)]
    for shape in (v.shape for v in values if v.shape is not None):
        for axis, size in enumerate(shape):
            if not isinstance(size, int):
                shape[axis] = pattern.sub(lambda m: names[m[1]], str(size))


def _check_branches(captured: Captured) -> None:
    """Refuses quantisers in the branches of torch.cond and its like, which torch's exporter cannot look into."""
    for node in captured.module.graph.nodes:
        if getattr(node.target, "namespace", None) != "higher_order":
            continue
        branches = [attribute(captured.module, str(n.target)) for n in node.all_input_nodes if n.op == "get_attr"]
        inner = [n for b in branches if isinstance(b, fx.GraphModule) for n in b.graph.nodes if _is_quantizer(n)]
        if inner:
            raise FrontEndError(
                f"a quantiser inside torch.{getattr(node.target, '__name__', 'cond')}",
                node=where(node),
                got=str(inner[0].target),
                hint="quantise in front of it and behind it, or compute both branches and choose by torch.where",
            )


def _is_quantizer(node: fx.Node) -> bool:
    name = str(node.target)
    return node.op == "call_function" and name.startswith(("anybit.", "quantized_decomposed.", "aten.fake_quantize"))


def _settle_numbers(captured: Captured) -> None:
    """Floats that are computed of lengths, in Python's double precision, are float32 where they meet tensors."""
    for node in captured.module.graph.nodes:
        if getattr(node.target, "namespace", None) != "aten":
            continue
        for number in [n for n in node.all_input_nodes if isinstance(n.meta.get("val"), torch.SymFloat)]:
            with captured.module.graph.inserting_before(node):
                single = captured.call(torch.ops.aten.scalar_tensor.default, number)
            node.replace_input_with(number, single)


def _settle_operators(captured: Captured) -> None:
    """Operators without translation: constants become their values, others are refused."""
    captured.module.graph.eliminate_dead_code()
    _check_branches(captured)
    _settle_numbers(captured)
    settle_doubles(captured)
    _fold_constants(captured)
    for node in list(captured.module.graph.nodes):
        origin = getattr(node.target, "namespace", None) or getattr(node.target, "__module__", "")
        if node.op != "call_function" or origin in _KNOWN:
            continue
        if node not in captured.varying:
            captured.fold(node)
        elif not origin.startswith("torch."):
            raise FrontEndError(
                "a custom operator without translation",
                node=where(node),
                got=str(node.target),
                hint="write it in torch operators, or with those of anybit.frontends.torch",
            )


def _fold_constants(captured: Captured) -> None:
    """Lets torch itself compute what is constant, up to the last bit; quantised constants stay as they are."""
    quantized: set[fx.Node] = set()
    for node in list(captured.module.graph.nodes):
        if is_steps(node.target):
            continue  # its results are folded
        if getattr(node.target, "namespace", "") == "anybit" or any(n in quantized for n in node.all_input_nodes):
            quantized.add(node)
        elif node.op == "call_function" and node not in captured.varying and _is_read(captured, node):
            captured.fold(node)


def _is_read(captured: Captured, node: fx.Node) -> bool:
    """Whether something that is not constant reads this tensor."""
    if not isinstance(node.meta.get("val"), torch.Tensor):
        return False
    return any(user in captured.varying or user.op == "output" for user in node.users)


def _table() -> dict[Any, Any]:
    hub: Any = Opset(DOMAIN, 2)

    def to_double(number: Any) -> Any:
        return opset.Cast(number, to=ir.DataType.DOUBLE)

    def to_quotient(a: Any, b: Any) -> Any:
        return opset.Div(to_double(a), to_double(b))

    def to_quant(x: Any, scale: Any, zero_point: Any, bits: Any, signed: Any, narrow: Any, mode: str) -> Any:
        return hub.Quant(x, scale, zero_point, bits, signed=int(signed), narrow=int(narrow), rounding_mode=mode)

    def to_bipolar_quant(x: Any, scale: Any) -> Any:
        return hub.BipolarQuant(x, scale)

    def to_trunc(
        x: Any,
        s: Any,
        z: Any,
        bits: Any,
        out_s: Any,
        out_bits: Any,
        signed: Any,
        narrow: Any,
        mode: str,
    ) -> Any:
        flags = {"signed": int(signed), "narrow": int(narrow)}
        return hub.Trunc(x, s, z, bits, out_s, out_bits, rounding_mode=mode, **flags)

    def to_float_quant(
        x: Any,
        s: Any,
        e: Any,
        m: Any,
        bias: Any,
        top: Any,
        inf: Any,
        nan: Any,
        saturation: Any,
        mode: str,
    ) -> Any:
        flags = {"has_inf": int(inf), "has_nan": int(nan), "saturation": int(saturation)}
        return hub.FloatQuant(x, s, e, m, bias, top, has_subnormal=1, rounding_mode=mode, **flags)

    def to_steps(
        states: Sequence[Any], sequence: Any, parameters: Sequence[Any], body: str, axis: Any, reverse: Any
    ) -> Any:
        del axis, reverse
        node = placeholder([*states, sequence, *parameters], body, outputs=len(states) + 1)
        recorder: Any = evaluator.default()
        recorder.nodes.append(node)  # as torch's own translations of control flow do
        return node.outputs

    operators: Any = torch.ops.anybit  # the package has registered them
    return {
        torch.sym_float: to_double,
        operator.truediv: to_quotient,
        operators.quant.default: to_quant,
        operators.bipolar_quant.default: to_bipolar_quant,
        operators.trunc.default: to_trunc,
        operators.float_quant.default: to_float_quant,
        operators.steps.default: to_steps,
    }
