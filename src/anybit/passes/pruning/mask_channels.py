"""MaskChannels: masks of channels as annotations of the file, nothing being removed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from anybit.cleanup.fold_shapes import FoldShapes
from anybit.graph.annotations import annotate_sparsity
from anybit.passes.pruning.masks import TensorMasks, frozen_masks, masks_of, named_tensors
from anybit.passes.pruning.removal import Cut, plan_removal


@dataclass(frozen=True)
class MaskChannels(ir.passes.InPlacePass):
    """States which indices of tensors are to be pruned, without removing them.

    Before: ``y = MatMul(Relu(MatMul(x, w)), v)``; after ``MaskChannels({"w": {1: [0]}}, propagate=True)`` the file
    states ``{1: {0}}`` of w and of what it makes, and ``{0: {0}}`` of v. `PruneChannels` removes them on request.

    Attributes:
        tensors: Indices by tensor and axis, such as ``{"w": {0: [1, 5]}}``.
        propagate: Also state what belongs to them in all other tensors, and to masks that the file has already.
    """

    tensors: TensorMasks = ()
    propagate: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensors", frozen_masks(self.tensors))

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Applies the pass.

        Raises:
            UsageError: There is no such tensor, axis or index.
            InvalidModelError: What belongs to them cannot be removed; nothing is stated then.
        """
        FoldShapes()(model)
        masks: dict[ir.Value, Cut] = {}
        for cuts in (masks_of(model), named_tensors(model, self.tensors)):
            _add(masks, cuts)
        if self.propagate and masks:
            removal = plan_removal(model, {}, extend=True, tensors=masks)
            _add(masks, removal.values)
            for port, cut in removal.uses.items():
                _add(masks, {port.value: cut})
        before = {v: dict(c) for v, c in masks_of(model).items()}
        for value, cut in masks.items():
            annotate_sparsity(value, {axis: set(lost) for axis, lost in sorted(cut.items())})
        return ir.passes.PassResult(model, modified={v: dict(c) for v, c in masks_of(model).items()} != before)


def _add(masks: dict[ir.Value, Cut], cuts: Mapping[ir.Value, Mapping[int, Iterable[int]]]) -> None:
    for value, cut in cuts.items():
        known = masks.setdefault(value, {})
        for axis, indices in cut.items():
            known.setdefault(axis, set()).update(indices)
