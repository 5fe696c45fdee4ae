"""A quantiser of another package: quantises a net and writes its scores of the test samples.

    python guest_quantizers.py aimet|nncf|quantization-rs NET.onnx DATA.npz WEIGHTS ACTIVATIONS RESULT.npz

RESULT gets ``scores`` and ``seconds``, those of the processor that the quantisation took, in one thread. A width that
the package does not have ends it with a message.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

Array = npt.NDArray[np.float32]
Scores = Callable[[Array], Array]
_BATCH = 250
_CALIBRATION_BATCH = 64
_ITERATIONS = 500  # of AdaRound for each layer; its default, 10,000, takes ten minutes for a small net


def main() -> None:
    """Quantises, and writes the scores."""
    peer, net, data, weights, activations, result = sys.argv[1:]
    with np.load(data) as file:
        calibration, test = (_samples(file[name]) for name in ("calibration", "test"))
    quantize = {"aimet": _aimet, "nncf": _nncf, "quantization-rs": _quantization_rs}[peer]
    made, seconds = quantize(onnx.load(net), calibration, int(weights), int(activations))
    scores = np.concatenate([made(test[k : k + _BATCH]) for k in range(0, len(test), _BATCH)])
    np.savez(result, scores=scores, seconds=seconds)


def _samples(array: npt.NDArray[np.generic]) -> Array:
    return (array / 255).astype(np.float32) if array.dtype == np.uint8 else array.astype(np.float32)


def _batches(net: onnx.ModelProto, samples: Array) -> list[dict[str, Array]]:
    name = net.graph.input[0].name
    return [{name: samples[k : k + _CALIBRATION_BATCH]} for k in range(0, len(samples), _CALIBRATION_BATCH)]


def _aimet(net: onnx.ModelProto, samples: Array, weights: int, activations: int) -> tuple[Scores, float]:
    """Batch normalisation folded, ranges by signal to noise, AdaRound."""
    import torch
    from aimet_onnx import QuantizationSimModel, apply_adaround
    from aimet_onnx.batch_norm_fold import fold_all_batch_norms_to_weight
    from aimet_onnx.common.defs import QuantScheme
    from aimet_onnx.common.quantsim_config.utils import get_path_for_per_channel_config

    torch.set_num_threads(1)
    torch.manual_seed(0)
    start = time.process_time()
    fold_all_batch_norms_to_weight(net)
    simulation = QuantizationSimModel(
        net,
        param_type=f"int{weights}",
        activation_type=f"int{activations}",
        quant_scheme=QuantScheme.post_training_tf_enhanced,
        config_file=get_path_for_per_channel_config(),
        providers=["CPUExecutionProvider"],
    )
    batches = _batches(net, samples)
    if weights < 8:
        apply_adaround(simulation, batches, _ITERATIONS)
    simulation.compute_encodings(batches)
    seconds = time.process_time() - start
    name = net.graph.input[0].name
    return lambda x: simulation.session.run(None, {name: x})[0], seconds


def _nncf(net: onnx.ModelProto, samples: Array, weights: int, activations: int) -> tuple[Scores, float]:
    if (weights, activations) != (8, 8):
        sys.exit("NNCF quantises activations to 8 bits, with weights of 8 bits")
    import nncf

    start = time.process_time()
    batches = _batches(net, samples)
    made = nncf.quantize(net, nncf.Dataset(batches), subset_size=len(batches))
    return _session(made), time.process_time() - start


def _quantization_rs(net: onnx.ModelProto, samples: Array, weights: int, activations: int) -> tuple[Scores, float]:
    if (weights, activations) != (8, 8):
        sys.exit("quantization-rs quantises activations to 8 bits, with weights of 8 bits")
    import quantize_rs

    batch = net.graph.input[0].type.tensor_type.shape.dim[0]
    free = onnx.TensorShapeProto.Dimension()
    free.CopyFrom(batch)
    batch.dim_value = 1
    with tempfile.TemporaryDirectory() as folder:
        source, data, target = (Path(folder) / name for name in ("net.onnx", "data.npy", "quantised.onnx"))
        onnx.save(net, source)
        np.save(data, samples)
        start = time.process_time()
        quantize_rs.quantize_with_calibration(
            str(source), str(target), calibration_data=str(data), per_channel=True, method="percentile"
        )
        seconds = time.process_time() - start
        made = onnx.load(target)
    made.graph.input[0].type.tensor_type.shape.dim[0].CopyFrom(free)
    del made.graph.value_info[:]
    for output in made.graph.output:
        output.type.tensor_type.shape.dim[0].CopyFrom(free)
    return _session(made), seconds


def _session(net: onnx.ModelProto) -> Scores:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(net.SerializeToString(), options, providers=["CPUExecutionProvider"])
    name = net.graph.input[0].name
    return lambda x: session.run(None, {name: x})[0]


if __name__ == "__main__":
    main()
