"""steps_of: which of FINN's transformations a prepared model needs, in the order in which they have to run.

Measured on FINN 0.10.1+ (main 39f0c9a6 and dev 73ba5ed6). Its own step_streamline and step_convert_to_hw move scales
that the dialect does not have, and leave out what depthwise, residual and pooling layers need.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from anybit.graph.constants import constant
from anybit.graph.walk import shape_of
from anybit.number_formats import BipolarFormat
from anybit.targets.finn.dialect_rules import format_of, is_hardware
from anybit.targets.finn.pools import streams

_FLATTENING = frozenset(("Flatten", "Reshape"))
_TWICE = 2  # branches of a fork, operands of a sum
_IMAGE = 4


@dataclass(frozen=True)
class Steps:
    """Transformations by the name under which build.py imports them.

    Attributes:
        arrange: Those that lower convolutions and move channels to the last axis.
        convert: Those that make hardware layers.
        executable: Whether FINN can execute the layers: not where a product reads an image of more than one pixel,
            whose Flatten it takes out without a change of the shape.
    """

    arrange: tuple[str, ...]
    convert: tuple[str, ...]
    executable: bool = True


@dataclass(frozen=True)
class _Features:
    """What a model has that needs transformations of its own."""

    image: bool
    bipolar: bool
    depthwise: bool
    flatten: bool
    fork: bool
    join: bool
    concat: bool
    resize: bool
    affine: bool
    streaming_pool: bool
    window_pool: bool


def steps_of(model: ir.Model) -> Steps:
    """The steps that FINN needs for a model in its dialect.

    Args:
        model: As `prepare_finn` leaves it.
    """
    has = _features(model)
    flattened = [n for n in model.graph if n.op_type in _FLATTENING and is_hardware(n)]
    executable = not any(_has_pixels(n.inputs[0]) for n in flattened)
    return Steps(tuple(_arrange(has)), tuple(_convert(has)), executable)


def _has_pixels(value: ir.Value | None) -> bool:
    shape = None if value is None else shape_of(value)
    return shape is not None and len(shape) == _IMAGE and any(n != 1 for n in shape[2:])


def _features(model: ir.Model) -> _Features:
    nodes = [n for n in model.graph if is_hardware(n)]
    products = [n for n in nodes if n.op_type in ("Conv", "MatMul")]
    convolutions = [n for n in nodes if n.op_type == "Conv"]
    pools = [n for n in nodes if n.op_type == "MaxPool"]
    made = [v for n in model.graph for v in n.outputs if format_of(v) is not None]
    return _Features(
        image=any(len(shape_of(v) or ()) == _IMAGE for n in nodes for v in n.outputs),
        bipolar=any(all(isinstance(format_of(v), BipolarFormat) for v in n.inputs[:2]) for n in products),
        depthwise=any(_is_depthwise(n) for n in convolutions),
        flatten=any(n.op_type in _FLATTENING for n in nodes),
        fork=any(len(v.uses()) >= _TWICE for v in made),
        join=any(n.op_type == "Add" and _flowing(n) == _TWICE for n in nodes),
        concat=any(n.op_type == "Concat" for n in nodes),
        resize=any(n.op_type == "Resize" for n in nodes),
        affine=any(n.op_type in ("Add", "Mul") and _flowing(n) < _TWICE for n in nodes),
        streaming_pool=any(streams(n) for n in pools),
        window_pool=any(not streams(n) for n in pools),
    )


def _is_depthwise(convolution: ir.Node) -> bool:
    """Whether FINN takes it for depthwise: one of one channel to one channel is, too."""
    weights = constant(convolution.inputs[1])
    return weights is not None and weights.shape[:2] == (convolution.attributes.get_int("group", 1), 1)


def _flowing(node: ir.Node) -> int:
    return sum(v is not None and constant(v) is None for v in node.inputs)


def _arrange(has: _Features) -> list[str]:
    steps: list[str] = []
    if has.image:
        steps.append("LowerConvsToMatMul")
    if has.bipolar:
        steps.append("ConvertBipolarMatMulToXnorPopcount")
    if has.image:
        moves = ["MakeMaxPoolNHWC"] if has.streaming_pool or has.window_pool else []
        moves += ["MakeScaleResizeNHWC"] if has.resize else []
        steps += ["MakeConcatNHWC"] if has.concat else []
        moves.append("AbsorbTransposeIntoMultiThreshold")
        moves += ["MoveTransposePastFork"] if has.fork else []
        moves += ["MoveTransposePastJoinAdd"] if has.join else []
        moves += ["AbsorbTransposeIntoFlatten"] if has.flatten else []
        moves += ["AbsorbConsecutiveTransposes", "MoveTransposePastScalarMul", "AbsorbConsecutiveTransposes"]
        steps += ["MakeInputNHWC"] if has.fork and has.join else []
        steps += moves * 2
        steps += ["MergeTransposes"] if has.fork else []
    if has.bipolar:  # the factor 2 and the length that a count of equal bits brings
        steps += ["AbsorbAddIntoMultiThreshold", "AbsorbMulIntoMultiThreshold"] * 2
    return [*steps, "RoundAndClipThresholds"]


def _convert(has: _Features) -> list[str]:
    steps = ["InferAddStreamsLayer"] if has.join else []
    steps += ["InferChannelwiseLinearLayer"] if has.affine or has.bipolar else []
    steps += ["InferStreamingMaxPool"] if has.streaming_pool else []
    steps += ["InferPool"] if has.window_pool else []
    steps += ["InferBinaryMatrixVectorActivation"] if has.bipolar else []
    steps.append("InferQuantizedMatrixVectorActivation")
    steps += ["InferVectorVectorActivation"] if has.depthwise else []
    steps.append("InferThresholdingLayer")
    steps += ["InferConvInpGen"] if has.image else []
    steps += ["InferConcatLayer"] if has.concat else []
    steps += ["InferUpsample"] if has.resize else []
    steps += ["AbsorbConsecutiveTransposes"] if has.image else []
    steps += ["InferDuplicateStreamsLayer"] if has.fork else []
    steps += ["RemoveCNVtoFCFlatten"] if has.image and has.flatten else []
    return steps
