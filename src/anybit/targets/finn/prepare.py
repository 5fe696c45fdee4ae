"""prepare: a model as FINN takes it, with what was changed and what stands in the way."""

from __future__ import annotations

import enum
from collections.abc import Mapping

import onnx_ir as ir

from anybit.arguments import checked
from anybit.cleanup.convert_opset import ConvertOpset
from anybit.cleanup.remove_identities import RemoveIdentities
from anybit.cleanup.set_batch import SetBatch
from anybit.errors import AnybitError, Finding, InvalidModelError, Severity, UnsupportedError, UsageError
from anybit.formats.convert import to_hub
from anybit.formats.thresholds.write import write_layers
from anybit.graph.annotations import annotate_number_format
from anybit.graph.walk import all_nodes, label, shape_of
from anybit.io.checks.model import sound_copy
from anybit.io.load import ModelSource
from anybit.number_formats import NumberFormat
from anybit.ops.calls import operator_of
from anybit.ops.operator import DOMAIN
from anybit.ops.trunc import TRUNC
from anybit.passes.layout.conv_1d_to_2d import Conv1dTo2d
from anybit.passes.lowering.gemm_to_matmul import GemmToMatMul
from anybit.runtime.compare import Comparison, compare
from anybit.targets.defaults import overridable_inputs
from anybit.targets.equivalents import write_equivalents
from anybit.targets.finn.attributes import write_attributes
from anybit.targets.finn.dialect_rules import check_dialect
from anybit.targets.finn.inputs import tie_inputs
from anybit.targets.finn.kernels import write_kernels
from anybit.targets.finn.qonnx_rules import check_qonnx
from anybit.targets.finn.reshapes import lower_reshapes, write_reshapes
from anybit.targets.finn.resizes import write_resizes
from anybit.targets.finn.ties import round_sums_once, warning_of
from anybit.targets.handover import Handover, Rewrite, departures, finding_of
from anybit.targets.logits import cut_softmax

_SAMPLES = 8
_OLDEST_OPSET = 11  # FINN writes attributes of pools that came with version 10, and reads scales of Resize as in 11
_VERSIONED = frozenset((TRUNC.name,))  # operators whose meaning is another one in version 1


class FinnForm(enum.Enum):
    """The language of the file."""

    DIALECT = "dialect"
    """Integer products and MultiThreshold: nothing is left to FINN's own reading of quantisers."""
    QONNX = "qonnx"
    """Quant and BipolarQuant, which FINN converts; it sends numbers half-way between levels up."""


@checked
def prepare_finn(
    model: ModelSource,
    *,
    form: FinnForm | str = FinnForm.DIALECT,
    input_types: Mapping[str, NumberFormat] | None = None,
    logits: bool = False,
    compared: bool = True,
) -> Handover:
    """The model for FINN.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model`` of any format; it is not changed.
        form: The language of the file; a text is "dialect" or "qonnx".
        input_types: Integer formats, by name, of inputs that are only ever fed such numbers.
        logits: Whether a Softmax at the end is cut off: outputs then are what it reads.
        compared: Whether the prepared model is run beside its source, which takes most of the time for large images.

    Raises:
        ModelFileError: The model cannot be read.
        InvalidModelError: `check` finds an error in it other than an unknown operator.
        UsageError: `form` is none, or `input_types` names no input or is no format of integers.
    """
    form = _form(form)
    hub, outcome = to_hub(_with_batch_one(sound_copy(model)))
    rewrites: list[Rewrite] = []
    findings = [finding_of(r, rule="format") for r in outcome.refusals]
    findings += overridable_inputs(hub)
    findings += _raise_opset(hub)
    _state_inputs(hub, input_types or {}, rewrites)
    RemoveIdentities()(hub)
    if logits:
        rewrites += cut_softmax(hub)
    source = hub.clone()
    rewrites += write_equivalents(hub)
    if form is FinnForm.DIALECT:
        Conv1dTo2d()(hub)
        rewrites += write_reshapes(hub)
        write_resizes(hub, rewrites)
        findings += _write(hub, source, rewrites)
    else:
        GemmToMatMul()(hub)
        rewrites += lower_reshapes(hub)
        write_attributes(hub, rewrites)
        findings += check_qonnx(hub)
    _set_version(hub)
    _name_nodes(hub, rewrites)
    if not compared or any(f.severity is Severity.ERROR for f in findings):
        return Handover(hub, tuple(rewrites), tuple(findings), None)
    comparison = _compared(source, hub)
    return Handover(hub, tuple(rewrites), (*findings, *departures(comparison)), comparison)


