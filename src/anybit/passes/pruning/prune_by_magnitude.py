"""PruneByMagnitude: the output channels of smallest weights are removed, to a share of them."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.arrays import as_float64
from anybit.cleanup.fold_shapes import FoldShapes
from anybit.errors import InvalidModelError, Refusal, UsageError
from anybit.graph.editor import Editor
from anybit.passes.lowering.known_weights import read_weight
from anybit.passes.pruning.prune_channels import PruneChannels
from anybit.passes.pruning.removal import plan_removal, weighted_nodes

_Norms = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PruneByMagnitude(ir.passes.InPlacePass):
    """Removes from each Conv, Gemm and MatMul the output channels whose weights have the smallest sums of magnitudes.

    Before: ``y = MatMul(Relu(MatMul(x, w)), v)`` with ``float[6,8] w``; after ``PruneByMagnitude(0.25)``: the same with
    ``float[6,6] w`` and ``float[6,n] v``. Layers whose channels meet, in residual connections and depthwise
    convolutions, lose the same ones: those whose sum over these layers is smallest. Layers that make the outputs of the
    model stay whole, with a note.

    Attributes:
        sparsity: Share of the channels that goes, from 0 up to below 1; of each layer it is rounded down.
        nodes: Names of the layers, or shell patterns; all where left out.
    """

    sparsity: float
    nodes: tuple[str, ...] = ()

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Applies the pass.

        Raises:
            UsageError: The share is none, or no layer has a name.
        """
        if not 0 <= self.sparsity < 1:
            raise UsageError("sparsity", got=self.sparsity, expected="0 .. 1, below 1")
        FoldShapes()(model)
        weighted = weighted_nodes(model)
        norms = {n: found for n in weighted if (found := _norms(n, model)) is not None}
        chosen = self._chosen(norms)
        masks: dict[str, tuple[int, ...]] = {}
        done: set[ir.Node] = set()
        with Editor(model, rule="prune-by-magnitude") as edit:
            for node in chosen:
                count = int(self.sparsity * len(norms[node]))
                if node in done or not count:
                    continue
                try:
                    group = _group(model, node, weighted)
                except InvalidModelError as error:
                    edit.leave(node, Refusal(problem=error.diagnosis.problem, got=error.diagnosis.got))
                    continue
                done |= group
                same = [norms[n] for n in group if n in norms and norms[n].shape == norms[node].shape]
                order = np.argsort(np.sum(same, axis=0), kind="stable")
                masks[str(node.name or node.outputs[0].name)] = tuple(sorted(int(c) for c in order[:count]))
            if masks and PruneChannels(masks, extend=True)(model).modified:
                edit.touch()
        return edit.result()

    def _chosen(self, norms: Mapping[ir.Node, _Norms]) -> list[ir.Node]:
        if not self.nodes:
            return list(norms)
        names = {str(n.name or n.outputs[0].name): n for n in norms}
        found: dict[ir.Node, None] = {}
        for pattern in self.nodes:
            matching = [pattern] if pattern in names else fnmatch.filter(names, pattern)
            if not matching:
                raise UsageError("no layer of this name", got=repr(pattern), expected=", ".join(names))
            found |= dict.fromkeys(names[m] for m in matching)
        return list(found)


def _norms(node: ir.Node, model: ir.Model) -> _Norms | None:
    """The sum of magnitudes of the weights of each output channel, None where the weight is not known."""
    if node.op_type not in ("Conv", "Gemm", "MatMul"):
        return None
    weight = read_weight(node.inputs[1], model.opset_imports)
    if weight is None or weight.values.ndim < 2:
        return None
    flipped = node.op_type == "Gemm" and node.attributes.get_int("transB", 0)
    axis = 0 if node.op_type == "Conv" or flipped else weight.values.ndim - 1
    others = tuple(k for k in range(weight.values.ndim) if k != axis)
    return np.abs(as_float64(weight.values)).sum(axis=others)


def _group(model: ir.Model, node: ir.Node, weighted: Mapping[ir.Node, int]) -> set[ir.Node]:
    """The layers that lose a channel together with this one.

    Raises:
        InvalidModelError: It cannot lose one.
    """
    removal = plan_removal(model, {node: (0,)}, extend=True, weighted=weighted)
    return {p for v in removal.values if (p := v.producer()) is not None and p in weighted} | {node}
