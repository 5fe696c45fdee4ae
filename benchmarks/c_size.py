"""Flash and RAM on a Cortex-M4 of a 4-bit network in C, beside what another generator makes of it in bytes.

    python benchmarks/c_size.py COMMAND_OF_EMX_ONNX_CGEN

The peer is emx-onnx-cgen. It gets the same network as QLinearConv (`anybit convert --to quantized-ops`), which has a
byte for each weight and each level, as a network of 8 bits has. Sizes are those of the objects, compiled with -Os:
flash is code and constants, RAM is static memory and the stack of the function that asks for most (-fstack-usage).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import anybit
from anybit.passes import SetBatch

MODEL = Path(anybit.__file__).parent / "zoo" / "models" / "digits_cnn_4w4a" / "model.onnx"
COMPILER = ["arm-none-eabi-gcc", "-std=c99", "-Os", "-mcpu=cortex-m4", "-mthumb", "-fstack-usage", "-c"]


def measured(source: Path, *options: str) -> tuple[int, int, int]:
    """Flash, static memory and largest stack frame of a source."""
    target = source.with_suffix(".o")
    subprocess.run([*COMPILER, *options, str(source), "-o", str(target)], check=True)
    printed = subprocess.run(["arm-none-eabi-size", str(target)], check=True, capture_output=True, text=True).stdout
    text, data, bss = map(int, printed.splitlines()[1].split()[:3])
    frames = [int(line.split("\t")[1]) for line in source.with_suffix(".su").read_text().splitlines()]
    return text + data, data + bss, max(frames)


def ours(folder: Path) -> tuple[int, int, int]:
    """Of the integer part of what `anybit prepare c` writes."""
    project = anybit.prepare_c(MODEL)
    project.write(folder / "ours")
    return measured(folder / "ours" / f"{project.name}.c", f"-D{project.name.upper()}_FLOAT=0")


def peer(folder: Path, command: str, source: object) -> tuple[int, int, int]:
    """Of what the other generator makes of a model."""
    path = folder / "peer.onnx"
    anybit.save(source, path)
    options = ["--large-temp-threshold", "0"]  # all on the stack: else it asks malloc, which no size counts
    command_line = [command, "compile", *options, str(path), str(folder / "peer.c")]
    subprocess.run(command_line, check=True, stdout=subprocess.DEVNULL)
    return measured(folder / "peer.c")


def in_bytes() -> object:
    """The same network with a byte for each weight and each level."""
    return anybit.apply(anybit.convert(MODEL, to="quantized-ops").model, [SetBatch(1)]).model


def main() -> None:
    """Prints the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = {"anybit prepare c": ours(folder), "emx-onnx-cgen": peer(folder, sys.argv[1], in_bytes())}
    print(f"{'':20} {'flash':>8} {'static RAM':>11} {'largest frame':>14}")
    for name, row in rows.items():
        print(f"{name:20} {row[0]:8,} {row[1]:11,} {row[2]:14,}")


if __name__ == "__main__":
    main()
