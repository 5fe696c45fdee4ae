"""vectors_of: a test program with inputs and what must come of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from anybit.arrays import Array
from anybit.plan.execute import execute_tensors
from anybit.plan.plan import Plan
from anybit.targets.c.arrays import Table
from anybit.targets.c.design import Design, is_byte
from anybit.targets.c.render import Ports
from anybit.targets.c.steps import rendered

_MOST_NUMBERS = 1 << 15


def samples_of(plan: Plan) -> int:
    """How many samples a test program has: 16, fewer where they are large."""
    elements = sum(plan.tensors[p.tensor].elements for p in (*plan.inputs, *plan.outputs))
    return int(np.clip(_MOST_NUMBERS // max(elements, 1), 1, 16))


def test_program(name: str, plan: Plan, design: Design, ports: Ports, inputs: Mapping[str, Array]) -> str:
    """A program that runs the network on these inputs and says how many outputs are other than the plan's.

    Args:
        name: Of the project.
        plan: The plan.
        design: The design of it.
        ports: Names of arguments.
        inputs: By name, float32 (samples, shape...).
    """
    held = execute_tensors(plan, inputs)
    samples = len(next(iter(held.values())))

    def table(kind: str, tensor: int, prefix: str, port: str) -> Table:
        return Table(f"{prefix}{port}", kind, held[tensor])

    def kind_of(tensor: int) -> str:
        return "uint8_t" if is_byte(design.tensors[tensor]) else "int32_t"

    def arguments(given: Mapping[int, str], made: Mapping[int, str], prefix: str) -> str:
        rows = [f"{prefix}{p} + sample * {design.tensors[t].elements}" for t, p in given.items()]
        return ", ".join([*rows, *made.values()])

    def shown(made: Mapping[int, str]) -> list[dict[str, Any]]:
        return [{"name": p, "type": kind_of(t), "elements": design.tensors[t].elements} for t, p in made.items()]

    integers = [table("uint8_t", t, "given_", p) for t, p in ports.inputs.items()]
    integers += [table(kind_of(t), t, "expected_", p) for t, p in ports.outputs.items()]
    floats = [table("float", t, "given_float_", p) for t, p in ports.float_inputs.items()]
    floats += [table("float", t, "expected_float_", p) for t, p in ports.float_outputs.items()]
    return rendered(
        "test.c.jinja",
        n=name,
        N=name.upper(),
        samples=samples,
        integers=integers,
        floats=floats,
        outputs=shown(ports.outputs),
        float_outputs=shown(ports.float_outputs),
        run_arguments=arguments(ports.inputs, ports.outputs, "given_"),
        float_arguments=arguments(ports.float_inputs, ports.float_outputs, "given_float_"),
    )
