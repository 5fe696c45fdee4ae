"""The script of a project for da4ml."""

BUILD = '''\
"""Makes a circuit of model.onnx by da4ml, compares it with the model's own outputs, and writes it.

Needs the packages da4ml and anybit. `python build.py` writes circuit.json, which da4ml reads again, and the Verilog
project in verilog/; it fails if any output differs.
"""

import sys
from pathlib import Path

import numpy as np
from da4ml.codegen import RTLModel
from da4ml.converter import trace_model
from da4ml.trace import comb_trace

from anybit.targets.da4ml.network import Network

CLOCK_PERIOD = 5.0  # nanoseconds
LATENCY_CUTOFF = 5.0  # of one stage of the pipeline, in da4ml's units; -1 for no pipeline

HERE = Path(__file__).parent


def main() -> int:
    circuit = comb_trace(*trace_model(Network.load(HERE / "model.onnx")))
    circuit.save(HERE / "circuit.json")
    expected = np.load(HERE / "expected_output.npy")
    found = circuit.predict(np.load(HERE / "inputs.npy"))
    wrong = int((found != expected).sum())
    print(f"{wrong} of {expected.size} outputs differ; cost {circuit.cost:g}, latency {circuit.latency}")
    if wrong:
        return 1
    model = RTLModel(
        circuit, "model", HERE / "verilog", latency_cutoff=LATENCY_CUTOFF, clock_period=CLOCK_PERIOD
    )
    model.write()
    print(f"{len(circuit.ops)} operations written to {HERE / 'verilog'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
'''
"""What `build.py` holds."""
