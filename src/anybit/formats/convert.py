"""translate: a model of any format as the same model in another: all readers to the hub, then one writer."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from anybit.analysis.values.interpreter import Values
from anybit.arguments import checked
from anybit.cleanup.flatten import flattened
from anybit.cleanup.fold_shapes import fold_shapes
from anybit.cleanup.fold_transpose import FoldTranspose
from anybit.cleanup.remove_unused import RemoveUnused
from anybit.errors import UsageError
from anybit.formats.capability import DialectCapability, Write, compare_formats
from anybit.formats.dialect import Conversion, Dialect, Outcome, Substitution
from anybit.formats.integer import integer_ops, quantized_ops
from anybit.formats.qdq import qcdq, qdq
from anybit.formats.qonnx import functions as functions_of_bodies
from anybit.formats.qonnx import pack as packing
from anybit.formats.readers import READERS
from anybit.formats.standard import widen_bipolar_constants, write_standard
from anybit.formats.stock_runtime.forms import write_stock_forms
from anybit.formats.stock_runtime.notes import stock_notes
from anybit.formats.thresholds import write as thresholds
from anybit.formats.unread import causes_first, unread
from anybit.formats.vendor_names import SPELLINGS, standard_names
from anybit.graph.walk import all_nodes
from anybit.io.checks.model import require_sound
from anybit.io.load import ModelSource
from anybit.io.shapes import infer_shapes
from anybit.ops.broken import cover_broken
from anybit.ops.operator import DOMAIN
from anybit.records import Records


def _stay(model: ir.Model, *, approximate: bool = False, values: Values | None = None) -> Outcome:
    """The hub is what it is."""
    del model, approximate, values
    return Outcome()


WRITERS: dict[Dialect, Write] = {
    Dialect.QONNX: _stay,
    Dialect.QUANTIZED_OPS: quantized_ops.write,
    Dialect.INTEGER_OPS: integer_ops.write,
    Dialect.FINN: thresholds.write,
    Dialect.QCDQ: qcdq.write,
    Dialect.QDQ: qdq.write,
}
"""The formats that can be written."""

STANDARD_FORMATS = (Dialect.QCDQ, Dialect.QDQ, Dialect.QUANTIZED_OPS, Dialect.INTEGER_OPS)
"""The formats that are made of standard operators alone."""


def translate(
    model: ModelSource,
    to: Dialect | str,
    *,
    approximate: bool = False,
    pack: bool = False,
    embed_functions: bool = False,
    standard: bool = False,
) -> Conversion:
    """The model in another format, not yet compared with its source; `anybit.convert` does both.

    Nodes that a format cannot carry, and nodes of other formats that are not understood, stay as they are and are
    listed as refusals. Constants are folded and shapes inferred on the way; the opset is raised where the format
    needs it.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model`` of any format; it is not changed.
        to: A `Dialect` or its name.
        approximate: Whether a node may change what it means by a stated bound, rather than be refused.
        pack: Whether weights are stored as small integers; for QONNX only.
        embed_functions: Whether the bodies of the operators go into the file; for QONNX only.
        standard: Whether what the format cannot carry is written with standard operators that compute the same, so
            that any runtime runs the file; for formats of standard operators only, and not with `approximate`.

    Raises:
        ModelFileError: The model cannot be read.
        InvalidModelError: `check` finds an error in it other than an unknown operator.
        UsageError: There is no such format, an option is not for it, or two options exclude each other.

    Example:
        >>> translate("model.onnx", "qcdq").refusals            # doctest: +SKIP
        ()
    """
    target = parse_format(to)
    if (pack or embed_functions) and target is not Dialect.QONNX:
        raise UsageError("packed weights and embedded functions", got=target.value, expected=Dialect.QONNX.value)
    if standard and (approximate or target not in STANDARD_FORMATS):
        got = f"{target.value}, approximate" if approximate else target.value
        expected = f"{', '.join(f.value for f in STANDARD_FORMATS)}; not approximate"
        raise UsageError("standard operators", got=got, expected=expected)
    hub, outcome = to_hub(model)
    if target in STANDARD_FORMATS:
        FoldTranspose()(hub)  # stock ONNX Runtime moves them past DequantizeLinear, into forms that it breaks
    substitutions: tuple[Substitution, ...] = widen_bipolar_constants(hub) if standard else ()
    outcome += WRITERS[target](hub, approximate=approximate)
    if standard:
        outcome, written = write_standard(hub, outcome)
        substitutions += written
    _tidy(hub)
    for_stock = target in STANDARD_FORMATS or embed_functions
    if for_stock:
        write_stock_forms(hub)
    if pack:
        outcome += packing.pack(hub)
    if embed_functions:
        functions_of_bodies.embed_functions(hub)
    notes = stock_notes(hub) if for_stock else ()
    return Conversion(hub, outcome.refusals, outcome.approximations, substitutions, notes)


@checked
def capabilities(model: ModelSource) -> Records[DialectCapability]:
    """The table of formats for a model: what each can carry, and what not, and why.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model`` of any format; it is not changed.

    Raises:
        ModelFileError: The model cannot be read.
    """
    hub, outcome = to_hub(model, sound=False)  # the table of a broken model helps to mend it
    return Records(compare_formats(hub, WRITERS, unread=outcome.refusals))


def parse_format(to: Dialect | str) -> Dialect:
    """A format, by itself or by its name.

    Raises:
        UsageError: There is no such format.
    """
    known = {f.value: f for f in WRITERS}
    name = to.value if isinstance(to, Dialect) else to.strip().lower().replace("_", "-")
    if name not in known:
        raise UsageError("no such format", got=repr(name), expected=", ".join(known))
    return known[name]


def to_hub(model: ModelSource, *, sound: bool = True) -> tuple[ir.Model, Outcome]:
    """A copy of the model in the language of the hub, and what of it was not understood.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model`` of any format; it is not changed.
        sound: Whether a model is refused in which `check` finds an error other than an unknown operator.

    Raises:
        ModelFileError: The model cannot be read.
        InvalidModelError: The graph has a cycle, or a tensor that nothing makes, or another error.
        UnsupportedError: A model-local function cannot be inlined.
    """
    hub = flattened(model)
    inference = infer_shapes(hub, data_propagation=True)
    if sound:
        require_sound(hub)
    else:
        cover_broken(hub)
    renamed = any((n.domain, n.op_type) in SPELLINGS for n in all_nodes(hub.graph))
    with standard_names(hub) as refusals:
        fold_shapes(hub, inference if sound and not renamed else None)
        outcome = Outcome(refusals)
        for reader in READERS:
            outcome += reader.read(hub)
    outcome += Outcome(unread(hub, outcome.refusals))
    return hub, replace(outcome, refusals=causes_first(outcome.refusals, hub))


def _tidy(model: ir.Model) -> None:
    """Removes what nothing reads any more, and the import of a domain that nothing is of."""
    RemoveUnused()(model)
    if all(n.domain != DOMAIN for n in all_nodes(model.graph)):
        model.opset_imports.pop(DOMAIN, None)
