"""Value analysis: seconds and peak memory of real models and of long chains.

`rows` is what run.py prints. As a script it analyses one model and prints seconds and peak memory as JSON, so that
the peak is that of one model alone; without a model, that of the imports.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import onnx
from build_cost import peak
from report import Row, at_most, memory, seconds

from anybit.analysis.values.interpreter import values_of
from anybit.cleanup.infer_shapes import InferShapes
from anybit.io.load import load
from models import SHARED, chain, weight_bytes

_REAL = {"mobilenetv1_4w4a_224": 3, "resnet18_4w4a": 3, "cnv_2w2a": None, "transformer_4w8a": None}
_CHAINS = {1000: None, 4000: None, 10_000: 10}
_WIDTH = 64
_GROWTH = 1.5
_TIMES_WEIGHTS = 3
_RUNS = 3


def rows() -> Iterator[Row]:
    """Time against its goal, peak memory against three times the weights on top of the imports, linearity."""
    base = _cost(None)["peak"]
    yield memory("values, imports", "peak memory", base, 0)
    for name, goal in _REAL.items():
        path = SHARED / "corpus" / name / "model.onnx"
        if not path.exists():
            yield Row(f"values, {name}", f"{name}/{path.name} is not beside the project: skipped")
            continue
        yield from _rows(f"values, {name}", path, weight_bytes(onnx.load(path)), base, goal)
    per_node: dict[int, float] = {}
    for nodes, goal in _CHAINS.items():
        model = chain(nodes, _WIDTH, quantised_weights=True)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "chain.onnx"
            path.write_bytes(model.SerializeToString())
            name = f"values, chain of {nodes:,}, {_WIDTH} x {_WIDTH} weights"
            yield from _rows(name, path, weight_bytes(model), base, goal)
            per_node[nodes] = _total(_cost(path)) / nodes
    first, *_, last = per_node
    yield at_most(
        "values, chains", f"time a node, {last:,} against {first:,}", per_node[last], per_node[first], _GROWTH
    )


def _rows(name: str, path: Path, weights: int, base: float, goal: float | None) -> Iterator[Row]:
    cost = _cost(path)
    parts = ", ".join(f"{key} {value:.2f}" for key, value in cost.items() if key != "peak")
    yield seconds(name, "time", _total(cost), parts, goal)
    limit = None if goal is None else base + _TIMES_WEIGHTS * weights
    yield memory(name, "peak memory", cost["peak"], weights, limit)


def _total(cost: dict[str, float]) -> float:
    return sum(value for key, value in cost.items() if key != "peak")


def _cost(path: Path | None) -> dict[str, float]:
    """The medians of fresh processes."""
    arguments = [sys.executable, str(Path(__file__)), *([] if path is None else [str(path)])]
    results: list[dict[str, float]] = []
    for _ in range(_RUNS):
        done = subprocess.run(arguments, check=True, capture_output=True, text=True)
        results.append(json.loads(done.stdout))
    return {key: statistics.median(result[key] for result in results) for key in results[0]}


def main() -> None:
    """Entry point of the process that analyses one model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?")
    options = parser.parse_args()
    costs = {} if options.model is None else _costs(options.model)
    print(json.dumps({**costs, "peak": peak()}))


def _costs(path: str) -> dict[str, float]:
    marks = [time.perf_counter()]
    model = load(path)
    marks.append(time.perf_counter())
    InferShapes()(model)
    marks.append(time.perf_counter())
    (ranged,) = (v for v in model.graph.inputs if not v.is_initializer())
    values_of(model, input_ranges={str(ranged.name): (0.0, 1.0)})
    marks.append(time.perf_counter())
    names = ("load", "shapes", "values")
    return {name: end - start for name, start, end in zip(names, marks, marks[1:], strict=False)}


if __name__ == "__main__":
    main()
