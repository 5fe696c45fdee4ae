"""From a float ONNX net to 4 bits and hls4ml's C++, with the accuracy before and after.

Needs scikit-learn, which trains the float net, hls4ml[onnx] and qonnx, and g++ to compile the emulation.
"""

import tempfile

import hls4ml
import numpy as np
from digits_float import accuracy, data, trained
from qonnx.core.modelwrapper import ModelWrapper

import anybit
from anybit.quantization import Recipe, Target


def main() -> None:
    calibration, pixels, _, labels = data()
    net = trained()
    print(f"float     {accuracy(anybit.run(net, pixels)['scores'], labels)}")

    recipe = Recipe(weights=4, activations=4, target=Target.HLS4ML)
    quantized = anybit.quantize(net, calibration[:512], recipe).model
    before = anybit.run(quantized, pixels, engine="reference")["scores"]
    print(f"4 bits    {accuracy(before, labels)}")

    handover = anybit.prepare_hls4ml(quantized)
    for line in (*handover.rewrites, *handover.findings):
        print(f"prepare   {line}")
    if not handover.ready:
        raise SystemExit("hls4ml would not compute what the net means")
    wrapped = ModelWrapper(anybit.to_proto(handover.model))
    config = hls4ml.utils.config_from_onnx_model(
        wrapped, granularity="name", backend="Vitis", default_precision=handover.precision or "fixed<32,16>"
    )
    with tempfile.TemporaryDirectory() as folder:
        emulation = hls4ml.converters.convert_from_onnx_model(
            wrapped, output_dir=folder, backend="Vitis", hls_config=config
        )
        emulation.compile()
        after = emulation.predict(np.ascontiguousarray(pixels))
    print(f"hls4ml    {accuracy(after, labels)}; {(after != before).sum()} of {after.size} scores differ")


if __name__ == "__main__":
    main()
