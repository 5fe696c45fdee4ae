"""anybit info: what a model is."""

from __future__ import annotations

import anybit
from anybit.cli.output import JsonOption, ModelArgument, print_json, print_table


def info(model: ModelArgument, json: JsonOption = False) -> None:
    """Inputs, outputs, opsets, producer, operators, quantisers by kind and bit width, size."""
    summary = anybit.info(model)
    if json:
        print_json(summary)
        return
    facts = [
        ("producer", summary.producer),
        ("IR version", str(summary.ir_version)),
        ("opsets", ", ".join(f"{domain or 'onnx'} {version}" for domain, version in summary.opsets.items())),
        ("parameters", f"{summary.parameters:,} in {summary.weight_bytes:,} bytes"),
    ]
    if summary.functions:
        facts.append(("functions", ", ".join(summary.functions)))
    facts += [("repaired", str(repair)) for repair in summary.repairs]
    print_table(str(model), ("fact", "value"), facts)
    tensors = [("input with a default" if t.optional else "input", t.name, t.type, t.shape) for t in summary.inputs]
    tensors += [("output", t.name, t.type, t.shape) for t in summary.outputs]
    print_table("\nInputs and outputs", ("", "name", "type", "shape"), tensors)
    print_table("\nOperators", ("operator", "nodes"), list(summary.operators.items()))
    kinds = [
        (q.operator, q.number_format, "weights" if q.weights else "activations", q.count) for q in summary.quantizers
    ]
    print_table("\nQuantisers", ("operator", "number format", "of", "nodes"), kinds)
