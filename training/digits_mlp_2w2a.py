"""Trains the bundled 2-bit digits classifier and exports it as a QONNX model.

The package ships a small network whose weights and activations are really quantised, so that demos
and tests have a model that classifies something. This script is where it comes from: a multilayer
perceptron on scikit-learn's 8x8 digits, trained with quantisation in the loop (straight-through
estimator, Adam) in plain numpy, and written as `model.onnx` next to its held-out samples, `test.npz`.

Running it again gives the same bytes, whichever BLAS or vector unit numpy uses: scales are powers of
two and gradients lie on a fixed-point grid, so that matrix products are exact in float64 and the order
of their summation cannot matter. Other versions of numpy or scikit-learn may shuffle differently.

Usage: `python -m training.digits_mlp_2w2a [--out DIR]`
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from anybit.io.files.whole import whole, write_whole

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

QUANT_DOMAIN = "qonnx.custom_op.general"
DEFAULT_OUT = Path(__file__).resolve().parents[1] / "src" / "anybit" / "zoo" / "models" / "digits_mlp_2w2a"


@dataclass(frozen=True)
class QuantSpec:
    """Parameters of one QONNX `Quant` node with zero point 0."""

    scale: float
    bits: int
    signed: bool = False
    narrow: bool = False

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest integer level."""
        if self.signed:
            half = 1 << (self.bits - 1)
            return int(self.narrow) - half, half - 1
        return 0, (1 << self.bits) - 1 - int(self.narrow)


@dataclass(frozen=True)
class Settings:
    """Everything that decides the outcome of a training run."""

    seed: int = 0
    held_out: float = 0.2
    widths: tuple[int, ...] = (64, 64, 64, 10)
    epochs: int = 200
    batch_size: int = 64
    learning_rate: float = 0.01
    norm_epsilon: float = 1e-5
    # Five bits, as the pixel value 16 does not fit four.
    pixel: QuantSpec = QuantSpec(scale=1.0, bits=5)
    weight: QuantSpec = QuantSpec(scale=0.25, bits=2, signed=True, narrow=True)
    activation: QuantSpec = QuantSpec(scale=0.5, bits=2)


@dataclass(frozen=True)
class Data:
    """The digits, split into training and held-out samples."""

    train_pixels: Singles
    train_labels: Labels
    test_pixels: Singles
    test_labels: Labels


@dataclass(frozen=True)
class Network:
    """Trainable arrays, updated in place: `gains` and `offsets` belong to the hidden layers only."""

    weights: list[Floats]
    gains: list[Floats]
    offsets: list[Floats]

    def arrays(self) -> list[Floats]:
        """All arrays, in the order in which gradients are listed."""
        return [*self.weights, *self.gains, *self.offsets]


@dataclass(frozen=True)
class Trace:
    """What a forward pass leaves behind, by hidden layer; `inputs` covers the output layer too."""

    inputs: list[Floats] = field(default_factory=list[Floats])
    means: list[Floats] = field(default_factory=list[Floats])
    variances: list[Floats] = field(default_factory=list[Floats])
    normalised: list[Floats] = field(default_factory=list[Floats])
    outputs: list[Floats] = field(default_factory=list[Floats])


def load_data(settings: Settings) -> Data:
    """Loads scikit-learn's digits with a fixed stratified split."""
    # Here because only training needs scikit-learn; the package itself does not depend on it.
    from sklearn import datasets, model_selection  # pyright: ignore[reportMissingTypeStubs]

    digits = cast("Any", datasets.load_digits())
    split = cast("Any", model_selection.train_test_split)  # pyright: ignore[reportUnknownMemberType]
    train_pixels, test_pixels, train_labels, test_labels = split(
        digits.data.astype(np.float32),
        digits.target.astype(np.int64),
        test_size=settings.held_out,
        stratify=digits.target,
        random_state=settings.seed,
    )
    return Data(train_pixels, train_labels, test_pixels, test_labels)


def quantise(values: Floats, spec: QuantSpec) -> Floats:
    """Rounds to the levels of `spec`, as the `Quant` node does."""
    return np.round(np.clip(values / spec.scale, *spec.limits)) * spec.scale


def on_grid(values: Floats) -> Floats:
    """Rounds to multiples of 2**-24, coarse enough for exact sums of products with signals and weights."""
    return np.round(values * 2.0**24) * 2.0**-24


def init_network(settings: Settings, rng: np.random.Generator) -> Network:
    """Draws latent weights uniformly, half of which round to zero."""
    limit = settings.weight.scale
    widths = settings.widths
    return Network(
        weights=[rng.uniform(-limit, limit, shape) for shape in pairwise(widths)],
        gains=[np.ones(width) for width in widths[1:-1]],
        offsets=[np.zeros(width) for width in widths[1:-1]],
    )


