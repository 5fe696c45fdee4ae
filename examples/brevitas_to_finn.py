"""From a net that Brevitas trained to a file for FINN, with the accuracy before and after.

The file has integer products and thresholds; give it to FINN's builder as it is. Needs torch, brevitas and
scikit-learn.
"""

from pathlib import Path

import torch
from digits_brevitas import accuracy, data, trained

import anybit

OUTPUT = Path("digits_finn.onnx")  # in the folder that this is run in


def main() -> None:
    _, pixels, _, labels = data()
    net = trained()
    with torch.no_grad():
        before = net(torch.from_numpy(pixels)).numpy()
    print(f"Brevitas  {accuracy(before, labels)}")

    exported = anybit.from_brevitas(net, torch.from_numpy(pixels[:1]), dynamic_batch=False)  # says how well both agree
    handover = anybit.prepare_finn(exported.model)
    for line in (*handover.rewrites, *handover.findings):
        print(f"prepare   {line}")
    if not handover.ready:
        raise SystemExit("FINN would not compute what the net means")

    anybit.save(handover.model, OUTPUT)
    after = next(iter(anybit.run(OUTPUT, pixels, engine="reference").values()))
    print(f"FINN      {accuracy(after, labels)}; {(after != before).sum()} of {after.size} scores differ")
    print(f"written   {OUTPUT}")


if __name__ == "__main__":
    main()
