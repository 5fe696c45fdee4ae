"""source_of: header, source and figures of a design."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from anybit.plan.plan import Compare, Dequantize, LookUp, Plan, Port, Quantize, Step, reads
from anybit.targets.c.arrays import literal
from anybit.targets.c.design import Design, is_byte
from anybit.targets.c.names import comment, identifiers
from anybit.targets.c.steps import Writer, rendered


@dataclass(frozen=True)
class Ports:
    """What the arguments of the functions are called.

    Attributes:
        inputs: Bytes, by tensor of the plan.
        outputs: Bytes or sums, likewise.
        float_inputs: Floats, likewise.
        float_outputs: Floats, likewise.
    """

    inputs: dict[int, str]
    outputs: dict[int, str]
    float_inputs: dict[int, str]
    float_outputs: dict[int, str]


@dataclass(frozen=True)
class SourceText:
    """A design as C.

    Attributes:
        header: Text of the header.
        source: Text of the source.
        ports: Names of arguments.
        constants: Bytes of the constants of the integer part.
        float_constants: Bytes of further ones of the float part.
    """

    header: str
    source: str
    ports: Ports
    constants: int
    float_constants: int


def source_of(name: str, plan: Plan, design: Design, title: str) -> SourceText:
    """Header and source of a design.

    Args:
        name: What all identifiers begin with.
        plan: The plan.
        design: The design of it.
        title: What the comments call the model.
    """
    writer, ports = Writer(name, design), _ports(plan, design)
    steps = [writer.layer(i, layer) for i, layer in enumerate(design.layers, start=1)]
    sums = [
        rendered("sums.c.jinja", n=name, variant=variant, bits=bits, x_type=x_type)
        for variant, (bits, x_type) in sorted(writer.variants.items())
    ]
    quantizers = [writer.quantizer(s, ports.inputs[s.y]) for s in design.quantizers]
    dequantizers = [writer.dequantizer(s, ports.float_outputs[s.y]) for s in design.dequantizers]
    constants, float_constants = (sum(t.nbytes for t in tables) for tables in (writer.tables, writer.float_tables))
    shared = {
        "n": name,
        "N": name.upper(),
        "title": comment(title),
        "run_parameters": ", ".join(_parameters(writer, ports)),
        "float_parameters": ", ".join(
            [f"const float *{p}" for p in ports.float_inputs.values()]
            + [f"float *{p}" for p in ports.float_outputs.values()]
        ),
        "arena": design.arena,
        "float_arena": design.float_arena,
    }
    header = rendered("header.h.jinja", **shared, constants=constants, **_described(name, plan, design, ports, writer))
    source = rendered(
        "source.c.jinja",
        **shared,
        arena_words=design.arena // 4,
        float_arena_words=design.float_arena // 4,
        has_products=bool(sums),
        size_type=_size_type(design),
        sums=sums,
        steps=steps,
        checks=[_checked(t, p, design) for t, p in ports.inputs.items()],
        rounds=any(isinstance(s, Quantize) for s in design.quantizers),
        float_steps=[*quantizers, *dequantizers],
        **_calls(name, design, ports),
    )
    return SourceText(header, source, ports, constants, float_constants)


def _ports(plan: Plan, design: Design) -> Ports:
    float_inputs, float_outputs = (
        dict(zip((p.tensor for p in ports), identifiers(prefix, (p.name for p in ports)), strict=True))
        for prefix, ports in (("in_", plan.inputs), ("out_", plan.outputs))
    )
    inputs = _alone({s.y: s.x for s in design.quantizers}, plan.inputs)
    outputs = _alone({s.x: s.y for s in design.dequantizers[::-1] if s.x in design.outputs}, plan.outputs)
    names = [str(plan.tensors[t].name) if inputs[t] is None else str(inputs[t]) for t in design.inputs]
    made = [str(plan.tensors[t].name) if outputs[t] is None else str(outputs[t]) for t in design.outputs]
    return Ports(
        dict(zip(design.inputs, identifiers("in_", names), strict=True)),
        dict(zip(design.outputs, identifiers("out_", made), strict=True)),
        float_inputs,
        float_outputs,
    )


def _alone(real_of: dict[int, int], ports: tuple[Port, ...]) -> dict[int, str | None]:
    """By tensor of integers the name of its port, None where several share one."""
    names = {p.tensor: p.name for p in ports}
    reals = list(real_of.values())
    return {t: names[real] if reals.count(real) == 1 else None for t, real in real_of.items()}


def _parameters(writer: Writer, ports: Ports) -> Iterable[str]:
    yield from (f"const uint8_t *{p}" for p in ports.inputs.values())
    yield from (f"{writer.type_of(t)} *{p}" for t, p in ports.outputs.items())


def _checked(tensor: int, name: str, design: Design) -> dict[str, Any]:
    held = design.tensors[tensor]
    return {"name": name, "elements": held.elements, "lo": held.lo, "hi": held.hi}


def _size_type(design: Design) -> str:
    """The narrowest type of what describes windows."""
    return "int16_t" if max((t.elements for t in design.tensors), default=0) < 1 << 15 else "int32_t"


def _calls(name: str, design: Design, ports: Ports) -> dict[str, Any]:
    """The calls of each step in order."""
    held = {**ports.inputs, **ports.outputs}

    def inside(tensor: int) -> str:
        offset = design.offsets[tensor]
        if is_byte(design.tensors[tensor]):
            return f"(uint8_t *){name}_arena + {offset}"
        return f"{name}_arena + {offset // 4}"

    def place(tensor: int) -> str:
        return held.get(tensor) or inside(tensor)

    def call(number: int, step: Step) -> str:
        return f"{name}_step_{number}({', '.join(map(place, (*reads(step), step.y)))});"

    arguments = ", ".join(map(inside, (*ports.inputs, *ports.outputs)))
    return {
        "calls": [call(i, layer.step) for i, layer in enumerate(design.layers, start=1)],
        "quantize_calls": [
            f"{name}_quantize_{ports.inputs[s.y]}({ports.float_inputs[s.x]}, {inside(s.y)})" for s in design.quantizers
        ],
        "run_call": f"{name}_run({arguments})",
        "dequantize_calls": [
            f"{name}_dequantize_{ports.float_outputs[s.y]}({inside(s.x)}, {ports.float_outputs[s.y]});"
            for s in design.dequantizers
        ],
    }


def _described(name: str, plan: Plan, design: Design, ports: Ports, writer: Writer) -> dict[str, Any]:
    """What the header says of each argument."""
    makers = {s.y: s for s in design.quantizers}
    readers = {s.x: s for s in design.dequantizers[::-1]}
    shapes = {p.tensor: p.shape for p in (*plan.inputs, *plan.outputs)}

    def port(tensor: int, identifier: str, step: Quantize | Compare | Dequantize | LookUp, real: int) -> dict[str, Any]:
        held, shape = design.tensors[tensor], shapes[real]
        laid = (*shape[1:], shape[0]) if step.channels_first else shape
        scale, zero, formula = _formula(step, held.zero)
        return {
            "name": identifier,
            "macro": f"{name}_{identifier}".upper(),
            "comment": comment(design.tensors[real].name),
            "elements": held.elements,
            "kind": "bytes" if is_byte(held) else "32-bit sums",
            "layout": " x ".join(map(str, laid)) + (", channels last" if step.channels_first else ""),
            "hi": held.hi,
            "scale": scale,
            "zero": zero,
            "formula": formula,
        }

    floats = [
        {"name": p, "comment": comment(design.tensors[s.y].name), "x_type": writer.type_of(s.x)}
        for s in design.dequantizers
        for p in [ports.float_outputs[s.y]]
    ]
    return {
        "inputs": [port(t, p, makers[t], makers[t].x) for t, p in ports.inputs.items()],
        "outputs": [port(t, p, readers[t], readers[t].y) for t, p in ports.outputs.items()],
        "floats": floats,
    }


def _formula(step: Quantize | Compare | Dequantize | LookUp, zero: int) -> tuple[str | None, int, str | None]:
    """Scale and zero point of a port that has one of each, and how its numbers stand for reals."""
    if isinstance(step, Quantize) and not step.steps and len(step.scale) == 1:
        scale, point, offset = literal(step.scale[0]), literal(step.zero_point[0]), step.lo
        formula = f"nearest, ties to even, of clip(x / {scale} + {point}, {step.lo}, {step.hi}) - ({offset})"
        return scale, zero, formula
    plain = isinstance(step, Dequantize) and not step.steps and len(step.scale) == 1 and not step.bias.any()
    if isinstance(step, Dequantize) and plain:
        scale = literal(np.float64(step.scale[0] / step.divisor))
        return scale, zero, f"{scale} * (number - {zero})"
    return None, zero, None