def _form(form: FinnForm | str) -> FinnForm:
    try:
        return FinnForm(form)
    except ValueError:
        raise UsageError("form", got=repr(form), expected=", ".join(f.value for f in FinnForm)) from None


def _raise_opset(model: ir.Model) -> list[Finding]:
    """Brings an older model to the oldest opset that FINN's transformations write nodes for, in place."""
    if not 0 < model.opset_imports.get("", 0) < _OLDEST_OPSET:
        return []
    try:
        ConvertOpset(_OLDEST_OPSET)(model)
    except UnsupportedError as error:
        return [finding_of(error.diagnosis, rule="opset")]
    return []


def _with_batch_one(model: ir.Model) -> ir.Model:
    firsts = [shape[0] for v in model.graph.inputs if (shape := shape_of(v))]
    if all(n == 1 for n in firsts):
        return model
    read = model.clone()
    try:
        SetBatch(1)(read)
    except InvalidModelError:  # the checker says that the shape is not known
        return model
    return read


def _state_inputs(model: ir.Model, input_types: Mapping[str, NumberFormat], rewrites: list[Rewrite]) -> None:
    by_name = {str(v.name): v for v in model.graph.inputs}
    for name, datatype in input_types.items():
        if name not in by_name:
            raise UsageError("format of an unknown input", got=repr(name), expected=", ".join(by_name))
        if not datatype.is_integer:
            raise UsageError("format of an input", got=datatype, expected="integers, such as UINT8")
        annotate_number_format(by_name[name], datatype)
        rewrites.append(Rewrite(problem=f"only fed numbers of {datatype}", node=f"input '{name}'"))


def _write(model: ir.Model, source: ir.Model, rewrites: list[Rewrite]) -> list[Finding]:
    """Writes the dialect; sums on ties are rounded once in the source too, to which the result is compared."""
    outcome, layers = write_layers(model, ties=True)
    round_sums_once(source, [layer.ties for layer in layers if layer.ties is not None])
    write_attributes(model, rewrites)
    rewrites += write_kernels(model)
    rewrites += [
        Rewrite(
            problem="thresholds in its place",
            node=layer.node,
            got=f"{layer.rows} rows of {layer.steps}, exact on {layer.lo:g} .. {layer.hi:g} by {layer.proof.value}"
            if layer.integers
            else f"{layer.rows} rows of {layer.steps}, exact for every float32 by {layer.proof.value}",
        )
        for layer in layers
    ]
    reasons = {r.node: f"{r.problem}: {r.got}" if r.got else r.problem for r in outcome.refusals}
    findings = check_dialect(model, reasons)
    named, told = {f.node for f in findings}, {f.got for f in findings}
    left = [r for r in outcome.refusals if r.node not in named and reasons[r.node] not in told]
    warned = [warning_of(layer.node, layer.ties) for layer in layers if layer.ties is not None]
    return findings + warned + [finding_of(r, rule="not-integer", severity=Severity.WARNING) for r in left]


def _set_version(model: ir.Model) -> None:
    """Version 1 of the domain, which FINN reads, where all operators mean the same in it."""
    ours = {o.name for n in all_nodes(model.graph) if (o := operator_of(n, model.opset_imports)) is not None}
    if ours and not ours & _VERSIONED:
        model.opset_imports[DOMAIN] = 1
    if not ours:
        model.opset_imports.pop(DOMAIN, None)


def _name_nodes(model: ir.Model, rewrites: list[Rewrite]) -> None:
    """Gives every node a name of its own."""
    taken = {n.name for n in all_nodes(model.graph) if n.name}
    seen: set[str] = set()
    for index, node in enumerate(all_nodes(model.graph)):
        if node.name and node.name not in seen:
            seen.add(node.name)
            continue
        wish, count = f"{node.op_type}_{index}", 0
        name = wish
        while name in taken:
            count += 1
            name = f"{wish}_{count}"
        if node.name:
            rewrites.append(Rewrite(problem="renamed: another node has its name", node=label(node), got=name))
        node.name = name
        taken.add(name)
        seen.add(name)


def _compared(source: ir.Model, prepared: ir.Model) -> Comparison:
    """Both models at the thresholds of their inputs and at random; integers are exact, the last scaling is float."""
    try:
        inputs = tie_inputs(prepared, _SAMPLES)
    except AnybitError:
        inputs = None
    return compare(source, prepared, inputs, samples=_SAMPLES, engine_a="reference", engine_b="reference")