def forward(network: Network, pixels: Floats, settings: Settings) -> tuple[Floats, Trace]:
    """Computes the logits, normalising by the statistics of the given batch."""
    trace = Trace()
    signal = quantise(pixels, settings.pixel)
    for weight, gain, offset in zip(network.weights[:-1], network.gains, network.offsets, strict=True):
        trace.inputs.append(signal)
        sums = signal @ quantise(weight, settings.weight)
        mean = sums.mean(axis=0)
        variance = ((sums - mean) ** 2).mean(axis=0)
        normalised = (sums - mean) / np.sqrt(variance + settings.norm_epsilon)
        output = normalised * gain + offset
        trace.means.append(mean)
        trace.variances.append(variance)
        trace.normalised.append(normalised)
        trace.outputs.append(output)
        # Clipping to the levels includes the ReLU: they start at zero.
        signal = quantise(output, settings.activation)
    trace.inputs.append(signal)
    return signal @ quantise(network.weights[-1], settings.weight), trace


def loss_gradient(logits: Floats, labels: Labels) -> Floats:
    """Gradient of the summed cross-entropy; its mean would not change the steps of Adam."""
    # On the grid because the last bit of `exp` differs between maths libraries.
    powers = on_grid(np.exp(logits - logits.max(axis=1, keepdims=True)))
    return on_grid(powers / powers.sum(axis=1, keepdims=True) - np.eye(logits.shape[1])[labels])


def backward(network: Network, trace: Trace, gradient: Floats, settings: Settings) -> list[Floats]:
    """Propagates the gradient of the logits, straight through every rounding.

    Returns:
        Gradients in the order of `Network.arrays`.
    """
    weights = [trace.inputs[-1].T @ gradient]
    gains: list[Floats] = []
    offsets: list[Floats] = []
    top = settings.activation.limits[1] * settings.activation.scale
    for layer in reversed(range(len(network.gains))):
        output, normalised = trace.outputs[layer], trace.normalised[layer]
        gradient = gradient @ quantise(network.weights[layer + 1], settings.weight).T
        gradient = gradient * ((output > 0) & (output < top))
        gains.insert(0, (gradient * normalised).sum(axis=0))
        offsets.insert(0, gradient.sum(axis=0))
        centred = gradient - gradient.mean(axis=0) - normalised * (gradient * normalised).mean(axis=0)
        deviation = np.sqrt(trace.variances[layer] + settings.norm_epsilon)
        gradient = on_grid(centred * network.gains[layer] / deviation)
        weights.insert(0, trace.inputs[layer].T @ gradient)
    return [*weights, *gains, *offsets]


class Adam:
    """The Adam optimiser, updating arrays in place."""

    def __init__(self, arrays: Sequence[Floats], decay: tuple[float, float] = (0.9, 0.999)) -> None:
        self._arrays = arrays
        self._decay = decay
        self._fading = [1.0, 1.0]
        self._moments = [(np.zeros_like(array), np.zeros_like(array)) for array in arrays]

    def step(self, gradients: Sequence[Floats], rate: float) -> None:
        """Moves every array against its gradient."""
        first_decay, second_decay = self._decay
        self._fading = [fading * decay for fading, decay in zip(self._fading, self._decay, strict=True)]
        first_bias, second_bias = (1 - fading for fading in self._fading)
        for array, gradient, (first, second) in zip(self._arrays, gradients, self._moments, strict=True):
            first[...] += (1 - first_decay) * (gradient - first)
            second[...] += (1 - second_decay) * (gradient**2 - second)
            array[...] -= rate * (first / first_bias) / (np.sqrt(second / second_bias) + 1e-8)


def batches(count: int, size: int, rng: np.random.Generator) -> Iterator[npt.NDArray[np.int64]]:
    """Yields shuffled index batches of equal size, leaving out the remainder."""
    order = rng.permutation(count)
    for start in range(0, count - size + 1, size):
        yield order[start : start + size]


def train(pixels: Singles, labels: Labels, settings: Settings) -> Network:
    """Trains a network with a learning rate that falls linearly to zero."""
    rng = np.random.default_rng(settings.seed)
    network = init_network(settings, rng)
    optimiser = Adam(network.arrays())
    inputs = pixels.astype(np.float64)
    limit = settings.weight.scale
    for epoch in range(settings.epochs):
        rate = settings.learning_rate * (1 - epoch / settings.epochs)
        for batch in batches(len(labels), settings.batch_size, rng):
            logits, trace = forward(network, inputs[batch], settings)
            gradient = loss_gradient(logits, labels[batch])
            optimiser.step(backward(network, trace, gradient, settings), rate)
            for weight in network.weights:
                # A latent weight beyond the outermost level would take long to come back.
                np.clip(weight, -limit, limit, out=weight)
    return network


