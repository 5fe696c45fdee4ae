"""prepare_c: a model as dependency-free C99, or what stands in the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir

from anybit.arguments import checked
from anybit.arrays import Array
from anybit.cleanup.infer_shapes import InferShapes
from anybit.cleanup.set_batch import SetBatch
from anybit.engines.sampling import random_inputs
from anybit.errors import Finding, UnsupportedError
from anybit.formats.convert import to_hub
from anybit.graph.walk import label
from anybit.io.checks.model import sound_copy
from anybit.io.load import ModelSource
from anybit.plan.build import plan_of_prepared
from anybit.plan.execute import execute
from anybit.plan.plan import Plan, Product, Quantize, Softmax
from anybit.runtime.compare import FLOAT_TOLERANCE, Comparison, difference
from anybit.runtime.session import Session
from anybit.targets.c.design import Design, design_of
from anybit.targets.c.names import given_name, project_name
from anybit.targets.c.render import SourceText, source_of
from anybit.targets.c.steps import rendered
from anybit.targets.c.vectors import samples_of, test_program
from anybit.targets.defaults import overridable_inputs
from anybit.targets.handover import Rewrite, departures, finding_of
from anybit.targets.logits import cut_softmax
from anybit.targets.project import Project

_MOST_BITS = 1 << 32  # of the weights of one layer, whose place is a 32-bit number


@checked
def prepare_c(model: ModelSource, *, name: str | None = None, logits: bool = False) -> Project:
    """The model as a header, a source, a CMake file and a test program of C99, bit by bit what its plan computes.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model`` of any format; it is not changed.
        name: What all identifiers begin with, in small letters; made of the model's name where None.
        logits: Whether a Softmax at the end is cut off: outputs then are what it reads.

    Raises:
        ModelFileError: The model cannot be read.
        InvalidModelError: `check` finds an error in it other than an unknown operator.
        UsageError: The name cannot begin identifiers.
    """
    return project_of(model, plan_of_prepared, name=name, logits=logits)


def project_of(
    model: ModelSource, planned: Callable[[ir.Model], Plan], *, name: str | None = None, logits: bool = False
) -> Project:
    """`prepare_c` by the plan that a function makes of the hub model, such as one that has made it before."""
    chosen = None if name is None else given_name(name)
    hub, outcome = to_hub(sound_copy(model))
    title = _title(model, hub)
    chosen = chosen or project_name(title)
    findings = [finding_of(r, rule="format") for r in outcome.refusals]
    findings += overridable_inputs(hub)
    rewrites = cut_softmax(hub) if logits else []
    InferShapes()(hub)
    SetBatch("batch")(hub)
    plan = _plan(hub, planned, findings)
    if plan is None or findings:
        return Project(chosen, {}, tuple(rewrites), tuple(findings))
    return _written(chosen, title, hub, plan, rewrites)


def _title(model: ModelSource, hub: ir.Model) -> str:
    """The name of the model's file, of its folder where the file is called model, else of its graph."""
    if not isinstance(model, str | Path):
        return hub.graph.name or "network"
    path = Path(model)
    return path.stem if path.stem != "model" or not path.parent.name else path.parent.name


def _plan(hub: ir.Model, planned: Callable[[ir.Model], Plan], findings: list[Finding]) -> Plan | None:
    """The plan of a model, if it is whole; else what of it is none."""
    try:
        plan = planned(hub)
    except UnsupportedError as error:
        findings.append(finding_of(error.diagnosis, rule="no-plan"))
        return None
    findings += [finding_of(r, rule="no-plan") for r in plan.refusals]
    made = {p.name for p in plan.outputs}
    findings += [
        Finding(rule="no-plan", problem="no integer layer makes it", node=f"output '{v.name}'")
        for v in hub.graph.outputs
        if v.name not in made
    ]
    if any(isinstance(s, Softmax) for s in plan.steps):
        findings += [_softmax(n) for n in hub.graph if n.op_type == "Softmax"]
    for step in plan.steps:
        if isinstance(step, Product) and step.weights.size * step.bits >= _MOST_BITS:
            where = f"tensor '{plan.tensors[step.y].name}'"
            findings.append(Finding(rule="size", problem="too many weights in one layer", node=where))
    return plan


def _softmax(node: ir.Node) -> Finding:
    return Finding(
        rule="softmax",
        problem="exponentials of float numbers, which no two C libraries round alike",
        node=label(node),
        hint="cut it off: --logits",
    )


def _written(name: str, title: str, hub: ir.Model, plan: Plan, rewrites: list[Rewrite]) -> Project:
    design = design_of(plan)
    source = source_of(name, plan, design, title)
    inputs = _inputs(hub, plan)
    comparison = _compared(hub, plan, inputs)
    findings = departures(comparison)
    if findings:
        return Project(name, {}, tuple(rewrites), findings)
    texts = {
        f"{name}.h": source.header,
        f"{name}.c": source.source,
        f"test_{name}.c": test_program(name, plan, design, source.ports, inputs),
        "CMakeLists.txt": rendered("CMakeLists.txt.jinja", n=name),
    }
    files = {path: text.encode("ascii") for path, text in texts.items()}
    return Project(name, files, tuple(rewrites), (), _figures(plan, design, source, comparison))


def _figures(plan: Plan, design: Design, source: SourceText, comparison: Comparison) -> dict[str, int | float | str]:
    return {
        "flash: constants, bytes": source.constants,
        "flash: constants of the float part, bytes": source.float_constants,
        "RAM: arena on integers, bytes": design.arena,
        "RAM: arena on floats, bytes": design.float_arena,
        "multiplications": plan.macs,
        "samples compared with the reference": comparison.samples,
        "elements that are another number there": sum(d.unequal for d in comparison.outputs),
    }


def _inputs(hub: ir.Model, plan: Plan) -> dict[str, Array]:
    """Random inputs with ties, and infinities where nothing is computed before the levels."""
    inputs = random_inputs(hub, samples_of(plan))
    if all(not s.steps for s in plan.steps if isinstance(s, Quantize)):
        for port in plan.inputs:
            inputs[port.name].reshape(-1)[:2] = (np.inf, -np.inf)[: inputs[port.name].size]
    return inputs


def _compared(hub: ir.Model, plan: Plan, inputs: Mapping[str, Array]) -> Comparison:
    """The plan and the reference engine on the inputs of the test program."""
    known = Session(hub, engine="reference").run(dict(inputs))
    found = execute(plan, inputs)
    values = {str(v.name): v for v in hub.graph.outputs}
    outputs = tuple(difference(n, known[n], a, values[n], FLOAT_TOLERANCE) for n, a in found.items())
    return Comparison(len(next(iter(inputs.values()))), FLOAT_TOLERANCE, outputs)
