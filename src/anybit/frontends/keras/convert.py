"""export: a Keras model with layers of QKeras or HGQ2, layer by layer, as a hub model with the framework's numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from anybit.arguments import checked
from anybit.arrays import Array
from anybit.cleanup.set_batch import SetBatch
from anybit.engines.sampling import random_inputs
from anybit.errors import FrontEndError, InputError
from anybit.frontends.agreement import Imported, compared, extreme
from anybit.frontends.comparison.lockstep import Recording
from anybit.frontends.keras.calls import FRAMEWORKS, Made, convert_calls, flat, framework_of
from anybit.frontends.keras.graph import Graph, LayerTensor
from anybit.frontends.keras.layers import build
from anybit.frontends.keras.qkeras_quantizers import straight_through_off
from anybit.frontends.keras.weights import numpy_of


@checked
def from_keras(
    model: Any,
    *,
    inputs: Mapping[str, Array] | None = None,
    tolerance: float | None = None,
    samples: int = 32,
    seed: int = 0,
    batch: int | None = None,
    quiet: bool = False,
) -> Imported:
    """The hub model of a functional or sequential Keras model, compared with it before it is returned.

    Layers of Keras 3 and of tf_keras, QKeras and HGQ2. Weights are what the framework's own quantisers make of them;
    activations become Quant and the operators around it. Inputs and outputs keep Keras' layout, channels last;
    behind an input stands a Transpose where a convolution needs it.

    Args:
        model: Built model, with all layers in float32.
        inputs: What to compare on, by input name, samples along the first axis; the same beyond all ranges and all
            zeros are added. None draws `samples` random ones.
        tolerance: Share of a tensor's largest magnitude that its elements may differ by beyond float error, at each
            layer fed with the framework's own values; None for none.
        samples: Number of random samples.
        seed: Seed of the random samples.
        batch: Batch size of the hub model; None leaves it free, unless the model fixes it.
        quiet: Whether to say nothing of the comparison.

    Raises:
        FrontEndError: A layer or quantiser has no rule, or the result departs from the model.
        InputError: The inputs to compare on are not those of the model, or cannot be drawn because sizes are free.
    """
    if not hasattr(model, "layers") or not getattr(model, "inputs", None):
        got, hint = type(model).__name__, "call it on keras.Input, or build it first"
        raise FrontEndError("no Keras model with known inputs", got=got, expected="a functional one", hint=hint)
    fixed = flat(model.inputs)[0].shape[0]
    with straight_through_off(model):
        graph = Graph(str(model.name))
        given = [_input(graph, tensor) for tensor in flat(model.inputs)]
        outputs, made = convert_calls(graph, model, given, build)
        for name, tensor in outputs:
            graph.output(tensor, name)
        result = graph.finished()
        names = [str(value.name) for value in result.graph.inputs]
        fed = random_inputs(result, samples, seed=seed) if inputs is None else _checked(inputs, names)
        fed = extreme(fed, factor=_FACTOR_QKERAS if hasattr(model, "submodules") else _FACTOR)
        source = _Source(model, made, fixed)
        export = compared(result, source.run, [{n: fed[n] for n in names}], tolerance=tolerance, quiet=quiet)
    size = batch if fixed is None else fixed
    return export if size is None else replace(export, model=SetBatch(int(size))(export.model).model)


_FACTOR = 1e3
_FACTOR_QKERAS = 32.0
"""How far beyond the samples the extreme ones lie: QKeras' binary and ternary lose the last bits of x in the result."""


@dataclass(frozen=True)
class _Source:
    """A Keras model, the outputs of whose layers are known.

    Attributes:
        model: The model.
        made: What its calls made in the graph.
        batch: Batch size that it fixes.
    """

    model: Any
    made: Sequence[Made]
    batch: int | None

    def run(self, feeds: Mapping[str, Array]) -> tuple[Recording, list[Array]]:
        """What its layers give, in the layout of the graph; and its outputs."""
        inputs = list(feeds.values())
        results = _run(self.model, inputs, self.batch)
        known = [m for m in self.made if m.tensor.value.producer() is not None]
        if not known:
            return Recording({}), results
        symbols = flat(self.model.inputs)
        given = symbols[0] if len(symbols) == 1 else symbols  # Keras warns of another structure than it is called with
        inner = _model_of(self.model)(inputs=given, outputs=[m.symbol for m in known])
        arrays = _run(inner, inputs, self.batch)
        tensors = {str(m.tensor.value.name): _laid_out(a, m.tensor) for m, a in zip(known, arrays, strict=True)}
        layers = {str(m.tensor.value.name): m.path for m in known}
        return Recording(tensors, layers), results


def _model_of(model: Any) -> Any:
    """The class that makes a model of symbolic tensors, in the Keras that this model is of."""
    return next(k for k in type(model).__mro__ if k.__name__ == "Model" and framework_of(k) in FRAMEWORKS)


def _laid_out(array: Array, tensor: LayerTensor) -> Array:
    return np.ascontiguousarray(np.moveaxis(array, -1, 1)) if tensor.channels_first else array


def _run(model: Any, inputs: Sequence[Array], batch: int | None) -> list[Array]:
    """The outputs of a Keras model in inference, layer by layer as it is; so many samples at once, None for all."""
    count = len(inputs[0])
    size = batch or count
    parts = [
        _run_once(model, [a.take(range(n, n + size), 0, mode="clip") for a in inputs]) for n in range(0, count, size)
    ]
    return [np.concatenate(part)[:count] for part in zip(*parts, strict=True)]


def _run_once(model: Any, inputs: Sequence[Array]) -> list[Array]:
    arguments: Any = inputs[0] if len(inputs) == 1 else list(inputs)
    if isinstance(getattr(model, "input", None), dict):  # a sequential model of Keras 3 that no other calls has none
        arguments = dict(zip(sorted(model.input), inputs, strict=True))
    return [np.asarray(numpy_of(t)) for t in flat(model(arguments, training=False))]


def _input(graph: Graph, tensor: Any) -> LayerTensor:
    name = str(tensor.name).split(":", maxsplit=1)[0]
    if str(getattr(tensor.dtype, "name", tensor.dtype)) != "float32":
        raise FrontEndError("type of an input", node=f"input '{name}'", got=tensor.dtype, expected="float32")
    shape = tuple(None if n is None else int(n) for n in tensor.shape)
    sizes = [f"{name}_{axis}" if n is None else n for axis, n in enumerate(shape[1:], start=1)]
    return graph.input(name, ["N", *sizes], shape)


def _checked(inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
    if set(inputs) != set(names):
        raise InputError("names of the inputs", got=", ".join(inputs), expected=", ".join(names))
    return {name: np.asarray(inputs[name], np.float32) for name in names}
