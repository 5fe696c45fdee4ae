"""From a net that Brevitas trained to hls4ml's C++, with the accuracy before and after.

Needs torch, brevitas and scikit-learn, hls4ml[onnx] and qonnx, and g++ to compile the emulation.
"""

import tempfile

import hls4ml
import numpy as np
import torch
from digits_brevitas import accuracy, data, trained
from qonnx.core.modelwrapper import ModelWrapper

import anybit


def main() -> None:
    _, pixels, _, labels = data()
    net = trained()
    with torch.no_grad():
        before = net(torch.from_numpy(pixels)).numpy()
    print(f"Brevitas  {accuracy(before, labels)}")

    exported = anybit.from_brevitas(net, torch.from_numpy(pixels[:1]), dynamic_batch=False)  # says how well both agree
    handover = anybit.prepare_hls4ml(exported.model)
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
