"""Examples of each command, which end its help."""

from __future__ import annotations

_EXAMPLES = {
    "info": ("info model.onnx", "info model.onnx --input-shape x=1,3,224,224"),
    "check": ("check model.onnx",),
    "explain": ("explain", "explain bit-width"),
    "clean": ("clean model.onnx -o clean.onnx", "clean model.onnx -o clean.onnx --batch dynamic"),
    "passes": ("passes",),
    "apply": ("apply model.onnx -p fold-constants -p fold-batch-norm:float_weights=true -o folded.onnx",),
    "configuration": ("configuration model.onnx -a kernel_shape",),
    "run": ("run model.onnx -i inputs.npz -o outputs.npz", "run model.onnx --zero-inputs -o output.npy"),
    "compare": ("compare float.onnx int8.onnx --samples 64", "compare a.onnx b.onnx -i inputs.npz --layers"),
    "types": ("types model.onnx", "types model.onnx -o annotated.onnx"),
    "ranges": ("ranges model.onnx --input-range x=0,1",),
    "cost": ("cost model.onnx --by layer", "cost model.onnx --input-shape x=1,3,224,224"),
    "stats": ("stats model.onnx -i inputs.npz",),
    "evaluate": ("evaluate model.onnx --data test.npz --labels y", "evaluate model.onnx --data images/ --top 5"),
    "quantize": ("quantize float.onnx --calibration inputs.npz --weights 4 --activations 4 -o w4a4.onnx",),
    "sensitivity": ("sensitivity model.onnx --data test.npz",),
    "convert": ("convert model.onnx --to qcdq -o qcdq.onnx", "convert model.onnx --to qdq --dry-run"),
    "verify": ("verify model.onnx converted.onnx",),
    "plan": ("plan model.onnx",),
    "report": (
        "report model.onnx -o report.html --data x.npz",
        "report float.onnx w4.onnx -o changes.html",
        "report model.onnx -o report.html --sensitivity sensitivity.json --front front.json",
    ),
    "bench": ("bench model.onnx --batch-size 1,64",),
}


def examples_of(command: str) -> str:
    """The examples of a command, a line each, as its help ends with them."""
    lines = [f"  anybit {line}" for line in _EXAMPLES[command]]
    return "\n".join(("\b", "Examples:", *lines))  # \b: click keeps these lines as they are
