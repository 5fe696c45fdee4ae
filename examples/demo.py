"""The main jobs on one page: check, clean, run, compare, measure, convert, verify and quantise the model that ships.

A digits classifier, 2 bits for each weight and activation, trained by `training.digits_mlp_2w2a`.
"""

from pathlib import Path

import numpy as np

import anybit
from anybit.quantization import Recipe

MODEL = Path(anybit.__file__).parent / "zoo" / "models" / "digits_mlp_2w2a" / "model.onnx"


def main() -> None:
    data = np.load(MODEL.with_name("test.npz"))
    pixels, labels = data["pixels"], data["labels"]

    summary = anybit.info(MODEL)
    print(f"model     {MODEL.parent.name}: {summary.parameters:,} parameters, opsets {summary.opsets}")
    for kind in summary.quantizers:
        of = "weights" if kind.weights else "activations"
        print(f"          {kind.count} x {kind.operator} to {kind.number_format} of {of}")

    findings = anybit.check(MODEL)
    print(f"check     {len(findings)} findings")

    cleaned = anybit.clean(MODEL)
    print(f"clean     {summary.inputs[0].name} {summary.inputs[0].shape} -> {cleaned.graph.num_nodes()} nodes")

    for engine in ("onnxruntime", "reference"):
        logits = anybit.Session(cleaned, engine=engine).run(pixels)["logits"]
        accuracy = (logits.argmax(axis=1) == labels).mean()
        print(f"run       {len(labels)} images by {engine}: accuracy {accuracy:.2%}")

    comparison = anybit.compare(MODEL, cleaned, pixels, engine_a="reference", engine_b="onnxruntime", layers=True)
    (difference,) = comparison.outputs
    print(f"compare   {difference.unequal} of {difference.elements} logits differ from the uncleaned model's")

    for accumulator in anybit.ranges(MODEL).accumulators:
        sums = accumulator.bounds[-1]
        print(f"ranges    {accumulator.node} adds up to {sums.lo} .. {sums.hi}: {sums.bits} bits are enough")

    figures = anybit.cost(MODEL).dense
    print(f"cost      {figures.macs:,} MACs, {figures.bit_operations:,} bit operations")

    for target in ("qcdq", "integer-ops"):
        converted = anybit.convert(MODEL, target)
        print(f"convert   to {target}: {len(converted.refusals)} nodes refused")
        certificate = anybit.verify(MODEL, converted.model)
        print(f"verify    {len(certificate.layers)} tensors: {certificate.verdict.value}")

    recipe = Recipe(weights=3, activations=3, requantize=True)  # from its float weights, on images without labels
    again = anybit.quantize(MODEL, pixels, recipe)
    accuracy = (anybit.run(again.model, pixels)["logits"].argmax(axis=1) == labels).mean()
    print(f"quantize  {len(again.report.tensors)} tensors to 3 bits: accuracy {accuracy:.2%}")


if __name__ == "__main__":
    main()
