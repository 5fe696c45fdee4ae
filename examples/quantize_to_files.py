"""From a float ONNX net to 4 bits: a small file for ONNX Runtime, and one for FINN, with the accuracy before and after.

Nothing is trained again; samples without labels are enough. Needs scikit-learn, which trains the float net.
"""

from pathlib import Path

import onnxruntime
from digits_float import accuracy, data, trained

import anybit
from anybit.quantization import Recipe, Target

SMALL, FINN = Path("digits_4bit_qdq.onnx"), Path("digits_4bit_finn.onnx")  # in the folder that this is run in


def main() -> None:
    calibration, pixels, _, labels = data()
    net = trained()
    before = anybit.run(net, pixels)["scores"]
    print(f"float     {accuracy(before, labels)}, {net.ByteSize():,} bytes")

    small = anybit.quantize(net, calibration[:512], Recipe(weights=4, activations=4, first_last=8))
    converted = anybit.convert(small.model, "qdq")
    for refusal in converted.refusals:
        print(f"refused   {refusal}")
    anybit.save(converted.model, SMALL)
    session = onnxruntime.InferenceSession(SMALL, providers=["CPUExecutionProvider"])  # nothing of anybit in it
    print(f"QDQ       {accuracy(session.run(None, {'pixels': pixels})[0], labels)}, {SMALL.stat().st_size:,} bytes")

    made = anybit.quantize(net, calibration[:512], Recipe(weights=4, activations=4, target=Target.FINN))
    exact = anybit.run(made.model, pixels, engine="reference")["scores"]
    handover = anybit.prepare_finn(made.model)
    if not handover.ready:
        raise SystemExit("\n".join(str(f) for f in handover.findings))
    anybit.save(handover.model, FINN)
    after = next(iter(anybit.run(FINN, pixels, engine="reference").values()))
    print(f"FINN      {accuracy(after, labels)}; {(after != exact).sum()} of {after.size} scores differ")
    print(f"written   {SMALL}, {FINN}")


if __name__ == "__main__":
    main()
