"""Accuracy that quantisation after training costs: anybit beside other quantisers, in one run.

    OMP_NUM_THREADS=1 python benchmarks/quantize.py NET.onnx DATA.npz [--bits 8/8,4/8,4/4]

DATA holds ``calibration`` (samples without labels), ``test`` and ``test_labels``; uint8 samples are divided by 255. The
net has one input, and scores of classes as its first output. All quantise all layers to the stated bits of weights and
activations, each weight by output channel; times are seconds of the processor, in one thread. ONNX Runtime's quantiser
has ranges by percentile, AIMET ranges by signal to noise and AdaRound. NNCF and quantization-rs have no activations
below 8 bits. There a second row of anybit has mixed bits, at the bit operations, weight bits and activation bits of all
tensors at the stated ones. `make bench-quantize` sets up an environment for each of the last three; one that is missing
or does not have a width is named below the table.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from guests import run_guest
from onnxruntime import quantization as ort_quantization
from peers import MissingPeerError

import anybit
from anybit.quantization import CostBudget, Recipe, cost_model, plan_of, prepare

Array = npt.NDArray[np.float32]
_BATCH = 250
_EQUAL = 64  # batches of one size, as ONNX Runtime's percentiles need them
_PERCENTILE = 99.99
_OURS = ("anybit", "anybit, mixed")


def main() -> None:
    """Prints a row for each width and quantiser."""
    arguments = _arguments()
    with np.load(arguments.data) as file:
        calibration, test, labels = (_samples(file[k]) for k in ("calibration", "test", "test_labels"))
    net = onnx.load(arguments.net)
    exact = _accuracy(net, test, labels)
    print(f"{arguments.net.name}: float {exact:.2%} of {len(labels):,} samples, {len(calibration)} for calibration")
    print("bits   quantiser             points lost    seconds   of the best peer's loss")
    missing: dict[str, None] = {}
    for weights, activations in arguments.bits:
        found: dict[str, tuple[float, float]] = {}
        for name, job in _contenders(arguments, net, calibration, test, labels, weights, activations).items():
            try:
                accuracy, seconds = job()
            except MissingPeerError as error:
                reason = str(error).rsplit(": ", 1)[-1]
                missing[f"{name}, W{weights}A{activations}: {reason}"] = None
                continue
            found[name] = 100 * (exact - accuracy), seconds
        best = min((lost for name, (lost, _) in found.items() if name not in _OURS), default=0.0)
        for name, (lost, seconds) in found.items():
            share = f"{lost / best:.2f}" if name in _OURS and best > 0 else ""
            print(f"W{weights}A{activations}   {name:20} {lost:12.2f} {seconds:10.1f} {share:>12}", flush=True)
    for line in missing:
        print(line)


def _contenders(
    arguments: argparse.Namespace,
    net: onnx.ModelProto,
    calibration: Array,
    test: Array,
    labels: npt.NDArray[np.generic],
    weights: int,
    activations: int,
) -> dict[str, Callable[[], tuple[float, float]]]:
    """What measures the accuracy of each quantiser, and its seconds."""

    def here(make: Callable[[onnx.ModelProto, Array, int, int], onnx.ModelProto]) -> Callable[[], tuple[float, float]]:
        def job() -> tuple[float, float]:
            made, seconds = _timed(lambda: make(net, calibration, weights, activations))
            return _accuracy(made, test, labels), seconds

        return job

    def guest(name: str) -> Callable[[], tuple[float, float]]:
        def job() -> tuple[float, float]:
            with tempfile.TemporaryDirectory() as folder:
                result = Path(folder) / "scores.npz"
                paths = (str(arguments.net.resolve()), str(arguments.data.resolve()))
                run_guest(name, "guest_quantizers.py", name, *paths, str(weights), str(activations), str(result))
                with np.load(result) as file:
                    return float((file["scores"].argmax(axis=1) == labels).mean()), float(file["seconds"])

        return job

    mixed = {}
    if max(weights, activations) < 8:
        mixed = {"anybit, mixed": here(partial(_by_anybit, budget=_costs(net, weights, activations)))}
    return {
        "anybit": here(_by_anybit),
        **mixed,
        "ONNX Runtime": here(_by_onnxruntime),
        **{name: guest(name) for name in ("aimet", "nncf", "quantization-rs")},
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("net", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--bits", type=_widths, default=_widths("8/8,4/8,4/4"), help="WEIGHTS/ACTIVATIONS,...")
    return parser.parse_args()


def _widths(text: str) -> list[tuple[int, int]]:
    pairs = [tuple(int(b) for b in pair.split("/")) for pair in text.split(",")]
    return [(weights, activations) for weights, activations in pairs]


def _samples(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    return (array / 255).astype(np.float32) if array.dtype == np.uint8 else array


def _timed(job: Callable[[], onnx.ModelProto]) -> tuple[onnx.ModelProto, float]:
    start = time.process_time()
    return job(), time.process_time() - start


def _by_anybit(
    net: onnx.ModelProto, calibration: Array, weights: int, activations: int, budget: CostBudget | None = None
) -> onnx.ModelProto:
    recipe = Recipe(weights=weights, activations=activations, budget=budget)
    return anybit.to_proto(anybit.quantize(net, calibration, recipe).model)


def _costs(net: onnx.ModelProto, weights: int, activations: int) -> CostBudget:
    """What the model costs with all tensors at these bits."""
    prepared = prepare(net)
    plan = plan_of(prepared, Recipe(weights=weights, activations=activations))
    bits = {t.tensor: t.bits for t in (*plan.activations, *plan.weights) if t.bits is not None}
    costs = cost_model(prepared, plan).costs(bits)
    return CostBudget(**{name: costs[name] for name in ("bops", "weight_bits", "activation_bits")})


def _by_onnxruntime(net: onnx.ModelProto, calibration: Array, weights: int, activations: int) -> onnx.ModelProto:
    """As its documentation has it: shapes inferred and batch normalisation folded first, then percentiles."""
    types = {8: "8", 4: "4"}
    if weights not in types or activations not in types:
        raise MissingPeerError("it has 4 and 8 bits")
    with tempfile.TemporaryDirectory() as folder:
        source, prepared, target = (Path(folder) / name for name in ("net.onnx", "prepared.onnx", "quantised.onnx"))
        onnx.save(onnx.version_converter.convert_version(net, max(21, net.opset_import[0].version)), source)
        ort_quantization.quant_pre_process(source, prepared, skip_symbolic_shape=True)
        ort_quantization.quantize_static(
            prepared,
            target,
            _Reader(net.graph.input[0].name, calibration),
            quant_format=ort_quantization.QuantFormat.QDQ,
            per_channel=True,
            weight_type=ort_quantization.QuantType[f"QInt{types[weights]}"],
            activation_type=ort_quantization.QuantType[f"QUInt{types[activations]}"],
            calibrate_method=ort_quantization.CalibrationMethod.Percentile,
            extra_options={"CalibPercentile": _PERCENTILE},
        )
        return onnx.load(target)


class _Reader(ort_quantization.CalibrationDataReader):
    def __init__(self, name: str, samples: Array) -> None:
        self._batches: Iterator[dict[str, Array]] = iter(
            [{name: samples[k : k + _EQUAL]} for k in range(0, len(samples) - _EQUAL + 1, _EQUAL)]
        )

    def get_next(self) -> dict[str, Array] | None:
        """The next batch."""
        return next(self._batches, None)


def _accuracy(net: onnx.ModelProto, test: Array, labels: npt.NDArray[np.generic]) -> float:
    """Of what anybit made by its session, of all others by a plain one of ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    ours = any(o.domain == "qonnx.custom_op.general" for o in net.opset_import)
    if ours:
        session = anybit.Session(net, engine="onnxruntime", threads=1)
        outputs = [next(iter(session.run(test[k : k + _BATCH]).values())) for k in range(0, len(test), _BATCH)]
    else:
        plain = onnxruntime.InferenceSession(net.SerializeToString(), options, providers=["CPUExecutionProvider"])
        name = net.graph.input[0].name
        outputs = [plain.run(None, {name: test[k : k + _BATCH]})[0] for k in range(0, len(test), _BATCH)]
    return float((np.concatenate(outputs).argmax(axis=1) == labels).mean())


if __name__ == "__main__":
    main()
