"""The main job on one page: check, run, measure and compare the model that ships with anybit.

A digits classifier, 2 bits for each weight and activation, trained by `anybit.zoo.train.digits_mlp_2w2a`.
"""

from pathlib import Path

import numpy as np

import anybit

MODEL = Path(anybit.__file__).parent / "zoo" / "models" / "digits_mlp_2w2a" / "model.onnx"


def main() -> None:
    data = np.load(MODEL.with_name("test.npz"))
    pixels, labels = data["pixels"], data["labels"]

    summary = anybit.summarise(MODEL)
    print(f"model     {MODEL.parent.name}: {summary.parameters:,} parameters, opsets {summary.opsets}")
    for kind in summary.quantizers:
        of = "weights" if kind.weights else "activations"
        print(f"          {kind.count} x {kind.operator} to {kind.number_format} of {of}")

    findings = anybit.check(MODEL)
    print(f"check     {len(findings)} findings")

    for engine in ("onnxruntime", "reference"):
        session = anybit.Session(MODEL, engine=engine)
        logits = session.run(pixels)["logits"]
        accuracy = (logits.argmax(axis=1) == labels).mean()
        print(f"run       {len(labels)} images by {engine}: accuracy {accuracy:.2%}")

    comparison = anybit.compare(MODEL, MODEL, pixels, engine_a="onnxruntime", engine_b="reference", layers=True)
    (logits_difference,) = comparison.outputs
    print(f"compare   {logits_difference.unequal} of {logits_difference.elements} logits differ between the engines")


if __name__ == "__main__":
    main()
