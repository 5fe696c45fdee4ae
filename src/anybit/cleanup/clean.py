"""clean: the standard clean-up of an exported model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import onnx_ir as ir

from anybit.arguments import checked
from anybit.cleanup.fold_branches import FoldBranches
from anybit.cleanup.fold_constants import FoldConstants
from anybit.cleanup.fold_shapes import FoldShapes
from anybit.cleanup.fold_transpose import FoldTranspose
from anybit.cleanup.fusion.fuse_linear import FuseLinear
from anybit.cleanup.infer_shapes import InferShapes
from anybit.cleanup.merge_equal_nodes import MergeEqualNodes
from anybit.cleanup.merge_initializers import MergeInitializers
from anybit.cleanup.merge_movements import MergeMovements
from anybit.cleanup.merge_quantizers import MergeQuantizers
from anybit.cleanup.merge_slices import MergeSlices
from anybit.cleanup.remove_identities import RemoveIdentities
from anybit.cleanup.remove_unused import RemoveUnused
from anybit.cleanup.set_batch import SetBatch
from anybit.cleanup.set_input_shape import SetInputShape
from anybit.errors import UsageError
from anybit.io.checks.model import sound_copy
from anybit.io.load import ModelSource

DYNAMIC = "dynamic"
"""The batch that is free; its dimension is then called N."""


@checked
def clean(
    model: ModelSource,
    *,
    batch: int | str | None = None,
    input_shapes: Mapping[str, Sequence[int | str]] | None = None,
    fold_quantizers: bool = False,
    fuse_float: bool = False,
    skip: Iterable[str] = (),
) -> ir.Model:
    """A tidy copy of a model, which computes the same: sorted, shapes inferred, constants folded, dead parts gone.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``; it is not changed.
        batch: Batch size to set, or "dynamic" for a free one.
        input_shapes: Shapes to set, by input.
        fold_quantizers: Whether quantisers of weights become constants too; by default they stay, as they say what
            the weights' number format is.
        fuse_float: Whether float layers take in the batch normalisation, factors and offsets by channel behind them.
            This alone of all that is done is not exact: results differ in their last bits. Models with quantisers
            are left alone.
        skip: Names of passes to leave out.

    Raises:
        InvalidModelError: `check` finds an error other than an unknown operator, or a node stands in the way of the
            batch or the shapes.
        UsageError: A pass to skip is not part of the clean-up.
    """
    steps = clean_passes(
        batch=batch, input_shapes=input_shapes, fold_quantizers=fold_quantizers, fuse_float=fuse_float, skip=skip
    )
    current = sound_copy(model)
    for step in steps:
        current = step(current).model
    return current


def clean_passes(
    *,
    batch: int | str | None = None,
    input_shapes: Mapping[str, Sequence[int | str]] | None = None,
    fold_quantizers: bool = False,
    fuse_float: bool = False,
    skip: Iterable[str] = (),
) -> list[ir.passes.PassBase]:
    """The passes of `clean`, in order; arguments are its own."""
    steps: list[ir.passes.PassBase] = []  # `sound_copy` has sorted the nodes and inferred the shapes
    if batch is not None:
        steps.append(SetBatch("N" if batch == DYNAMIC else batch))
    if input_shapes:
        steps.append(SetInputShape(input_shapes))
    steps += [
        FoldShapes(),
        FoldConstants(keep_quantizers=not fold_quantizers),
        FoldBranches(),
        FoldTranspose(),
        RemoveIdentities(),
        MergeMovements(),
        MergeSlices(),
        *([FuseLinear()] if fuse_float else []),
        MergeEqualNodes(),
        MergeQuantizers(),
        MergeInitializers(),
        RemoveUnused(),
        InferShapes(),
    ]
    unwanted = {_plain(name): name for name in skip}
    if not unwanted:
        return steps
    known = {_plain(name): name for name in sorted(map(_name, steps))}
    for plain, name in unwanted.items():
        if plain not in known:
            raise UsageError("no such pass in the clean-up", got=repr(name), expected=", ".join(known.values()))
    return [step for step in steps if _plain(type(step).__name__) not in unwanted]


def _name(step: ir.passes.PassBase) -> str:
    """The name by which the command line calls a pass: that of its file, with hyphens."""
    return type(step).__module__.rpartition(".")[2].replace("_", "-")


def _plain(name: str) -> str:
    """fold-constants, fold_constants and FoldConstants are one name."""
    return name.replace("-", "").replace("_", "").lower()
