"""PruneChannels: output channels of layers are removed, and everything that belongs to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.cleanup.fold_shapes import FoldShapes
from anybit.errors import UsageError
from anybit.graph.annotations import annotate_sparsity
from anybit.graph.constants import constant, drop_unused, new_initializer
from anybit.graph.names import Names
from anybit.graph.walk import all_nodes, label, shape_of
from anybit.passes.pruning.masks import TensorMasks, frozen_masks, masks_of, named_tensors
from anybit.passes.pruning.removal import Cut, Port, Removal, new_target, plan_removal, weighted_nodes

Masks = Mapping[str, Sequence[int]] | tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class PruneChannels(ir.passes.InPlacePass):
    """Removes output channels of Conv, ConvTranspose, Gemm and MatMul nodes.

    Before: ``y = MatMul(Relu(Conv(x, w, b)), v)`` with ``float[8,3,3,3] w``; after
    ``PruneChannels({"conv": (0, 5)})``: the same with ``float[6,3,3,3] w``, ``float[6] b`` and the rows of ``v``
    that read channels 0 and 5 gone. What is left out is what these channels contribute to the layers that read
    them: the result is that of the old model with zeros in those weights. Removal goes through quantisers,
    normalisation, activations, constants, depthwise and grouped convolutions, pooling, Concat, Transpose, Reshape.

    Attributes:
        masks: Channels to remove, by name of node or of its output.
        extend: Whether further nodes lose channels where theirs meet removed ones (residual connections). Without
            it their names must be among the masks, with the same channels.
        tensors: Indices to remove by tensor and axis, such as ``{"w": {0: [1, 5]}}``: of a weight, an activation, a
            parameter; what belongs to them goes, too.
        annotated: Also remove what masks in the file say, as `MaskChannels` writes them; the masks go.
    """

    masks: Masks = ()
    extend: bool = False
    tensors: TensorMasks = ()
    annotated: bool = False

    def __post_init__(self) -> None:
        pairs = self.masks.items() if isinstance(self.masks, Mapping) else self.masks
        object.__setattr__(self, "masks", tuple((name, tuple(sorted(set(c)))) for name, c in pairs))
        object.__setattr__(self, "tensors", frozen_masks(self.tensors))

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Applies the pass.

        Raises:
            UsageError: A mask names no node with a weight, or a channel that it does not have.
            InvalidModelError: A channel cannot be removed, or not alone; nothing is changed.
        """
        if not self._plan(model.clone()).changes:  # a rehearsal: it raises before the model is touched
            return ir.passes.PassResult(model, modified=False)
        removal = self._plan(model)
        if self.annotated:
            for value in masks_of(model):
                annotate_sparsity(value, None)
        _apply(model, removal)
        return ir.passes.PassResult(model, modified=True)

    def _plan(self, model: ir.Model) -> Removal:
        FoldShapes()(model)
        tensors = dict(masks_of(model)) if self.annotated else {}
        for value, cut in named_tensors(model, self.tensors).items():
            known = {axis: set(indices) for axis, indices in tensors.get(value, {}).items()}
            tensors[value] = {a: known.get(a, set()) | set(cut.get(a, ())) for a in known.keys() | cut.keys()}
        return plan_removal(model, self._seeds(model), extend=self.extend, tensors=tensors)

    def _seeds(self, model: ir.Model) -> dict[ir.Node, tuple[int, ...]]:
        pairs = self.masks.items() if isinstance(self.masks, Mapping) else self.masks
        if not pairs:
            return {}
        weighted = weighted_nodes(model)
        known = {str(o.name): n for n in all_nodes(model.graph) for o in n.outputs[:1]}
        known |= {n.name: n for n in all_nodes(model.graph) if n.name}
        return {_checked(known.get(name), name, channels, weighted): tuple(channels) for name, channels in pairs}


def _checked(node: ir.Node | None, name: str, channels: Sequence[int], weighted: Mapping[ir.Node, int]) -> ir.Node:
    if node is None or node not in weighted:
        got = "nothing of this name" if node is None else label(node)
        raise UsageError("mask", node=f"'{name}'", got=got, expected="Conv, ConvTranspose, Gemm or MatMul by a weight")
    shape = shape_of(node.outputs[0])
    size = None if shape is None else shape[weighted[node]]
    if size is None:
        raise UsageError("mask", node=label(node), got="an output of unknown shape", expected="known channels")
    if any(not 0 <= c < size for c in channels):
        raise UsageError("mask", node=label(node), got=str(list(channels)), expected=f"channels 0 .. {size - 1}")
    return node


def _apply(model: ir.Model, removal: Removal) -> None:
    targets = {v.producer(): None for v in removal.values}
    targets |= {u.node: None for v in removal.values for u in v.uses()}
    reshapes = {n: t for n in targets if n is not None and (t := new_target(n, removal)) is not None}
    names = Names.of_tensors(model)
    _slice_constants(model, removal.uses, names)
    for node, target in reshapes.items():
        old = node.inputs[1]
        node.replace_input_with(1, new_initializer(model.graph, names.fresh(f"{node.outputs[0].name}_shape"), target))
        if old is not None:
            drop_unused(old)
    for node, groups in removal.groups.items():
        node.attributes["group"] = ir.AttrInt64("group", groups)
    for value, cut in removal.values.items():
        if value.shape is not None:
            value.shape = ir.Shape(
                [d - len(cut.get(k, ())) if isinstance(d, int) else d for k, d in enumerate(value.shape)]
            )


def _slice_constants(model: ir.Model, uses: Mapping[Port, Cut], names: Names) -> None:
    """One new constant for all readers that lose the same; it takes over the name where nothing reads the old one."""
    made: dict[tuple[ir.Value, tuple[tuple[int, tuple[int, ...]], ...]], ir.Value] = {}
    ports = [Port(n, v, k) for n in all_nodes(model.graph) for k, v in enumerate(n.inputs) if v is not None]
    for port in [p for p in ports if p in uses]:
        old, array = port.value, constant(port.value)
        key = (old, tuple((axis, tuple(sorted(lost))) for axis, lost in sorted(uses[port].items())))
        if array is None:
            continue
        if key not in made:
            for axis, lost in key[1]:
                array = np.delete(array, lost, axis)
            made[key] = new_initializer(model.graph, names.fresh(f"{old.name}_pruned"), array)
            made[key].meta.update(old.meta)
        port.node.replace_input_with(port.index, made[key])
    versions: dict[ir.Value, list[ir.Value]] = {}
    for (old, _), new in made.items():
        versions.setdefault(old, []).append(new)
    for old, new in versions.items():
        name, held = str(old.name), old.is_initializer()
        drop_unused(old)
        if held and not old.is_initializer() and len(new) == 1:
            new[0].name = name
