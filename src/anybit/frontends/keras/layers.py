"""layers: which layer of which framework is written by which builder."""

from __future__ import annotations

from functools import partial

from anybit.frontends.keras import activations, convolution, hgq2, merging, normalization, pooling, shaping
from anybit.frontends.keras.calls import FRAMEWORKS, Builder, Call, framework_of
from anybit.frontends.keras.convolution import Weights, float_weight
from anybit.frontends.keras.graph import Graph, LayerTensor
from anybit.frontends.keras.qkeras_weights import weight as qkeras_weight

_DIMENSIONS = ("1D", "2D", "3D")


def build(graph: Graph, call: Call) -> LayerTensor:
    """Writes one layer.

    Raises:
        FrontEndError: The layer has no rule, or a setting without one.
    """
    layer, name = call.layer, type(call.layer).__name__
    framework = framework_of(type(layer))
    known = _BUILDERS.get("keras" if framework == "tf_keras" else framework, {})
    builder = known.get(name)
    if builder is None or not hasattr(layer, "weights"):  # an operation of keras.ops may have a layer's name
        hint = "replace it by layers that have one, or export the model in parts"
        listed = ", ".join(sorted(known)) or f"a layer of {', '.join(FRAMEWORKS)}"
        raise call.refusal("layer without a rule", got=f"{type(layer).__module__}.{name}", expected=listed, hint=hint)
    if str(getattr(layer, "compute_dtype", "float32")) != "float32":
        raise call.refusal("type that the layer computes in", got=layer.compute_dtype, expected="float32")
    if str(getattr(layer, "data_format", None) or "channels_last") != "channels_last":
        raise call.refusal("data format", got=layer.data_format, expected="channels_last")
    return builder(graph, call)


def _weighted(weights: Weights) -> dict[str, Builder]:
    """The layers with a kernel, by the end of their name."""
    conv, depthwise, separable = (
        partial(f, weights) for f in (convolution.convolution, convolution.depthwise, convolution.separable)
    )
    return {
        "Dense": partial(convolution.dense, weights),
        **{f"Conv{d}": conv for d in _DIMENSIONS},
        **{f"DepthwiseConv{d}": depthwise for d in _DIMENSIONS[:2]},
        **{f"SeparableConv{d}": separable for d in _DIMENSIONS[:2]},
        **{f"Conv{d}Transpose": partial(convolution.transposed, weights) for d in _DIMENSIONS},
        "BatchNormalization": partial(normalization.batch_normalization, weights),
    }


_POOLING: dict[str, Builder] = {
    f"{prefix}{kind}Pooling{d}": partial(pooling.global_pool if prefix else pooling.pool, f"{prefix}{kind}Pool")
    for prefix in ("", "Global")
    for kind in ("Max", "Average")
    for d in _DIMENSIONS
}
_MERGING: dict[str, Builder] = {
    "Add": partial(merging.merge, "Add"),
    "Subtract": partial(merging.merge, "Sub"),
    "Multiply": partial(merging.merge, "Mul"),
    "Maximum": partial(merging.merge, "Max"),
    "Minimum": partial(merging.merge, "Min"),
    "Dot": merging.dot,
}
_IN_TRAINING_ONLY = (
    "Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D AlphaDropout GaussianDropout GaussianNoise "
    "ActivityRegularization Identity"
).split()

_KERAS: dict[str, Builder] = {
    **_weighted(float_weight),
    **_POOLING,
    **_MERGING,
    **dict.fromkeys(_IN_TRAINING_ONLY, shaping.unchanged),
    **{f"ZeroPadding{d}": shaping.zero_padding for d in _DIMENSIONS},
    **{f"Cropping{d}": shaping.cropping for d in _DIMENSIONS},
    **{f"UpSampling{d}": shaping.upsampling for d in _DIMENSIONS},
    "Average": merging.average,
    "Concatenate": merging.concatenate,
    "Flatten": shaping.flatten,
    "Reshape": shaping.reshape,
    "Permute": shaping.permute,
    "Activation": activations.activation,
    "ReLU": activations.relu,
    "LeakyReLU": activations.leaky_relu,
    "PReLU": activations.prelu,
    "ELU": activations.elu,
    "Softmax": activations.softmax_layer,
}

_OF_QKERAS = (
    "Dense Conv1D Conv2D Conv2DTranspose DepthwiseConv2D SeparableConv1D SeparableConv2D BatchNormalization".split()
)
_QKERAS: dict[str, Builder] = {
    **{f"Q{name}": _weighted(qkeras_weight)[name] for name in _OF_QKERAS},
    "QConv2DBatchnorm": partial(convolution.convolution, qkeras_weight),
    "QDepthwiseConv2DBatchnorm": partial(convolution.depthwise, qkeras_weight),
    "QAveragePooling2D": pooling.qkeras_average,
    "QGlobalAveragePooling2D": pooling.qkeras_global_average,
    "QActivation": activations.qactivation,
}

_HGQ2: dict[str, Builder] = {
    "Quantizer": hgq2.quantizer,
    **{
        name: hgq2.with_quantizers(builder)
        for name, builder in {
            "QDense": partial(convolution.dense, hgq2.weight),
            "QBatchNormDense": partial(convolution.dense, hgq2.weight),
            **{f"QConv{d}": partial(convolution.convolution, hgq2.weight) for d in _DIMENSIONS},
            "QEinsumDense": hgq2.einsum_dense,
            "QEinsumDenseBatchnorm": hgq2.einsum_dense,
            "QBatchNormalization": hgq2.batch_normalization,
            "QEinsum": hgq2.einsum,
            "QSum": hgq2.total,
            "QMeanPow2": hgq2.total,
            "QAveragePow2": hgq2.average_power_of_two,
            "QUnaryFunctionLUT": hgq2.unary,
            "QAffinedUnaryFunctionLUT": hgq2.unary,
            "QSoftmax": hgq2.softmax,
            **{f"Q{key}": builder for key, builder in (*_POOLING.items(), *_MERGING.items())},
        }.items()
    },
}

_BUILDERS = {"keras": _KERAS, "qkeras": _QKERAS, "hgq": _HGQ2}
