"""verify: a certificate that two models mean the same, or an input on which they differ."""

from __future__ import annotations

from dataclasses import replace

from anybit.arguments import checked
from anybit.errors import InputError, UnsupportedError, UsageError
from anybit.exact.certificate import Certificate, Verdict
from anybit.formats.certify import assume_formats, certify
from anybit.io.load import ModelSource, load
from anybit.runtime.counter_example import find_counter_example


@checked
def verify(
    a: ModelSource, b: ModelSource, *, samples: int = 64, seed: int = 0, assume_annotations: bool | None = None
) -> Certificate:
    """Proves that two models are equal; where that fails, looks for an input that shows the difference.

    Both models are run by the reference engine on all combinations of the levels of the input's quantiser, where
    these are few, else on random samples and corners of the input. A difference counts where it is larger than float
    summation in another order explains. Outputs are compared as numbers, for which -0 and +0 are one.

    Args:
        a: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model`` of any format; it is not changed.
        b: The other one.
        samples: How many samples of each kind to draw.
        seed: Seed of the drawing.
        assume_annotations: Whether inputs are taken to hold only what their annotated number format allows: None where
            both files state the same one, True where either states one, False nowhere. `Certificate.assumptions` has
            those that the verdict rests on.

    Raises:
        ModelFileError: A model cannot be read.
        UsageError: An option makes no sense.

    Example:
        >>> verify("model.onnx", "model_qcdq.onnx").verdict         # doctest: +SKIP
        <Verdict.EXACT_BY_CONSTRUCTION: 'exact by construction'>
    """
    if samples < 1:
        raise UsageError("number of samples", got=samples, expected="at least 1")
    if seed < 0:
        raise UsageError("seed", got=seed, expected="0 or more")
    first, second = load(a), load(b)
    certificate = certify(first, second, assume_annotations=assume_annotations)
    if certificate.verdict is not Verdict.UNDECIDED:
        return certificate
    assume_formats(first, second, assume_annotations=assume_annotations)
    try:
        search = find_counter_example(first, second, samples=samples, seed=seed)
    except (InputError, UnsupportedError) as error:
        note = f"no counter-example was looked for: {error}"
        return replace(certificate, notes=(*certificate.notes, note))
    verdict = Verdict.UNDECIDED if search.found is None else Verdict.DIFFERENT
    return replace(certificate, verdict=verdict, counter_example=search.found, samples=search.samples)