class GraphBuilder:
    """Collects nodes and initialisers of a QONNX graph, naming tensors after nodes."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._initialisers: list[onnx.TensorProto] = []

    def constant(self, name: str, values: npt.ArrayLike) -> str:
        """Adds a float32 initialiser and returns its name."""
        self._initialisers.append(numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    def node(self, op: str, name: str, inputs: Sequence[str], output: str = "", **extra: Any) -> str:
        """Adds a node with one output, `<name>_out` unless given, and returns the output's name."""
        output = output or f"{name}_out"
        self._nodes.append(helper.make_node(op, inputs, [output], name=name, **extra))
        return output

    def quant(self, name: str, source: str, spec: QuantSpec) -> str:
        """Adds a `Quant` node and returns the name of its output."""
        parameters = {"scale": spec.scale, "zeropt": 0.0, "bitwidth": spec.bits}
        return self.node(
            "Quant",
            name,
            [source, *(self.constant(f"{name}_{key}", value) for key, value in parameters.items())],
            domain=QUANT_DOMAIN,
            signed=int(spec.signed),
            narrow=int(spec.narrow),
            rounding_mode="ROUND",
        )

    def build(self, name: str, source: tuple[str, int], sink: tuple[str, int]) -> onnx.ModelProto:
        """Makes the model, given name and width of its input and output."""
        infos = [
            helper.make_tensor_value_info(tensor, TensorProto.FLOAT, ["N", width]) for tensor, width in (source, sink)
        ]
        return helper.make_model(
            helper.make_graph(self._nodes, name, infos[:1], infos[1:], self._initialisers),
            producer_name="anybit.zoo",
            ir_version=10,
            opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid(QUANT_DOMAIN, 1)],
        )


def export(network: Network, pixels: Singles, settings: Settings) -> onnx.ModelProto:
    """Turns a trained network into a QONNX model.

    Args:
        network: The trained network.
        pixels: Samples whose statistics the exported normalisation uses.
        settings: The settings the network was trained with.
    """
    _, trace = forward(network, pixels.astype(np.float64), settings)
    builder = GraphBuilder()
    signal = builder.quant("pixels_quant", "pixels", settings.pixel)
    for layer, weight in enumerate(network.weights):
        name = f"fc{layer + 1}"
        weights = builder.quant(f"{name}_weight_quant", builder.constant(f"{name}_weight", weight), settings.weight)
        if layer == len(network.gains):
            builder.node("MatMul", name, [signal, weights], "logits")
            break
        sums = builder.node("MatMul", name, [signal, weights])
        normalised = builder.node(
            "BatchNormalization",
            f"{name}_norm",
            [
                sums,
                builder.constant(f"{name}_norm_scale", network.gains[layer]),
                builder.constant(f"{name}_norm_bias", network.offsets[layer]),
                builder.constant(f"{name}_norm_mean", trace.means[layer]),
                builder.constant(f"{name}_norm_var", trace.variances[layer]),
            ],
            epsilon=settings.norm_epsilon,
        )
        rectified = builder.node("Relu", f"{name}_relu", [normalised])
        signal = builder.quant(f"{name}_quant", rectified, settings.activation)
    widths = settings.widths
    return builder.build("digits_mlp_2w2a", ("pixels", widths[0]), ("logits", widths[-1]))


class Quant(OpRun):
    """The QONNX operator for ONNX's reference evaluator, limited to what this script exports."""

    op_domain = QUANT_DOMAIN

    def _run(self, *args: Singles, **kwargs: Any) -> tuple[Singles]:
        values, scale, zeropt, bits = args
        spec = QuantSpec(1.0, int(bits), signed=bool(kwargs["signed"]), narrow=bool(kwargs["narrow"]))
        levels = np.round(np.clip(values / scale + zeropt, *spec.limits))
        return ((levels - zeropt) * scale,)


def evaluate(model: onnx.ModelProto, pixels: Singles, labels: Labels) -> float:
    """Accuracy of the exported graph, computed in numpy node by node."""
    evaluator = cast("Any", ReferenceEvaluator(model, new_ops=[Quant]))
    (logits,) = evaluator.run(["logits"], {"pixels": pixels})
    hits: npt.NDArray[np.bool_] = np.argmax(logits, axis=1) == labels
    return float(hits.mean())


def write(out: Path, model: onnx.ModelProto, pixels: Singles, labels: Labels) -> None:
    """Writes `model.onnx` and `test.npz` into the directory `out`."""
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "model.onnx", model.SerializeToString(deterministic=True))
    # Reproducible because numpy dates the members of the archive 1980, not now.
    with whole(out / "test.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, pixels=pixels, labels=labels)


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, exports, writes and reports the held-out accuracy."""
    parser = argparse.ArgumentParser(description="Train the 2-bit digits classifier and export it as QONNX.")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="directory to write to")
    out: Path = parser.parse_args(arguments).out
    settings = Settings()
    data = load_data(settings)
    network = train(data.train_pixels, data.train_labels, settings)
    model = export(network, data.train_pixels, settings)
    onnx.checker.check_model(model)  # pyright: ignore[reportUnknownMemberType]
    write(out, model, data.test_pixels, data.test_labels)
    accuracy = evaluate(model, data.test_pixels, data.test_labels)
    print(f"held-out accuracy {accuracy:.2%} on {len(data.test_labels)} samples, written to {out}")


if __name__ == "__main__":
    main()
