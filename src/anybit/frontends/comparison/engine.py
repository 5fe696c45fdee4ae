"""agreement_of_engine: what an engine makes of a model, held against the model's own exact sums, tensor by tensor.

A rounding tie may fall to one side in the framework's float32 sums and in the model's exact ones, and to the other in
the float32 sums of an engine. Where the engine's own rounded tensors take the place of the source's, the comparison of
`anybit.frontends.comparison.lockstep` finds these ties, and tells them from what the engine computes otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping

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
    names = [str(n.outputs[0].name) for n in model.graph if rounds(n) and n.outputs[0].dtype == ir.DataType.FLOAT]
    found = Session(model, engine=engine, tensors=names).run(dict(feeds))
    return lockstep(model, feeds, Recording(found, layers))
