"""verify: a certificate that two models mean the same, or an input on which they differ."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.errors import InputError, UnsupportedError, UsageError
from anybit.formats.equivalence import Certificate, CounterExample, Verdict, certify
from anybit.io.load import ModelSource, load
from anybit.ops.constants import fed_inputs, has_default
from anybit.ops.nodes import call_of, operator_of
from anybit.runtime.compare import FLOAT_TOLERANCE
from anybit.runtime.engine import Engine
from anybit.runtime.random_inputs import random_inputs
from anybit.runtime.session import Session

_MOST_COMBINATIONS = 1 << 14  # of the grid of the input's quantiser
_FACTORS = (1.0, 0.1, 10.0, 100.0)

_Arrays = dict[str, npt.NDArray[Any]]


def verify(a: ModelSource, b: ModelSource, *, samples: int = 64, seed: int = 0) -> Certificate:
    """Proves that two models are equal; where that fails, looks for an input that shows the difference.

    Both models are run by the reference engine on all combinations of the levels of the input's quantiser, where
    these are few, else on random samples and corners of the input. A difference counts where it is larger than float
    summation in another order explains.

    Args:
        a: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model`` of any format; it is not changed.
        b: The other one.
        samples: How many samples of each kind to draw.
        seed: Seed of the drawing.

    Raises:
        ModelFileError: A model cannot be read.
        UsageError: An option makes no sense.

    Example:
        >>> verify("model.onnx", "model_qcdq.onnx").verdict         # doctest: +SKIP
        <Verdict.EXACT_BY_CONSTRUCTION: 'exact by construction'>
    """
    if samples < 1:
        raise UsageError("number of samples", got=samples, expected="at least 1")
    if seed < 0:
        raise UsageError("seed", got=seed, expected="0 or more")
    first, second = load(a), load(b)
    certificate = certify(first, second)
    if certificate.verdict is not Verdict.UNDECIDED:
        return certificate
    try:
        found = _search(first, second, samples, seed)
    except (InputError, UnsupportedError) as error:
        note = f"no counter-example was looked for: {error}"
        return replace(certificate, notes=(*certificate.notes, note))
    if found is None:
        return certificate
    return replace(certificate, verdict=Verdict.DIFFERENT, counter_example=found)


def _search(first: ir.Model, second: ir.Model, samples: int, seed: int) -> CounterExample | None:
    if len(first.graph.outputs) != len(second.graph.outputs) or len(first.graph.inputs) != len(second.graph.inputs):
        return None
    sessions = (Session(first, engine=Engine.REFERENCE), Session(second, engine=Engine.REFERENCE))
    pieces = [s.piece(1) for s in sessions]
    whole = max(p or 1 for p in pieces)
    for feeds in _feeds(first, max(samples, whole), seed):
        count = max((a.shape[0] for a in feeds.values() if a.ndim), default=1)
        if None in pieces or len(feeds) > 1:
            parts = [feeds]
        else:
            size = whole * max(16 // whole, 1)
            parts = [{n: a[i : i + size] for n, a in feeds.items()} for i in range(0, count - whole + 1, size)]
        for part in parts:
            found = _differ(*sessions, part)
            if found is not None:
                return found if None in pieces or len(feeds) > 1 else _smallest(*sessions, found, whole)
    return None


def _smallest(first: Session, second: Session, found: CounterExample, whole: int) -> CounterExample:
    """The same with as few samples as the models take."""
    (array,) = found.inputs.values()
    for start in range(0, len(array) - whole + 1, whole):
        one = _differ(first, second, {n: a[start : start + whole] for n, a in found.inputs.items()})
        if one is not None:
            return one
    return found


def _differ(first: Session, second: Session, feeds: _Arrays) -> CounterExample | None:
    results = first.run(feeds)
    names = zip(second.inputs, first.inputs, strict=True)
    others = second.run({y.name: feeds[x.name] for y, x in names if x.name in feeds})
    for name, other in zip(first.outputs, second.outputs, strict=True):
        x, y = results[name], others[other]
        if x.shape != y.shape:
            return CounterExample(feeds, name, x, y, float("inf"))
        if not x.size or x.dtype.kind not in "fiub":
            continue
        left, right = x.astype(np.float64), y.astype(np.float64)
        comparable = ~(np.isnan(left) | np.isnan(right)) & (left != right)
        gap = np.abs(left[comparable] - right[comparable])
        finite = np.abs(left[np.isfinite(left)])
        if (gap > FLOAT_TOLERANCE * float(finite.max(initial=0.0))).any():
            return CounterExample(feeds, name, x, y, float(gap.max()))
    return None


def _feeds(model: ir.Model, samples: int, seed: int) -> Iterator[_Arrays]:
    """Inputs worth trying: all levels, random ones by size, constant ones, and others than the defaults."""
    drawn = random_inputs(model, samples, seed=seed)
    every = _every_level(model)
    if every is not None:
        yield every
    for factor in _FACTORS:
        yield {n: (a * factor).astype(a.dtype) if a.dtype.kind == "f" else a for n, a in drawn.items()}
    for level in (0.0, 0.5, 1.0, -1.0, 255.0, -128.0, 1e9, -1e9):
        constant = {n: np.full_like(a, level) if a.dtype.kind == "f" else a for n, a in drawn.items()}
        yield {n: a[:1] if len(drawn) == 1 and a.ndim and _is_free(model) else a for n, a in constant.items()}
    for name, array in drawn.items():
        if array.dtype.kind == "f":
            whole = np.rint(random_inputs(model, samples, seed=seed + 1)[name] * 4)
            yield drawn | {name: (whole / 2).astype(array.dtype)}

    generator = np.random.default_rng(seed)
    for value in model.graph.inputs:
        if value.const_value is not None and has_default(value) and value.const_value.dtype.is_floating_point():
            default = value.const_value.numpy()
            yield drawn | {str(value.name): (default + generator.normal(size=default.shape)).astype(default.dtype)}


def _is_free(model: ir.Model) -> bool:
    shapes = [v.shape for v in fed_inputs(model.graph)]
    return all(s is not None and s.rank() and s[0] in (1, None) for s in shapes)


def _every_level(model: ir.Model) -> _Arrays | None:
    """All combinations of the levels of the one input's quantiser, its ties, and beyond; None if they are many."""
    inputs = fed_inputs(model.graph)
    if len(inputs) != 1 or inputs[0].shape is None or inputs[0].dtype != ir.DataType.FLOAT:
        return None
    (value,) = inputs
    rest = [d for d in list(value.shape or ())[1:] if isinstance(d, int)]
    size = int(np.prod(rest, dtype=np.int64))
    if len(rest) != len(list(value.shape or ())) - 1:
        return None
    levels = _levels(value, model)
    if levels is None or not 0 < len(levels) ** size <= _MOST_COMBINATIONS:
        return None
    combinations = np.array(list(itertools.product(levels, repeat=size)), np.float32).reshape(-1, *rest)
    first = next(iter(value.shape or (1,)))
    repeat = first if isinstance(first, int) else 1
    return {str(value.name): np.concatenate([combinations, combinations[: -len(combinations) % repeat]])}


def _levels(value: ir.Value, model: ir.Model) -> npt.NDArray[np.float64] | None:
    for node, position in value.uses():
        operator = operator_of(node, model.opset_imports)
        if operator is None or operator.name != "Quant" or position != 0:
            continue
        parameters = [call_of(node, operator).constants.get(n) for n in ("scale", "zeropt", "bitwidth")]
        if any(p is None or p.size != 1 for p in parameters):
            continue
        scale, zero_point, bits = (float(p.reshape(())) for p in parameters if p is not None)
        signed = bool(call_of(node, operator).attributes["signed"])
        low = -(2 ** (bits - 1)) if signed else 0.0
        return (np.arange(low, low + 2**bits) - zero_point) * scale
    return None
