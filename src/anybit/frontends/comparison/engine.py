"""agreement_of_engine: what an engine makes of a model, held against the model's own exact sums, tensor by tensor.

A rounding tie may fall to one side in the framework's float32 sums and in the model's exact ones, and to the other in
the float32 sums of an engine. Where the engine's own rounded tensors take the place of the source's, the comparison of
`anybit.frontends.comparison.lockstep` finds these ties, and tells them from what the engine computes otherwise. Those
in the body of a Scan are taken at each step: a copy of the model gives them as further results of the Scan.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.engines.engine import Engine
from anybit.frontends.comparison.lockstep import Recording, TensorAgreement, lockstep, rounds
from anybit.runtime.session import Session


def agreement_of_engine(
    model: ir.Model, feeds: Mapping[str, Array], layers: Mapping[str, str], *, engine: Engine
) -> list[TensorAgreement]:
    """How each rounded tensor that an engine computes agrees with what the model makes of the engine's own numbers.

    Args:
        model: Clean hub model; it is only read.
        feeds: Inputs by name.
        layers: Where in the source a tensor is made, by the model's names.
        engine: What runs it.

    Raises:
        UnsupportedError: The engine does not run it.
    """
    names = [str(n.outputs[0].name) for n in model.graph if _is_told(n)]
    told, inner = _telling_steps(model)
    stacks = {stack for tensors in inner.values() for stack in tensors.values()}
    found = Session(told, engine=engine, tensors=[*names, *stacks]).run(dict(feeds))
    steps = {scan: _of_each_step({k: found[v] for k, v in tensors.items()}) for scan, tensors in inner.items()}
    tensors = {name: array for name, array in found.items() if name not in stacks}
    return lockstep(model, feeds, Recording(tensors, layers, steps=steps))


def _is_told(node: ir.Node) -> bool:
    return rounds(node) and node.outputs[0].dtype == ir.DataType.FLOAT


def _telling_steps(model: ir.Model) -> tuple[ir.Model, dict[str, dict[str, str]]]:
    """A copy whose Scans also give the rounded tensors of their bodies, stacked in the order of the steps.

    Returns:
        The copy, or the model itself where it has none, and by the name of each such Scan the names of these results
        by those of the tensors.
    """
    if not any(_scanned(n) for n in model.graph):
        return model, {}
    copy = model.clone()
    found: dict[str, dict[str, str]] = {}
    for node in [n for n in copy.graph if _scanned(n)]:
        rounded = _scanned(node)
        found[str(node.name)] = {str(v.name): f"{v.name}/stacked" for v in rounded}
        _tell(node, rounded)
    return copy, found


def _scanned(node: ir.Node) -> list[ir.Value]:
    """The rounded tensors of the body of a Scan that has a name."""
    if node.op_type != "Scan" or node.domain != "" or not node.name:
        return []
    return [n.outputs[0] for n in node.attributes["body"].as_graph() if _is_told(n)]


def _tell(node: ir.Node, rounded: list[ir.Value]) -> None:
    body = node.attributes["body"].as_graph()
    for value in rounded:
        same = ir.Node("", "Identity", [value], num_outputs=1, name=f"{value.name}/step")
        given = same.outputs[0]
        given.name, given.type, given.shape = f"{value.name}/step", value.type, value.shape
        body.append(same)
        body.outputs.append(given)
    for key in ("scan_output_axes", "scan_output_directions"):
        if key in node.attributes:
            node.attributes[key] = ir.AttrInt64s(key, [*node.attributes[key].as_ints(), *[0] * len(rounded)])
    count = len(node.outputs)
    node.resize_outputs(count + len(rounded))
    for value, result in zip(rounded, node.outputs[count:], strict=True):
        result.name, result.type = f"{value.name}/stacked", value.type


def _of_each_step(stacked: Mapping[str, Array]) -> list[dict[str, Array]]:
    count = min((len(a) for a in stacked.values()), default=0)
    return [{name: np.asarray(a[step]) for name, a in stacked.items()} for step in range(count)]
