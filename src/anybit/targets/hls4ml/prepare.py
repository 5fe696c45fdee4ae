"""prepare: a model as hls4ml takes it, with what was changed, what stands in the way, and a precision."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from anybit.analysis.values.input_range import InputRanges, of_inputs
from anybit.analysis.values.interpreter import values_of
from anybit.arguments import checked_apart
from anybit.cleanup.clean import clean
from anybit.cleanup.fold_transpose import FoldTranspose
from anybit.cleanup.fusion.batch_norm_to_affine import BatchNormToAffine
from anybit.cleanup.infer_shapes import InferShapes
from anybit.cleanup.remove_identities import RemoveIdentities
from anybit.cleanup.remove_unused import RemoveUnused
from anybit.errors import InvalidModelError, Severity, UsageError
from anybit.formats.convert import to_hub
from anybit.graph.editor import Editor
from anybit.io.load import ModelSource, load
from anybit.passes.layout.conv_1d_to_2d import Conv1dTo2d
from anybit.passes.layout.to_channels_last import ToChannelsLast
from anybit.passes.lowering.extract_conv_bias import ExtractConvBias
from anybit.passes.lowering.gemm_to_matmul import GemmToMatMul
from anybit.passes.surgery.unique_parameters import UniqueParameters
from anybit.runtime.compare import compare
from anybit.targets.equivalents import write_equivalents
from anybit.targets.handover import Rewrite, departures, finding_of
from anybit.targets.hls4ml.check import check_prepared
from anybit.targets.hls4ml.handover import Hls4mlHandover
from anybit.targets.hls4ml.io_type import IoType
from anybit.targets.hls4ml.precision import ranges_of, recommend
from anybit.targets.hls4ml.project.configure import configure
from anybit.targets.hls4ml.repairs import Repairs
from anybit.targets.hls4ml.rewrites.absolutes import rewrite_absolutes
from anybit.targets.hls4ml.rewrites.averages import rewrite_averages
from anybit.targets.hls4ml.rewrites.bipolar_uses import widen_bipolar
from anybit.targets.hls4ml.rewrites.clips import rewrite_clips
from anybit.targets.hls4ml.rewrites.concats import rewrite_concats
from anybit.targets.hls4ml.rewrites.constants import rewrite_constants
from anybit.targets.hls4ml.rewrites.factors import merge_factors, move_factors
from anybit.targets.hls4ml.rewrites.forks import separate
from anybit.targets.hls4ml.rewrites.functions import rewrite_functions
from anybit.targets.hls4ml.rewrites.kernels import rewrite_kernels
from anybit.targets.hls4ml.rewrites.names import rewrite_names
from anybit.targets.hls4ml.rewrites.narrow import rewrite_narrow
from anybit.targets.hls4ml.rewrites.pools import rewrite_ceil_modes, rewrite_means, rewrite_padded_pools
from anybit.targets.hls4ml.rewrites.quantizers import rewrite_quantizers
from anybit.targets.hls4ml.rewrites.requantizers import rewrite_requantizers
from anybit.targets.hls4ml.rewrites.reshapes import rewrite_reshapes
from anybit.targets.hls4ml.rewrites.roundings import rewrite_roundings
from anybit.targets.hls4ml.rewrites.signs import make_factors_positive
from anybit.targets.hls4ml.rewrites.streams import rewrite_streams
from anybit.targets.hls4ml.rewrites.thresholds import rewrite_thresholds
from anybit.targets.hls4ml.rewrites.truncations import rewrite_truncations
from anybit.targets.hls4ml.rewrites.weights import rewrite_weights
from anybit.targets.logits import cut_softmax

_Stage = ir.passes.PassBase | Callable[[Repairs], None]

# In this order: standard operators, the layout, the operators that hls4ml lacks, the quantisers, what goes on between
# them, and last the nodes that only hold hls4ml's optimiser off, which RemoveIdentities would take away again.
_STAGES: tuple[_Stage, ...] = (
    rewrite_thresholds,
    rewrite_means,
    GemmToMatMul(),
    FoldTranspose(),
    ExtractConvBias(),
    BatchNormToAffine(),
    InferShapes(),
    Conv1dTo2d(),
    ToChannelsLast(),
    InferShapes(),
    rewrite_reshapes,
    rewrite_ceil_modes,
    rewrite_averages,
    rewrite_truncations,
    rewrite_functions,
    rewrite_clips,
    rewrite_concats,
    rewrite_weights,
    rewrite_kernels,
    rewrite_quantizers,
    rewrite_narrow,
    rewrite_roundings,
    rewrite_absolutes,
    rewrite_constants,
    move_factors,
    merge_factors,
    RemoveIdentities(),
    rewrite_requantizers,
    rewrite_padded_pools,
    make_factors_positive,
    widen_bipolar,
    separate,
    UniqueParameters(operators=()),
    RemoveUnused(),
)
_NAMES: tuple[_Stage, ...] = (rewrite_names, InferShapes())
_LAST_STAGES: dict[IoType, tuple[_Stage, ...]] = {
    IoType.PARALLEL: _NAMES,
    IoType.STREAM: (InferShapes(), rewrite_streams, *_NAMES),
}


@checked_apart("input_ranges")
def prepare_hls4ml(
    model: ModelSource,
    *,
    input_ranges: InputRanges | None = None,
    logits: bool = False,
    io_type: IoType | str = IoType.PARALLEL,
    reuse: int | None = None,
    compared: bool = True,
) -> Hls4mlHandover:
    """A copy of the model that hls4ml 1.3 (with its qonnx 1.0) takes as it is, and computes as it is meant.

    The batch becomes 1, inputs and outputs keep their layout. A model without errors among the findings converts,
    compiles and computes the same with io_type "io_parallel", at the precision of the hand-over, for inputs in their
    ranges: exactly where all scales are powers of two, else but for rounding boundaries and 2^-20 of full scale.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model`` of any format; it is not changed.
        input_ranges: By input name, the smallest and the largest value that is fed (see `analyse`); -2^15 .. 2^15 - 1
            if not stated.
        logits: Whether a Softmax at the end is cut off: outputs then are what it reads.
        io_type: How tensors are to travel between the layers of the project.
        reuse: Most cycles that a layer may take for one result; None leaves it to the size of the layer.
        compared: Whether the prepared model is run beside its source, which takes most of the time for large images.

    Raises:
        ModelFileError: The model cannot be read.
        UsageError: A range is empty, does not fit its input, or names no input; `reuse` is below 1,
            or there is no such `io_type`.
    """
    travel = _io_type(io_type)
    if reuse is not None and reuse < 1:
        raise UsageError("reuse", got=reuse, expected="1 or more")
    source = load(model)
    of_inputs(source.graph.inputs, input_ranges)  # misuse is said before anything is done
    hub, _ = to_hub(source)
    try:
        hub = clean(hub, batch=1)
    except InvalidModelError as error:
        return Hls4mlHandover(hub, (), (finding_of(error.diagnosis, rule="batch"),), None)
    done: list[Rewrite] = []
    if logits:
        done += cut_softmax(hub)
    before, settled = hub.clone(), set[ir.Node]()
    done += write_equivalents(hub)
    for stage in (*_STAGES, *_LAST_STAGES[travel]):
        if isinstance(stage, ir.passes.PassBase):
            stage(hub)
            continue
        with Editor(hub, rule="hls4ml") as edit:
            stage(Repairs(edit, before, done, settled))
    stated = input_ranges or {}
    inputs = [(str(old.name), str(new.name)) for old, new in zip(source.graph.inputs, hub.graph.inputs, strict=True)]
    ranges = {new: stated[old] for old, new in inputs if old in stated}
    values = values_of(hub, input_ranges=ranges_of(hub, ranges))
    precision = recommend(hub, values)
    findings = check_prepared(hub, values, precision, travel, settled)
    if not compared or any(f.severity is Severity.ERROR for f in findings):
        return Hls4mlHandover(hub, tuple(done), findings, None, str(precision))
    comparison = compare(before, hub)
    if not any(f.rule == "ties" for f in findings):  # where they are warned of, inputs on boundaries may depart
        findings += departures(comparison)
    configuration = configure(hub, values, default=precision, io_type=travel, reuse=reuse)
    fed = values[hub.graph.inputs[0]]
    return Hls4mlHandover(hub, tuple(done), findings, comparison, str(precision), configuration, before, fed)


def _io_type(given: IoType | str) -> IoType:
    try:
        return IoType(given)
    except ValueError:
        raise UsageError("io_type", got=repr(given), expected=", ".join(t.value for t in IoType)) from None
