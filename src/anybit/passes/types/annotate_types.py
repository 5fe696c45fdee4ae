"""AnnotateTypes: the proven number format of every tensor, written into the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from anybit.analysis.qonnx_types import legacy_formats
from anybit.analysis.types import types
from anybit.analysis.values.input_range import InputRanges
from anybit.errors import AnybitError, UsageError
from anybit.graph.annotations import annotate_number_format, annotated_number_format
from anybit.graph.names import all_values
from anybit.number_formats import FloatFormat, NumberFormat

_PLAIN_BITS = 16  # from here on a float format is that of an element type, which the tensor has anyway


@dataclass(frozen=True)
class AnnotateTypes(ir.passes.InPlacePass):
    """States the number format of every tensor, as far as it is more than the element type says.

    Before: ``y = MatMul(xq, wq)``, stated as INT32 by an older tool; after: y is stated as INT7, the smallest format
    that holds every sum. Statements that are wrong are replaced or taken away. What a file states about its own
    inputs, and about float initializers, is believed: nothing else can say it.

    Attributes:
        input_ranges: By input name, the smallest and the largest value that is fed: a pair or an `anybit.InputRange`.
        legacy: Write what QONNX's own inference would, INT32 for every sum of integers, for tools that expect it.
        allow_scaledint_dtypes: That inference's setting of this name: SCALEDINT where integers are scaled, in place of
            FLOAT32, which is its default.
    """

    legacy: bool = False
    allow_scaledint_dtypes: bool = False
    input_ranges: Mapping[str, Any] = field(default_factory=dict[str, Any], hash=False)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Applies the pass.

        Raises:
            UsageError: A range is empty, does not fit its input, or names no input; or `allow_scaledint_dtypes` is set
                without `legacy`.
        """
        if self.allow_scaledint_dtypes and not self.legacy:
            raise UsageError("allow_scaledint_dtypes", expected="legacy as well: it is a setting of that inference")
        formats = (
            legacy_formats(model, allow_scaledint_dtypes=self.allow_scaledint_dtypes)
            if self.legacy
            else _proven(model, self.input_ranges)
        )
        changes = [_annotate(value, datatype) for value, datatype in formats.items()]
        return ir.passes.PassResult(model, modified=any(changes))


def _proven(model: ir.Model, input_ranges: InputRanges) -> Mapping[ir.Value, NumberFormat | None]:
    """By tensor, the format to state; None where there is none to state.

    Formats are known of a copy without model-local functions, by name. Two subgraphs may use one name for different
    tensors: these are left without a statement.
    """
    by_name: dict[str, NumberFormat | None] = {}
    for tensor in types(model, input_ranges=input_ranges):
        known = by_name.setdefault(tensor.name, tensor.format)
        by_name[tensor.name] = tensor.format if known == tensor.format else None
    return {value: _beyond_element_type(by_name.get(str(value.name))) for value in _named(model)}


def _named(model: ir.Model) -> Iterator[ir.Value]:
    return (v for v in all_values(model.graph) if v.name)


def _beyond_element_type(datatype: NumberFormat | None) -> NumberFormat | None:
    plain = isinstance(datatype, FloatFormat) and datatype.bits >= _PLAIN_BITS
    return None if plain else datatype


def _annotate(value: ir.Value, datatype: NumberFormat | None) -> bool:
    try:
        if annotated_number_format(value) == datatype:
            return False
    except AnybitError:  # the text is no format: it is replaced
        pass
    annotate_number_format(value, datatype)
    return True
