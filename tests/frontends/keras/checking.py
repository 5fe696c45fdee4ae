"""checking: an export against the framework's own predict, and a look at what was written."""

from __future__ import annotations

import numpy as np

from anybit import check, run
from anybit.frontends.keras import from_keras


def exported(model, *xs, share=1e-6, **options):
    """The hub model of a model, after the framework's own predict gave the same on these inputs."""
    result = from_keras(model, quiet=True, **options)
    assert result.agreement.holds, result.agreement
    assert not check(result.model)
    if xs:
        names = [v.name for v in result.model.graph.inputs]
        ours = list(run(result.model, dict(zip(names, xs, strict=True)), engine="reference").values())
        theirs = model.predict(xs[0] if len(xs) == 1 else list(xs), verbose=0)
        for y, wanted in zip(ours, theirs if isinstance(theirs, list) else [theirs], strict=True):
            np.testing.assert_allclose(y, wanted, rtol=0, atol=share * max(1.0, float(np.abs(wanted).max())))
    return result.model


def operators(model):
    return [node.op_type for node in model.graph]


def attributes(model, op_type="Quant"):
    """Constants and flags of the quantisers, in order: (scale, bits, signed, narrow, rounding)."""
    found = []
    for node in model.graph:
        if node.op_type == op_type:
            scale, bits = (node.inputs[i].const_value.numpy() for i in (1, 3))
            flags = (node.attributes[k].value for k in ("signed", "narrow", "rounding_mode"))
            found.append((scale, bits, *flags))
    return found


def images(*shape, seed=0, step=1 / 64):
    """Random numbers, many of them exactly half-way between the numbers of coarse grids of powers of two."""
    drawn = np.random.default_rng(seed).normal(size=shape) * 1.5
    return np.where(np.random.default_rng(seed + 1).random(shape) < 0.5, np.round(drawn / step) * step, drawn).astype(
        "f"
    )
