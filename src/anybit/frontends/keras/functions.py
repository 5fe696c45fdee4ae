"""functions: activation functions by their names in Keras."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from anybit.frontends.keras.calls import FRAMEWORKS, Call, framework_of
from anybit.frontends.keras.graph import Graph, LayerTensor
from anybit.frontends.keras.hgq2_quantizers import quantize as quantize_hgq2
from anybit.frontends.keras.qkeras_quantizers import FUNCTIONS as QKERAS_FUNCTIONS
from anybit.frontends.keras.qkeras_quantizers import quantize as quantize_qkeras

_Function = Callable[[Graph, LayerTensor, str], LayerTensor]


def activate(graph: Graph, call: Call, tensor: LayerTensor, activation: Any) -> LayerTensor:
    """The activation of a layer: None, a function of Keras, or a quantiser of QKeras or HGQ2.

    Raises:
        FrontEndError: It is none of these, or a quantiser without a rule.
    """
    if activation is None:
        return tensor
    framework, name = framework_of(activation), str(getattr(activation, "__name__", type(activation).__name__))
    if framework == "hgq":
        return quantize_hgq2(graph, call, tensor, activation, f"{call.path}/{name}")
    if framework == "qkeras" and name not in QKERAS_FUNCTIONS:
        return quantize_qkeras(graph, call, tensor, activation)
    known = QKERAS_FUNCTIONS if framework == "qkeras" else _LEGACY if framework == "tf_keras" else _FUNCTIONS
    function = known.get(name) if framework in FRAMEWORKS else None
    if function is None:
        raise call.refusal("activation without a rule", got=name, expected=", ".join(known))
    return function(graph, tensor, f"{call.path}/{name}")


def softmax(graph: Graph, tensor: LayerTensor, wish: str, axis: int = -1) -> LayerTensor:
    """Softmax along an axis of Keras' layout."""
    return graph.elementwise("Softmax", tensor, wish, axis=tensor.axis(axis))


def _operator(op_type: str, **attributes: float) -> _Function:
    return lambda graph, tensor, wish: graph.elementwise(op_type, tensor, wish, **attributes)


def _silu(graph: Graph, tensor: LayerTensor, wish: str) -> LayerTensor:
    gate = graph.elementwise("Sigmoid", tensor, f"{wish}/sigmoid")
    return LayerTensor(graph.node("Mul", [tensor.value, gate.value], wish), tensor.shape, tensor.channels_first)


def _relu6(graph: Graph, tensor: LayerTensor, wish: str) -> LayerTensor:
    return graph.elementwise("Min", graph.elementwise("Relu", tensor, f"{wish}/relu"), wish, 6.0)


_FUNCTIONS: dict[str, _Function] = {
    "linear": lambda _graph, tensor, _wish: tensor,
    "relu": _operator("Relu"),
    "relu6": _relu6,
    "leaky_relu": _operator("LeakyRelu", alpha=0.2),
    "sigmoid": _operator("Sigmoid"),
    "hard_sigmoid": _operator("HardSigmoid", alpha=1 / 6, beta=0.5),
    "tanh": _operator("Tanh"),
    "softmax": softmax,
    "softplus": _operator("Softplus"),
    "softsign": _operator("Softsign"),
    "elu": _operator("Elu", alpha=1.0),
    "selu": _operator("Selu"),
    "exponential": _operator("Exp"),
    "silu": _silu,
    "swish": _silu,
}
_LEGACY = _FUNCTIONS | {"hard_sigmoid": _operator("HardSigmoid", alpha=0.2, beta=0.5)}
