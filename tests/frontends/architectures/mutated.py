"""mutated: an export with one thing of one quantiser changed, which the comparison with its source has to find."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
import torch

from anybit.errors import FrontEndError
from anybit.frontends.comparison.lockstep import lockstep
from anybit.frontends.torch.recording import Traced
from anybit.graph.walk import all_nodes

_FEW = 3  # quantisers: the first, the one in the middle, the last


@dataclass
class Kept:
    """The graphs that exports were made of, in order."""

    traced: list[Traced] = field(default_factory=list)


@contextmanager
def kept_graphs() -> Iterator[Kept]:
    """Keeps the graphs of the exports that are made inside."""
    import anybit.frontends.brevitas.convert as from_brevitas
    import anybit.frontends.torch.convert as from_torch

    kept, compared_on = Kept(), from_torch.compared_on

    def keeping(traced: Traced, *args: Any, **options: Any) -> Any:
        kept.traced.append(traced)
        return compared_on(traced, *args, **options)

    from_torch.compared_on = from_brevitas.compared_on = keeping
    try:
        yield kept
    finally:
        from_torch.compared_on = from_brevitas.compared_on = compared_on


def missed(traced: Traced, inputs: tuple[torch.Tensor, ...]) -> list[str]:
    """The changes of its quantisers that the comparison on these inputs does not find."""
    recording, _ = traced.record(inputs)
    names = [str(v.name) for v in traced.model.graph.inputs]
    feeds = {n: x.numpy() for n, x in zip(names, inputs, strict=True)}
    found: list[str] = []
    for node in _few([n for n in all_nodes(traced.model.graph) if n.op_type == "Quant"]):
        for name, change in _CHANGES.items():
            undo = change(node)
            if undo is None:
                continue
            try:
                passes = not any(t.departing for t in lockstep(traced.model, feeds, recording))
            except FrontEndError:
                passes = False
            finally:
                undo()
            if passes:
                found.append(f"{name} of {node.outputs[0].name}")
    return found


def _few(nodes: list[ir.Node]) -> list[ir.Node]:
    return list(dict.fromkeys(nodes[i] for i in (0, len(nodes) // 2, -1))) if nodes else []


def _scale(node: ir.Node) -> Callable[[], None] | None:
    """Its scale, or the first of them, one unit in the last place larger."""
    value = node.inputs[1]
    if value is None or value.const_value is None:
        return None
    before = value.const_value
    array = np.array(before.numpy())
    array.reshape(-1)[0] = np.nextafter(array.reshape(-1)[0], np.float32(np.inf))
    value.const_value = ir.tensor(array)

    def undo() -> None:
        value.const_value = before

    return undo


def _attribute(name: str, other: Callable[[Any], ir.Attr]) -> Callable[[ir.Node], Callable[[], None] | None]:
    def change(node: ir.Node) -> Callable[[], None] | None:
        before = node.attributes.get(name)
        if before is None:
            return None
        node.attributes[name] = other(before.value)

        def undo() -> None:
            node.attributes[name] = before

        return undo

    return change


_CHANGES: dict[str, Callable[[ir.Node], Callable[[], None] | None]] = {
    "scale": _scale,
    "rounding mode": _attribute(
        "rounding_mode", lambda mode: ir.AttrString("rounding_mode", "CEIL" if mode != "CEIL" else "FLOOR")
    ),
    "narrow": _attribute("narrow", lambda narrow: ir.AttrInt64("narrow", 1 - narrow)),
    "signed": _attribute("signed", lambda signed: ir.AttrInt64("signed", 1 - signed)),
}
