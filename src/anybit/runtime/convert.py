"""convert: a model in another format, compared with its source before it is believed."""

from __future__ import annotations

import math
from dataclasses import replace

import onnx_ir as ir

from anybit.arguments import checked
from anybit.errors import InputError, Refusal, UnsupportedError
from anybit.exact.certificate import Certificate, Verdict
from anybit.formats.certify import assume_formats, certify
from anybit.formats.convert import translate
from anybit.formats.dialect import Conversion, Dialect
from anybit.graph.constants import fed_inputs
from anybit.graph.walk import all_nodes, shape_of
from anybit.io.load import ModelSource, load
from anybit.ops.traits import standard
from anybit.runtime.counter_example import find_counter_example

_PRODUCTS = standard(lambda t: t.sums)
_WORK = 1 << 30  # products of numbers that the reference engine may compute to compare the models
_NUMBER = 16  # products that take as long as one number that a node makes
_WITH_PROOF = 8  # share of it that is spent where there is a proof, whose readers are those of the translation
_SAMPLES = 16  # of each kind


@checked
def convert(
    model: ModelSource,
    to: Dialect | str,
    *,
    approximate: bool = False,
    pack: bool = False,
    embed_functions: bool = False,
    standard: bool = False,
    check: bool = True,
) -> Conversion:
    """The model in another format; it means the same, bit for bit, wherever no approximation is listed.

    Nodes that a format cannot carry, and nodes of other formats that are not understood, stay as they are and are
    listed as refusals. Constants are folded and shapes inferred on the way; the opset is raised where the format
    needs it.

    The result is compared with the source: by a proof for every input where there is one (see `certify`), and by
    running both on the reference engine. `Conversion.certificate` says what came of it; a departure that no
    approximation explains is a refusal.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model`` of any format; it is not changed.
        to: A `Dialect` or its name.
        approximate: Whether a node may change what it means by a stated bound, rather than be refused.
        pack: Whether weights are stored as small integers; for QONNX only.
        embed_functions: Whether the bodies of the operators go into the file; for QONNX only.
        standard: Whether what the format cannot carry is written with standard operators that compute the same.
        check: Whether to compare the result with the source.

    Raises:
        ModelFileError: The model cannot be read.
        InvalidModelError: `anybit.check` finds an error in it other than an unknown operator.
        UsageError: There is no such format, an option is not for it, or two options exclude each other.

    Example:
        >>> convert("model.onnx", "qcdq").refusals            # doctest: +SKIP
        ()
    """
    source = load(model)
    made = translate(source, to, approximate=approximate, pack=pack, embed_functions=embed_functions, standard=standard)
    return compared(source, made) if check else made


def compared(source: ir.Model, made: Conversion) -> Conversion:
    """A translation with the certificate of how it was compared with its source; a departure is a refusal.

    Args:
        source: The model that was translated.
        made: The translation of it.
    """
    certificate = certify(source, made.model)
    first, second = load(source), load(made.model)
    assume_formats(first, second)
    work = _WORK // (_WITH_PROOF if certificate.verdict.is_proof else 1)
    most = max(work // _work_of_a_sample(made.model), 1)
    try:
        search = find_counter_example(first, second, samples=_SAMPLES, most=most)
    except (InputError, UnsupportedError) as error:
        return replace(made, certificate=_with_note(certificate, f"the models were not run: {error}"))
    if search.found is None:
        return replace(made, certificate=replace(certificate, samples=search.samples))
    found = search.found
    certificate = replace(certificate, verdict=Verdict.DIFFERENT, counter_example=found, samples=search.samples)
    if made.approximations:
        return replace(made, certificate=certificate)
    departure = Refusal(
        problem="what was written computes something else than the source, which is a bug of anybit",
        node=f"output '{found.output}'",
        got=f"a difference of {found.largest:g}",
        expected="none",
        hint="report it with the model; convert without the check only to look at what was written",
    )
    return replace(made, certificate=certificate, refusals=(*made.refusals, departure))


def _with_note(certificate: Certificate, note: str) -> Certificate:
    return replace(certificate, notes=(*certificate.notes, note))


def _work_of_a_sample(model: ir.Model) -> int:
    """About how many products of two numbers take as long as one sample; free dimensions count as 1."""
    nodes = list(all_nodes(model.graph))
    values = (*fed_inputs(model.graph), *(value for node in nodes for value in node.outputs))
    total = 1 + _NUMBER * sum(math.prod(n or 1 for n in shape_of(value) or ()) for value in values)
    for node in nodes:
        output = shape_of(node.outputs[0]) if node.op_type in _PRODUCTS else None
        if not output:
            continue
        channels = output[1 if "Conv" in node.op_type else -1] or 1
        operands = (shape_of(v) or () for v in node.inputs[1:] if v is not None)
        weights = max((math.prod(n or 1 for n in shape) for shape in operands), default=1)
        total += math.prod(n or 1 for n in output) * max(weights // channels, 1)
    return total
