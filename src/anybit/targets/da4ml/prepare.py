"""prepare_da4ml: a model as a project for da4ml, or what stands in the way."""

from __future__ import annotations

import io
from importlib import resources

import numpy as np
import onnx_ir as ir

from anybit.arguments import checked
from anybit.arrays import Array
from anybit.engines.sampling import random_inputs
from anybit.errors import Finding
from anybit.io.checks.model import sound_copy
from anybit.io.load import ModelSource
from anybit.io.save import to_proto
from anybit.runtime.session import Session
from anybit.targets.da4ml.network import Network, hub_of, network_of
from anybit.targets.defaults import overridable_inputs
from anybit.targets.handover import Rewrite, finding_of
from anybit.targets.logits import cut_softmax
from anybit.targets.project import Project

_SAMPLES = 64


@checked
def prepare_da4ml(model: ModelSource, *, logits: bool = False) -> Project:
    """The model, inputs and outputs for da4ml, and the script that makes the circuit of it and compares them.

    The circuit begins at the levels that the first quantisers make of the inputs, and is exact from there on: every
    scale is a power of two, and float32 rounds nothing in between.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model`` of any format; it is not changed.
        logits: Whether a Softmax at the end is cut off: outputs then are what it reads.

    Raises:
        ModelFileError: The model cannot be read.
        InvalidModelError: `check` finds an error in it other than an unknown operator, or samples cannot be told apart.
    """
    hub = hub_of(sound_copy(model))
    findings = overridable_inputs(hub)
    rewrites = cut_softmax(hub) if logits else []
    network, head = network_of(hub)
    if isinstance(network, tuple):
        findings += [finding_of(r, rule="not-exact") for r in network]
    elif not network.inputs or not network.outputs:
        hint = "quantise the inputs, and see that an output depends on them"
        problem = "the circuit has no inputs or no outputs"
        findings.append(Finding(rule="not-exact", problem=problem, expected="levels to levels", hint=hint))
    if findings or isinstance(network, tuple):
        return Project("da4ml", {}, tuple(rewrites), tuple(findings))
    rewrites += [Rewrite(problem="left to the caller: the circuit begins behind it", node=node) for node in head]
    levels, outputs = _vectors(hub, network)
    files = {
        "model.onnx": to_proto(hub).SerializeToString(),
        "input.npy": _npy(levels),
        "expected_output.npy": _npy(outputs),
        "build.py": resources.files("anybit.targets.da4ml").joinpath("build_script.txt").read_bytes(),
    }
    figures = {
        "inputs of the circuit": levels.shape[1],
        "outputs of the circuit": outputs.shape[1],
        "steps": len(network.steps),
        "samples": len(levels),
    }
    return Project("da4ml", files, tuple(rewrites), (), figures)


def _vectors(hub: ir.Model, network: Network) -> tuple[Array, Array]:
    """What the circuit reads and must make, (samples, elements), by the reference engine."""
    names = [str(v.name) for v in hub.graph.outputs]
    session = Session(hub, engine="reference", tensors=[n for n in network.inputs if n not in names])
    rows: list[list[Array]] = [[], []]
    for seed in range(_SAMPLES):
        found = session.run(random_inputs(hub, 1, seed=seed))
        for row, wanted in zip(rows, (network.inputs, names), strict=True):
            row.append(np.concatenate([found[n].reshape(-1) for n in wanted]).astype(np.float64))
    levels, outputs = (np.stack(row) for row in rows)
    return levels, outputs


def _npy(array: Array) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()
