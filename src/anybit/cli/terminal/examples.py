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
    "prepare finn": (
        "prepare finn model.onnx -o project --board Pynq-Z2",
        "prepare finn model.onnx -o model_finn.onnx --input-type x=UINT8 --logits",
    ),
    "prepare hls4ml": ("prepare hls4ml model.onnx -o project --logits",),
    "prepare c": ("prepare c model.onnx -o network",),
    "prepare da4ml": ("prepare da4ml model.onnx -o circuit",),
    "zoo list": ("zoo list", "zoo list --catalogue https://example.org/zoo/catalogue.json"),
    "zoo info": ("zoo info digits_mlp_2w2a",),
    "zoo fetch": ("zoo fetch digits_mlp_2w2a",),
    "zoo run": ("zoo run digits_mlp_2w2a -i images.npy -o logits.npy",),
    "zoo verify": ("zoo verify", "zoo verify digits_mlp_2w2a"),
    "zoo evaluate": ("zoo evaluate digits_mlp_2w2a", "zoo evaluate digits_mlp_2w2a --data test.npz --labels labels"),
    "zoo add": (
        (
            "zoo add model.onnx -o catalogue --data test.npz --labels y --task classification --data-set MNIST "
            "--source 'our group' --licence Apache-2.0"
        ),
    ),
    "zoo site": ("zoo site -o gallery",),
}


def examples_of(command: str) -> str:
    """The examples of a command, or of one of a group ("zoo list"), a line each, as its help ends with them."""
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines_of(command))))  # \b: click keeps the lines


def lines_of(command: str) -> tuple[str, ...]:
    """The examples of a command as they are typed."""
    return tuple(f"anybit {line}" for line in _EXAMPLES[command])
