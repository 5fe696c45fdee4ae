"""Steps of a design as C, each by the template of its kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import DictLoader, Environment, StrictUndefined

from anybit.arrays import Array
from anybit.exact.fixed_point import Ties
from anybit.plan.plan import (
    Arithmetic,
    Compare,
    Dequantize,
    FloatStep,
    Join,
    LookUp,
    Move,
    PairTable,
    Pool,
    PoolKind,
    Product,
    Quantize,
    Requantize,
    Step,
    Table,
)
from anybit.targets.c import arrays
from anybit.targets.c.arrays import integer_table, literal
from anybit.targets.c.design import Design, FusedStep, is_byte
from anybit.targets.c.levels import LevelRule
from anybit.targets.c.loops import loops_of
from anybit.targets.c.names import comment
from anybit.targets.c.packing import packed

_OPERATIONS = {
    Arithmetic.ADD: "{v} + {number}",
    Arithmetic.SUBTRACT: "{v} - {number}",
    Arithmetic.SUBTRACT_FROM: "{number} - {v}",
    Arithmetic.MULTIPLY: "{v} * {number}",
    Arithmetic.DIVIDE: "{v} / {number}",
}


@cache
def templates() -> Environment:
    """The templates of this folder, which take numbers, identifiers and escaped comments alone."""
    folder = files("anybit.targets.c") / "templates"
    texts = {f.name: f.read_text("utf-8") for f in folder.iterdir() if f.name.endswith(".jinja")}
    return Environment(
        loader=DictLoader(texts),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  (C, not HTML)
    )


def rendered(name: str, **context: Any) -> str:
    """A template with what it shows."""
    return templates().get_template(name).render(**context)


@dataclass
class Writer:
    """Writes steps, and remembers their tables and which sums they ask for.

    Attributes:
        name: What identifiers begin with.
        design: The design.
        tables: Constants of the integer part.
        float_tables: Constants of the float part.
        variants: Functions that add up products, by width of the weights and type of the levels.
    """

    name: str
    design: Design
    tables: list[arrays.Table] = field(default_factory=list[arrays.Table])
    float_tables: list[arrays.Table] = field(default_factory=list[arrays.Table])
    variants: dict[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])

    def type_of(self, tensor: int) -> str:
        """The type of a tensor's elements."""
        return "uint8_t" if is_byte(self.design.tensors[tensor]) else "int32_t"

    def layer(self, number: int, layer: FusedStep) -> str:
        """One step of the integer part as C."""
        template, context = self._step(layer, number)
        tensor = self.design.tensors[layer.step.y]
        told = comment(f"{tensor.name}: {_kind(layer.step)}")
        return rendered(template, n=self.name, number=number, comment=told, **context)

    def _step(self, layer: FusedStep, number: int) -> tuple[str, dict[str, Any]]:
        """The template of a step, and what it shows."""
        match layer.step:
            case Product() as step:
                return self._product(step, layer, number)
            case Requantize() as step:
                return self._requantize(step, layer, number)
            case Table() as step:
                return self._look_up(step, number)
            case PairTable() as step:
                return self._look_up_pair(step, number)
            case Pool() as step:
                return self._pool(step)
            case Move() as step:
                return self._move(step, number)
            case Join() as step:
                return self._join(step)
            case _:
                raise TypeError(f"no step of the integer part: {type(layer.step).__name__}")

    def _product(self, step: Product, layer: FusedStep, number: int) -> tuple[str, dict[str, Any]]:
        weights = self._table("weights", number, packed(step.weights, step.bits))
        x_type = self.type_of(step.x)
        variant = f"{step.bits}{'' if x_type == 'uint8_t' else '_wide'}"
        self.variants[variant] = step.bits, x_type
        levels, tables = self._levels(layer.levels, number)
        return "product.c.jinja", {
            "tables": [weights, *tables],
            "levels": levels,
            "x_type": x_type,
            "y_type": self.type_of(step.y),
            "window": step.window,
            "pool": layer.pool,
            "channels": step.channels,
            "group_size": step.weights.shape[3],
            "group_outputs": len(step.weights) // step.group,
            "outputs": len(step.weights),
            "zero": self.design.tensors[step.x].zero,
            "weights": weights.name,
            "variant": variant,
        }

    def _requantize(self, step: Requantize, layer: FusedStep, number: int) -> tuple[str, dict[str, Any]]:
        levels, tables = self._levels(layer.levels, number)
        return "requantize.c.jinja", {
            "tables": tables,
            "levels": levels,
            "elements": self.design.tensors[step.y].elements,
            "channels": step.channels,
            "selects": step.selector is not None,
        }

    def _look_up(self, step: Table, number: int) -> tuple[str, dict[str, Any]]:
        kept = step.table[:, : self.design.tensors[step.x].hi + 1]
        return "table.c.jinja", {
            "table": self._table("table", number, kept),
            "elements": self.design.tensors[step.y].elements,
            "channels": step.channels,
            "by_channel": len(kept) > 1,
            "count": kept.shape[1],
        }

    def _look_up_pair(self, step: PairTable, number: int) -> tuple[str, dict[str, Any]]:
        kept = step.table[:, : self.design.tensors[step.a].hi + 1, : self.design.tensors[step.b].hi + 1]
        return "pair_table.c.jinja", {
            "table": self._table("table", number, kept),
            "elements": self.design.tensors[step.y].elements,
            "channels": step.channels,
            "by_channel": len(kept) > 1,
            "count_a": kept.shape[1],
            "count_b": kept.shape[2],
        }

    def _pool(self, step: Pool) -> tuple[str, dict[str, Any]]:
        is_max, x_type = step.kind is PoolKind.MAX, self.type_of(step.x)
        return "pool.c.jinja", {
            "x_type": x_type,
            "y_type": self.type_of(step.y),
            "is_max": is_max,
            "least": "INT32_MIN" if is_max and x_type == "int32_t" else "0",
            "window": step.window,
            "channels": step.channels,
            "zero": self.design.tensors[step.x].zero,
        }

    def _move(self, step: Move, number: int) -> tuple[str, dict[str, Any]]:
        loops = loops_of(step.index)
        return "move.c.jinja", {
            "table": None if loops is not None else self._table("index", number, step.index),
            "loops": () if loops is None else loops.loops,
            "start": 0 if loops is None else loops.start,
            "x_type": self.type_of(step.x),
            "elements": len(step.index),
            "has_zeros": bool((step.index < 0).any()),
            "zero": self.design.tensors[step.x].zero,
        }

    def _join(self, step: Join) -> tuple[str, dict[str, Any]]:
        parts = [{"length": n, "shift": s} for n, s in zip(step.lengths, step.shifts, strict=True)]
        return "join.c.jinja", {
            "parts": parts,
            "rows": self.design.tensors[step.y].elements // sum(step.lengths),
        }

    # --- floats

    def quantizer(self, step: Quantize | Compare, port: str) -> str:
        """A function from floats to bytes."""
        context: dict[str, Any] = {
            "n": self.name,
            "N": self.name.upper(),
            "port": port,
            "comment": comment(f"{self.design.tensors[step.y].name}: from floats to bytes"),
            "elements": self.design.tensors[step.y].elements,
            "channels": step.channels,
            "channels_first": step.channels_first,
        }
        before = len(self.float_tables)
        if isinstance(step, Quantize):
            operations = [*step.steps, FloatStep(Arithmetic.DIVIDE, step.scale)]
            operations += [FloatStep(Arithmetic.ADD, step.zero_point)] if step.zero_point.any() else []
            context |= {"lines": self._lines(operations, port), "thresholds": None, "lo": step.lo, "hi": step.hi}
        else:
            table = arrays.Table(f"{self.name}_{port}_thresholds", "float", step.thresholds)
            self.float_tables.append(table)
            base, step_ = (self._number(f"{port}_{k}", a) for k, a in (("base", step.base), ("step", step.step)))
            count, rows = step.thresholds.shape[1], len(step.thresholds)
            context |= {"lines": (), "thresholds": table.name, "count": count, "by_channel": rows > 1}
            context |= {"base": base, "step": step_}
        return rendered("quantize.c.jinja", tables=self.float_tables[before:], **context)

    def dequantizer(self, step: Dequantize | LookUp, port: str) -> str:
        """A function from bytes or sums to floats."""
        elements = self.design.tensors[step.y].elements
        place = f"channel * {elements // step.channels} + i / {step.channels}" if step.channels_first else "i"
        context: dict[str, Any] = {
            "n": self.name,
            "port": port,
            "comment": comment(f"{self.design.tensors[step.y].name}: to floats"),
            "elements": elements,
            "channels": step.channels,
            "place": place,
            "x_type": self.type_of(step.x),
        }
        before = len(self.float_tables)
        if isinstance(step, LookUp):
            table = arrays.Table(f"{self.name}_{port}_table", "float", step.table)
            self.float_tables.append(table)
            rows, count = step.table.shape
            context |= {"table": table.name, "by_channel": rows > 1, "count": count, "lo": step.lo}
        else:
            exact = [f"exact = exact * {self._number(f'{port}_scale', step.scale)};"]
            exact += [f"exact = exact / {literal(np.float64(step.divisor))};"] if step.divisor != 1 else []
            exact += [f"exact = exact + {self._number(f'{port}_bias', step.bias)};"]
            context |= {"table": None, "exact_lines": exact, "lines": self._lines(step.steps, port)}
            context |= {"zero": self.design.tensors[step.x].zero}
        return rendered("dequantize.c.jinja", tables=self.float_tables[before:], **context)

    def _lines(self, operations: Any, port: str) -> list[str]:
        lines: list[str] = []
        for index, operation in enumerate(operations, start=1):
            number = self._number(f"{port}_{index}", operation.numbers)
            lines.append(f"v = {_OPERATIONS[operation.operation].format(v='v', number=number)};")
        return lines

    def _number(self, name: str, numbers: Array) -> str:
        """A number, or that of the channel in a table of the float part."""
        if len(numbers) == 1:
            return literal(numbers[0]).join("()") if numbers[0] < 0 else literal(numbers[0])
        kinds = {"f4": "float", "f8": "double"}
        kind = kinds.get(numbers.dtype.str[1:])
        full = f"{self.name}_{name}"
        table = integer_table(full, numbers) if kind is None else arrays.Table(full, kind, numbers)
        self.float_tables.append(table)
        return f"{table.name}[channel]"

    # --- tables

    def _table(self, kind: str, number: int, numbers: Array) -> arrays.Table:
        table = integer_table(f"{self.name}_{kind}_{number}", numbers)
        self.tables.append(table)
        return table

    def _levels(self, levels: LevelRule | None, number: int) -> tuple[Mapping[str, Any] | None, list[arrays.Table]]:
        """What the function from sums to levels shows, and its tables."""
        if levels is None:
            return None, []
        before = len(self.tables)

        def shown(kind: str, numbers: Array) -> str:
            if (numbers == numbers[0]).all():
                return literal(numbers[0])
            return f"{self._table(kind, number, numbers).name}[row]"

        context: dict[str, Any] = {
            "count": levels.count,
            "base": shown("base", levels.base),
            "step": shown("sign", levels.step) if levels.count else "0",
            "line": levels.line,
            "is_narrow": levels.is_narrow,
        }
        if levels.line is not None:
            context |= {
                "multiplier": shown("multiplier", levels.line.multiplier),
                "bias": shown("bias", levels.line.bias),
                "mask": (1 << levels.line.shift) - 1,
                "parity": {Ties.UP: None, Ties.EVEN: 1, Ties.ODD: 0}[levels.line.ties],
            }
        elif levels.thresholds is not None and levels.count:
            context["thresholds"] = self._table("thresholds", number, levels.thresholds)
        return context, self.tables[before:]


def _kind(step: Step) -> str:
    if not isinstance(step, Product):
        return type(step).__name__.lower()
    outputs, rows, columns, channels = step.weights.shape
    width = "1 bit" if step.bits == 1 else f"{step.bits} bits"
    return f"{rows} x {columns} taps of {channels} channels, {outputs} outputs, weights of {width}"
