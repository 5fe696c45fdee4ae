"""Time and memory of a quantisation after training as nets and data grow, and of two nets of PP-OCR.

    python benchmarks/quantize_growth.py [--parts layers,samples,orientation,recogniser]

Each figure is of a fresh process in one thread: seconds of the processor that `anybit.quantize` takes, and the most
memory that the process had. The nets with 50 and 200 layers are residual ones of 16 channels with random weights.
PP-OCR's orientation net and recogniser come from the wheel rapidocr-onnxruntime (`make bench-quantize` unpacks it),
their data are text lines in the fonts of the machine: points are those of accuracy, or of characters read, on other
lines than those of calibration.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from processes import use_one_thread
from text_lines import characters_read, lines, said

import anybit
from anybit.quantization import Recipe

Array = npt.NDArray[np.float32]
_MODELS = Path(__file__).parents[1] / "build" / "rapidocr" / "rapidocr_onnxruntime" / "models"
_ORIENTATION = _MODELS / "ch_ppocr_mobile_v2.0_cls_infer.onnx"
_RECOGNISER = _MODELS / "ch_PP-OCRv4_rec_infer.onnx"
_ORIENTATION_WIDTH = 192
_BATCH = 16
_TESTED = {"orientation": 1024, "recogniser": 256}
_CALIBRATION = {"orientation": 512, "recogniser": 128}
_WIDTHS = {"orientation": ((8, 8, None), (4, 8, None), (4, 4, 8)), "recogniser": ((8, 8, None), (4, 8, None))}


def main() -> None:
    """Prints a line a figure, with its goal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="layers,samples,orientation,recogniser")
    parser.add_argument("--one", nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(_one(*arguments.one)))
        return
    parts: dict[str, Callable[[], None]] = {
        "layers": _layers,
        "samples": _samples,
        "orientation": lambda: _text("orientation"),
        "recogniser": lambda: _text("recogniser"),
    }
    for part in arguments.parts.split(","):
        parts[part]()


def _layers() -> None:
    few, many = (_fresh("random", str(layers), "128", "4", "4")["seconds"] for layers in (50, 200))
    print(f"layers: 50 in {few:.1f} s, 200 in {many:.1f} s: {many / few:.2f} times (<= 4.6)", flush=True)


def _samples() -> None:
    few, many = (_fresh("random", "12", samples, "4", "4")["megabytes"] for samples in ("64", "1024"))
    print(f"samples: 64 in {few:.0f} MB, 1,024 in {many:.0f} MB: {many / few:.2f} times (<= 1.10)", flush=True)


def _text(net: str) -> None:
    for weights, activations, ends in _WIDTHS[net]:
        found = _fresh(net, "", str(_CALIBRATION[net]), str(weights), str(activations), str(ends or ""))
        ended = f", first and last {ends} bits" if ends else ""
        print(
            f"{net}, W{weights}A{activations}{ended}: float {100 * found['float']:.2f} %, "
            f"{100 * (found['float'] - found['quantised']):.2f} points lost, {found['seconds']:.1f} s, "
            f"{found['megabytes']:.0f} MB",
            flush=True,
        )


def _fresh(*arguments: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", *arguments]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def _one(net: str, layers: str, samples: str, weights: str, activations: str, ends: str = "") -> dict[str, float]:
    """The figures of one quantisation, in this process."""
    recipe = Recipe(weights=int(weights), activations=int(activations), first_last=int(ends) if ends else None)
    source, calibration = _source(net, int(layers or 0), int(samples))
    start = time.process_time()
    made = anybit.quantize(source, calibration, recipe).model
    found = {"seconds": time.process_time() - start}
    found["megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    score = _SCORES.get(net)
    if score is not None:
        session = anybit.Session(made, engine="onnxruntime", threads=1)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        plain = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        name = plain.get_inputs()[0].name
        found["float"] = score(lambda x: plain.run(None, {name: x})[0])
        found["quantised"] = score(lambda x: next(iter(session.run(x).values())))
    return found


def _source(net: str, layers: int, samples: int) -> tuple[Any, Array]:
    if net == "orientation":
        return str(_ORIENTATION), _turned(samples, 1)[0]
    if net == "recogniser":
        return str(_RECOGNISER), lines(samples, 1)[0]
    x = np.random.default_rng(1).standard_normal((samples, 3, 16, 16), np.float32)
    return _residual(layers), x


def _turned(count: int, seed: int) -> tuple[Array, npt.NDArray[np.int64]]:
    """Lines as the orientation net reads them, every other one upside down, and which."""
    images = lines(count, seed)[0][..., :_ORIENTATION_WIDTH]
    turned = np.arange(count) % 2
    images[turned == 1] = images[turned == 1][:, :, ::-1, ::-1]
    return images, turned


def _all(run: Callable[[Array], Array], x: Array) -> Array:
    return np.concatenate([run(x[k : k + _BATCH]) for k in range(0, len(x), _BATCH)])


def _orientation_score(run: Callable[[Array], Array]) -> float:
    x, labels = _turned(_TESTED["orientation"], 2)
    return float((_all(run, x).argmax(axis=1) == labels).mean())


def _recogniser_score(run: Callable[[Array], Array]) -> float:
    x, texts = lines(_TESTED["recogniser"], 2)
    known = {p.key: p.value for p in onnx.load(_RECOGNISER).metadata_props}["character"]
    return characters_read(texts, said(_all(run, x), [*known.splitlines(), " "]))


_SCORES = {"orientation": _orientation_score, "recogniser": _recogniser_score}


def _residual(layers: int) -> onnx.ModelProto:
    """Convolutions of 16 channels, each second one added to what was there before it."""
    rng = np.random.default_rng(0)
    nodes, constants, current, before = [], [], "x", "x"
    for number in range(layers):
        gain = 0.2 if number and number % 2 == 0 else 1.4  # what is added stays small beside what it is added to
        weights = rng.normal(size=(16, 16 if number else 3, 3, 3)) * gain / np.sqrt(9 * (16 if number else 3))
        constants.append(numpy_helper.from_array(weights.astype(np.float32), f"w{number}"))
        made = f"c{number}"
        nodes.append(helper.make_node("Conv", [current, f"w{number}"], [made], kernel_shape=[3, 3], pads=[1] * 4))
        if number and number % 2 == 0:
            nodes.append(helper.make_node("Add", [made, before], [f"a{number}"]))
            made = f"a{number}"
        nodes.append(helper.make_node("Relu", [made], [f"r{number}"]))
        current = f"r{number}"
        before = current if number % 2 == 0 else before
    nodes.append(helper.make_node("GlobalAveragePool", [current], ["y"]))
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", c, None, None]) for n, c in (("x", 3), ("y", 16)))
    graph = helper.make_graph(nodes, "residual", [x], [y], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


if __name__ == "__main__":
    use_one_thread()
    main()
