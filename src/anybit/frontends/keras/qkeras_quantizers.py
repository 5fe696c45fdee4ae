"""qkeras_quantizers: quantisers of QKeras on activations.

QKeras rounds half to even, clips, and in inference returns the result itself; its straight-through form
``x + (quantised - x)`` costs it the last bits, which are not reproduced (see `straight_through_off`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from anybit.arrays import Array
from anybit.frontends.keras.calls import Call
from anybit.frontends.keras.graph import Graph, LayerTensor
from anybit.frontends.keras.weights import UniformGrid, numpy_of

_Rule = Callable[[Graph, Call, LayerTensor, Any, str], LayerTensor]


def quantize(graph: Graph, call: Call, tensor: LayerTensor, quantizer: Any) -> LayerTensor:
    """The tensor behind a quantiser.

    Raises:
        FrontEndError: The quantiser has no rule, or its scale depends on data.
    """
    kind = type(quantizer).__name__
    rule = _RULES.get(kind)
    if rule is None:
        hint = "use quantized_bits or quantized_relu"
        raise call.refusal("quantiser of an activation without a rule", got=kind, expected=", ".join(_RULES), hint=hint)
    if isinstance(getattr(quantizer, "alpha", None), str):
        hint = "name a number as alpha; None means 1"
        raise call.refusal(
            f"{kind} of an activation takes its scale from the data", got=f"alpha='{quantizer.alpha}'", hint=hint
        )
    check_noise(call, quantizer)
    return rule(graph, call, tensor, quantizer, f"{call.path}/{kind}")


def check_noise(call: Call, quantizer: Any) -> None:
    """Refuses a quantiser that gives only a part of its result.

    Raises:
        FrontEndError: qnoise_factor is not 1.
    """
    noise = float(numpy_of(getattr(quantizer, "qnoise_factor", 1.0)))
    if noise != 1.0:
        raise call.refusal(
            "the quantiser is not all on", got=f"qnoise_factor={noise:g}", expected=1, hint="set it to 1"
        )


@contextmanager
def straight_through_off(model: Any) -> Generator[None]:
    """Lets the quantisers of a model return their results to the last bit, by their own option `use_ste`."""
    switched = [m for m in getattr(model, "submodules", ()) if getattr(m, "use_ste", False) is True]
    for quantizer in switched:
        quantizer.use_ste = False
    try:
        yield
    finally:
        for quantizer in switched:
            quantizer.use_ste = True


def fixed_grid(quantizer: Any) -> UniformGrid:
    """The grid of a quantized_bits without its alpha: m_i / m * {-m + symmetric .. m - 1}, or -1 and 1 for one bit.

    m = 2^(bits - keep_negative), m_i = 2^integer.
    """
    signed, bits = bool(quantizer.keep_negative), int(quantizer.bits)
    if bits == int(signed):
        return UniformGrid(_number(1.0), _number(1), bipolar=True)
    scale = 2.0 ** (float(numpy_of(quantizer.integer)) - (bits - signed))
    return UniformGrid(_number(scale), _number(bits), signed=signed, narrow=signed and bool(quantizer.symmetric))


def _bits(graph: Graph, call: Call, tensor: LayerTensor, quantizer: Any, wish: str) -> LayerTensor:
    return _times_alpha(graph, call, graph.quantized(tensor, fixed_grid(quantizer), wish), quantizer, wish)


def _times_alpha(graph: Graph, call: Call, tensor: LayerTensor, quantizer: Any, wish: str) -> LayerTensor:
    alpha = np.asarray(1.0 if quantizer.alpha is None else numpy_of(quantizer.alpha), np.float32)
    if not (alpha > 0).all():
        raise call.refusal("alpha of a quantiser", got=quantizer.alpha, expected="positive numbers")
    return tensor if bool((alpha == 1).all()) else graph.elementwise("Mul", tensor, f"{wish}/alpha", alpha)


def _relu(graph: Graph, call: Call, tensor: LayerTensor, quantizer: Any, wish: str) -> LayerTensor:
    """Relu, or LeakyRelu with a slope of a power of two, then the grid m_i / m * {0 .. m - 1}."""
    slope, bits = float(quantizer.negative_slope), int(quantizer.bits)
    scale = 2.0 ** (float(numpy_of(quantizer.integer)) - bits + (slope > 0))
    if quantizer.use_sigmoid:
        tensor = _sigmoid_relu(graph, call, tensor, quantizer, wish)
    elif slope == 0:
        tensor = graph.elementwise("Relu", tensor, f"{wish}/relu")
        tensor = graph.quantized(tensor, UniformGrid(_number(scale), _number(bits), signed=False), wish)
    elif slope <= 1 and bits > 1:
        tensor = graph.elementwise("LeakyRelu", tensor, f"{wish}/relu", alpha=slope)
        tensor = graph.quantized(tensor, UniformGrid(_number(scale), _number(bits)), wish)
        least = -slope * 2.0 ** float(numpy_of(quantizer.integer))
        tensor = graph.elementwise("Max", tensor, f"{wish}/least", least) if slope < 1 else tensor
    else:
        got, expected = f"negative_slope={slope:g}, bits={bits}", "a slope of at most 1 and 2 bits"
        raise call.refusal("quantized_relu", got=got, expected=expected)
    if quantizer.relu_upper_bound and not quantizer.is_quantized_clip:
        return graph.elementwise("Min", tensor, f"{wish}/bound", float(quantizer.relu_upper_bound))
    return tensor


def _sigmoid_relu(graph: Graph, call: Call, tensor: LayerTensor, quantizer: Any, wish: str) -> LayerTensor:
    """m_i * clip(2 * round(sigmoid(x / m_i) * m) / m - 1, 0, 1 - 1 / m), m = 2^bits."""
    if quantizer.negative_slope:
        raise call.refusal("quantized_relu", got="use_sigmoid with a negative slope", expected="one of the two")
    range_, m = 2.0 ** float(numpy_of(quantizer.integer)), 2.0 ** int(quantizer.bits)
    tensor = graph.elementwise("Div", tensor, f"{wish}/divided", range_)
    tensor = _sigmoid_of(quantizer, call)(graph, tensor, f"{wish}/sigmoid")
    grid = UniformGrid(_number(1 / m), _number(int(quantizer.bits) + 1), signed=False)
    tensor = graph.quantized(tensor, grid, f"{wish}/rounded")
    tensor = graph.elementwise("Sub", graph.elementwise("Mul", tensor, f"{wish}/twice", 2.0), f"{wish}/centred", 1.0)
    tensor = graph.elementwise("Clip", tensor, f"{wish}/clipped", 0.0, 1 - 1 / m)
    return graph.elementwise("Mul", tensor, wish, range_)


def _tanh(graph: Graph, call: Call, tensor: LayerTensor, quantizer: Any, wish: str) -> LayerTensor:
    if quantizer.use_real_tanh:
        tensor = graph.elementwise("Tanh", tensor, f"{wish}/tanh")
    else:
        tensor = _centred(_sigmoid_of(quantizer, call))(graph, tensor, f"{wish}/tanh")
    bits = int(quantizer.bits)
    if bits < 2:
        raise call.refusal("bits of quantized_tanh", got=bits, expected="2 or more")
    grid = UniformGrid(_number(2.0 ** (1 - bits)), _number(bits), narrow=bool(quantizer.symmetric))
    return graph.quantized(tensor, grid, wish)


def _sigmoid(graph: Graph, call: Call, tensor: LayerTensor, quantizer: Any, wish: str) -> LayerTensor:
    function = _real_sigmoid if quantizer.use_real_sigmoid else _sigmoid_of(quantizer, call)
    step = 2.0 ** -int(quantizer.bits)
    grid = UniformGrid(_number(step), _number(int(quantizer.bits)), signed=False)
    tensor = graph.quantized(function(graph, tensor, f"{wish}/sigmoid"), grid, wish)
    return graph.elementwise("Max", tensor, f"{wish}/least", step) if quantizer.symmetric else tensor


def _binary(graph: Graph, call: Call, tensor: LayerTensor, quantizer: Any, wish: str) -> LayerTensor:
    """-alpha or alpha, 0 being positive; 0 or alpha with use_01."""
    zero_one = bool(getattr(quantizer, "use_01", False))
    tensor = graph.quantized(tensor, UniformGrid(_number(0.5 if zero_one else 1.0), _number(1), bipolar=True), wish)
    tensor = graph.elementwise("Add", tensor, f"{wish}/zero_one", 0.5) if zero_one else tensor
    return _times_alpha(graph, call, tensor, quantizer, wish)


def _ternary(graph: Graph, call: Call, tensor: LayerTensor, quantizer: Any, wish: str) -> LayerTensor:
    """alpha * sign(x) where |x| >= threshold, else 0; a quantiser behind it states the grid."""
    threshold = quantizer.default_threshold if quantizer.threshold is None else quantizer.threshold
    sign = graph.elementwise("Sign", tensor, f"{wish}/sign")
    size = graph.elementwise("Abs", tensor, f"{wish}/size")
    beyond = graph.elementwise("GreaterOrEqual", size, f"{wish}/beyond", float(threshold))
    kept = graph.node("CastLike", [beyond.value, sign.value], f"{wish}/kept")
    tensor = replace(sign, value=graph.node("Mul", [sign.value, kept], f"{wish}/ternary"))
    tensor = graph.quantized(tensor, UniformGrid(_number(1.0), _number(2), narrow=True), wish)
    return _times_alpha(graph, call, tensor, quantizer, wish)


def _hswish(graph: Graph, call: Call, tensor: LayerTensor, quantizer: Any, wish: str) -> LayerTensor:
    """x * min(relu(x + shift), bound) / bound, then quantized_bits."""
    bound = float(quantizer.relu_upper_bound)
    gate = graph.elementwise("Add", tensor, f"{wish}/shifted", float(quantizer.relu_shift))
    gate = graph.elementwise("Min", graph.elementwise("Relu", gate, f"{wish}/relu"), f"{wish}/bound", bound)
    product = replace(tensor, value=graph.node("Mul", [tensor.value, gate.value], f"{wish}/gated"))
    return _bits(graph, call, graph.elementwise("Div", product, f"{wish}/hswish", bound), quantizer, wish)


def _hard_sigmoid(graph: Graph, tensor: LayerTensor, wish: str, slope: float = 0.5) -> LayerTensor:
    scaled = graph.elementwise("Add", graph.elementwise("Mul", tensor, f"{wish}/scaled", slope), f"{wish}/line", 0.5)
    return graph.elementwise("Clip", scaled, wish, 0.0, 1.0)


def _smooth_sigmoid(graph: Graph, tensor: LayerTensor, wish: str) -> LayerTensor:
    return _hard_sigmoid(graph, tensor, wish, slope=0.1875)


def _real_sigmoid(graph: Graph, tensor: LayerTensor, wish: str) -> LayerTensor:
    return graph.elementwise("Sigmoid", tensor, wish)


def _binary_sigmoid(graph: Graph, tensor: LayerTensor, wish: str) -> LayerTensor:
    tensor = _hard_sigmoid(graph, tensor, f"{wish}/hard")
    return graph.quantized(tensor, UniformGrid(_number(1.0), _number(1), signed=False), wish)


def _centred(
    function: Callable[[Graph, LayerTensor, str], LayerTensor],
) -> Callable[[Graph, LayerTensor, str], LayerTensor]:
    """2 * function(x) - 1: the tanh that QKeras makes of a sigmoid."""

    def centred(graph: Graph, tensor: LayerTensor, wish: str) -> LayerTensor:
        twice = graph.elementwise("Mul", function(graph, tensor, f"{wish}/sigmoid"), f"{wish}/twice", 2.0)
        return graph.elementwise("Sub", twice, wish, 1.0)

    return centred


def _sigmoid_of(quantizer: Any, call: Call) -> Callable[[Graph, LayerTensor, str], LayerTensor]:
    """The sigmoid that QKeras uses inside: `qkeras.set_internal_sigmoid` chooses it for all quantisers."""
    module = sys.modules[type(quantizer).__module__]
    name = str(getattr(getattr(module, "_sigmoid", None), "__name__", None))
    function = {"sigmoid": _real_sigmoid, "hard_sigmoid": _hard_sigmoid, "smooth_sigmoid": _smooth_sigmoid}.get(name)
    if function is None:
        raise call.refusal("internal sigmoid of QKeras", got=name, expected="real, hard or smooth")
    return function


def _number(value: float) -> Array:
    return np.asarray(value, np.float32)


_RULES: dict[str, _Rule] = {
    "quantized_bits": _bits,
    "quantized_relu": _relu,
    "quantized_tanh": _tanh,
    "quantized_sigmoid": _sigmoid,
    "quantized_hswish": _hswish,
    "binary": _binary,
    "stochastic_binary": _binary,
    "ternary": _ternary,
    "stochastic_ternary": _ternary,
}

FUNCTIONS: dict[str, Callable[[Graph, LayerTensor, str], LayerTensor]] = {
    "hard_sigmoid": _hard_sigmoid,
    "smooth_sigmoid": _smooth_sigmoid,
    "binary_sigmoid": _binary_sigmoid,
    "hard_tanh": _centred(_hard_sigmoid),
    "smooth_tanh": _centred(_smooth_sigmoid),
    "binary_tanh": _centred(_binary_sigmoid),
}
"""The functions of QKeras that may stand where a quantiser does."""
