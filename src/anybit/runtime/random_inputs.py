"""random_inputs: inputs to compare models on, drawn so that they meet rounding ties and overflow."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.errors import InputError
from anybit.io.load import ModelSource, load
from anybit.ops.constants import constant, fed_inputs
from anybit.ops.nodes import call_of, operator_of


def random_inputs(model: ModelSource, samples: int, *, seed: int = 0) -> dict[str, npt.NDArray[Any]]:
    """Inputs by name, `samples` along their first axis; inputs of different first sizes keep them.

    A float input that goes straight into a Quant with one scale is drawn over its whole grid and a step beyond,
    a quarter of it exactly half-way between neighbours; any other float input is normally distributed. Integers
    that index a constant table stay inside it, others are 0 or 1. Inputs with a default are left out.

    Raises:
        InputError: An input has a free dimension besides the first, or a type that cannot be drawn.
    """
    read = load(model)
    generator = np.random.default_rng(seed)
    inputs = fed_inputs(read.graph)
    firsts = {str(v.name): v.shape[0] if v.shape is not None and v.shape.rank() else None for v in inputs}
    bound = len(set(firsts.values())) > 1
    counts = {name: first if bound and isinstance(first, int) else samples for name, first in firsts.items()}
    return {str(v.name): _draw(v, counts[str(v.name)], generator, read.opset_imports) for v in inputs}


def _draw(
    value: ir.Value, samples: int, generator: np.random.Generator, opset_imports: dict[str, int]
) -> npt.NDArray[Any]:
    where = f"input '{value.name}'"
    if value.shape is None or value.dtype is None:
        raise InputError("an input without shape or type cannot be drawn", node=where, hint="give inputs with -i")
    rest = list(value.shape)[1:]
    if not all(isinstance(d, int) for d in rest):
        raise InputError("an input with free dimensions cannot be drawn", node=where, hint="give inputs with -i")
    shape = [samples, *(int(str(d)) for d in rest)] if value.shape.rank() else []
    dtype = value.dtype.numpy()
    if dtype.kind == "f":
        return _floats(value, shape, generator, opset_imports).astype(dtype)
    if dtype.kind in "iu":
        return generator.integers(0, _limit(value), shape).astype(dtype)
    if dtype.kind == "b":
        return generator.integers(0, 2, shape).astype(np.bool_)
    raise InputError("an input of this type cannot be drawn", node=where, got=dtype, hint="give inputs with -i")


def _floats(
    value: ir.Value, shape: list[int], generator: np.random.Generator, opset_imports: dict[str, int]
) -> npt.NDArray[np.float64]:
    for node, position in value.uses():
        operator = operator_of(node, opset_imports)
        if operator is None or operator.name != "Quant" or position != 0:
            continue
        call = call_of(node, operator)
        parameters = [call.constants.get(n) for n in ("scale", "zeropt", "bitwidth")]
        if any(p is None or p.size != 1 for p in parameters):
            continue
        scale, zero_point, bits = (float(p.reshape(())) for p in parameters if p is not None)
        low = -(2 ** (bits - 1)) if call.attributes["signed"] else 0.0
        integers = generator.uniform(low - 1, low + 2**bits, shape)
        ties = generator.random(shape) < 0.25
        return (np.where(ties, np.floor(integers) + 0.5, integers) - zero_point) * scale
    return generator.standard_normal(shape)


def _limit(value: ir.Value) -> int:
    for node, position in value.uses():
        table = constant(node.inputs[0])
        if node.op_type == "Gather" and position == 1 and table is not None:
            axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
            return int(table.shape[axis])
    return 2
