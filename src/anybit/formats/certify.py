"""certify: whether two models of any format mean the same for every input; nothing is run on data."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import onnx_ir as ir

from anybit.analysis.values.stated_formats import of_annotation
from anybit.cleanup.convert_opset import ConvertOpset
from anybit.cleanup.infer_shapes import InferShapes
from anybit.errors import UnsupportedError, UsageError
from anybit.exact.certificate import Assumption, Certificate
from anybit.exact.equivalence import certify_hubs
from anybit.formats.convert import to_hub
from anybit.graph.annotations import annotate_number_format, annotated_number_format
from anybit.io.load import ModelSource, load
from anybit.number_formats import NumberFormat


def certify(a: ModelSource, b: ModelSource, *, assume_annotations: bool | None = None) -> Certificate:
    """Proves that two models are equal, or names what stands in the way; never says that they differ.

    Number formats that the files state for inputs are assumed only where there is no proof without them; the
    certificate says which it needs.

    Args:
        a: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model`` of any format; it is not changed.
        b: The other one.
        assume_annotations: Whether inputs are taken to hold what their annotated number format allows: None where
            both files state the same, True where either states it, False nowhere.

    Raises:
        ModelFileError: A model cannot be read.
    """
    first, second = load(a), load(b)
    assumed = assume_formats(first, second, assume_annotations=assume_annotations)
    if not assumed:
        return _certified(first, second)
    bare = load(first), load(second)
    assume_formats(*bare, assume_annotations=False)
    without = _certified(*bare)
    if without.verdict.is_exact:
        return without
    found = _certified(first, second)
    gained = found.verdict.is_exact or not without.verdict.is_proof
    return replace(found, assumptions=assumed) if gained else without


def assume_formats(
    first: ir.Model, second: ir.Model, *, assume_annotations: bool | None = None
) -> tuple[Assumption, ...]:
    """What may be assumed of the inputs of two models, which from then on is all that is annotated of them.

    Args:
        first: First model; its names are used.
        second: Second model, whose inputs are matched by position.
        assume_annotations: As `certify` has it.
    """
    found: list[Assumption] = []
    stated = [[_stated(v) for v in model.graph.inputs] for model in (first, second)]
    for x, y, s, t in zip(first.graph.inputs, second.graph.inputs, *stated, strict=False):
        both = s if s == t else None
        datatype = both if assume_annotations is None else both or (s if t is None else t if s is None else None)
        datatype = None if assume_annotations is False else datatype
        annotate_number_format(x, datatype)
        annotate_number_format(y, datatype)
        if datatype is not None:
            found.append(Assumption(str(x.name), datatype))
    return tuple(found)


def _stated(value: ir.Value) -> NumberFormat | None:
    """The number format that a file states for an input, where it says more than the element type does."""
    return None if of_annotation(value) is None else annotated_number_format(value)


def _certified(a: ir.Model, b: ir.Model) -> Certificate:
    (first, of_first), (second, of_second) = to_hub(a), to_hub(b)
    refusals = (*of_first.refusals, *of_second.refusals)
    _meet(first, second)
    return certify_hubs(first, second, notes=[f"not read: {refusal}" for refusal in refusals])


def _meet(first: ir.Model, second: ir.Model) -> None:
    """Brings the model of the older opset to the other's: what was an attribute may have become an input since."""
    opsets = [model.graph.opset_imports.get("", 0) for model in (first, second)]
    if 0 in opsets or opsets[0] == opsets[1]:
        return
    with suppress(UnsupportedError, UsageError):  # then it stays as it is, and less is proven
        older = first if opsets[0] < opsets[1] else second
        ConvertOpset(max(opsets))(older)
        InferShapes()(older)
