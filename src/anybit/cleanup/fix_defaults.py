"""FixDefaults: inputs with a default value become constants."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from anybit.errors import UsageError
from anybit.graph.constants import has_default


@dataclass(frozen=True)
class FixDefaults(ir.passes.InPlacePass):
    """Makes a constant of every input that has a default, so that it can be folded, converted and analysed as a weight.

    Before: ``x, w = [1, 2]`` with ``y = Mul(x, w)``, where a caller may feed another ``w``; after: ``x`` alone.

    Attributes:
        inputs: Names of the inputs; all that have a default where empty.
    """

    inputs: tuple[str, ...] = ()

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Applies the pass.

        Raises:
            UsageError: An input that is named has no default.
        """
        graph = model.graph
        defaults = {str(v.name) for v in graph.inputs if has_default(v)}
        for name in self.inputs:
            if name not in defaults:
                raise UsageError(
                    "no input with a default", got=repr(name), expected=", ".join(sorted(defaults)) or "none has one"
                )
        fixed = set(self.inputs) or defaults
        kept = [v for v in graph.inputs if v.name not in fixed]
        graph.inputs.clear()
        graph.inputs.extend(kept)
        return ir.passes.PassResult(model, modified=bool(fixed))
