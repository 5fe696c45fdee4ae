"""activations: activation layers of Keras, and QActivation."""

from __future__ import annotations

import numpy as np

from anybit.frontends.keras.calls import Call
from anybit.frontends.keras.functions import activate, softmax
from anybit.frontends.keras.graph import Graph, LayerTensor
from anybit.frontends.keras.weights import numpy_of


def activation(graph: Graph, call: Call) -> LayerTensor:
    """Activation: a function, or a quantiser."""
    return activate(graph, call, call.x, call.layer.activation)


def qactivation(graph: Graph, call: Call) -> LayerTensor:
    """QActivation: the quantiser that its text or object stands for."""
    return activate(graph, call, call.x, call.layer.quantizer)


def relu(graph: Graph, call: Call) -> LayerTensor:
    """min(max(x, negative_slope * x), max_value).

    Raises:
        FrontEndError: Its threshold is not 0.
    """
    layer = call.layer
    if float(layer.threshold or 0):
        raise call.refusal("threshold of a ReLU", got=float(layer.threshold), expected=0)
    slope = float(layer.negative_slope or 0)
    tensor = _leaky(graph, call, slope) if slope else graph.elementwise("Relu", call.x, f"{call.path}/relu")
    return tensor if layer.max_value is None else graph.elementwise("Min", tensor, f"{call.path}/most", layer.max_value)


def leaky_relu(graph: Graph, call: Call) -> LayerTensor:
    """max(x, 0) + slope * min(x, 0)."""
    slope = call.layer.negative_slope if hasattr(call.layer, "negative_slope") else call.layer.alpha
    return _leaky(graph, call, float(slope))


def _leaky(graph: Graph, call: Call, slope: float) -> LayerTensor:
    return graph.elementwise("LeakyRelu", call.x, f"{call.path}/relu", alpha=slope)


def prelu(graph: Graph, call: Call) -> LayerTensor:
    """max(x, 0) + alpha * min(x, 0), alpha learnt."""
    return graph.elementwise("PRelu", call.x, f"{call.path}/relu", numpy_of(call.layer.alpha))


def elu(graph: Graph, call: Call) -> LayerTensor:
    """x where positive, else alpha * (exp(x) - 1)."""
    return graph.elementwise("Elu", call.x, f"{call.path}/elu", alpha=float(call.layer.alpha))


def softmax_layer(graph: Graph, call: Call) -> LayerTensor:
    """Softmax along one axis.

    Raises:
        FrontEndError: It is along several.
    """
    axes = np.atleast_1d(call.layer.axis)
    if len(axes) != 1:
        raise call.refusal("axes of a softmax", got=call.layer.axis, expected="one")
    return softmax(graph, call.x, f"{call.path}/softmax", int(axes[0]))
