"""SetInputShape: other shapes of the inputs, where the graph can compute them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from anybit.cleanup.infer_shapes import InferShapes
from anybit.cleanup.set_batch import SetBatch
from anybit.errors import Finding, InvalidModelError, Severity, UsageError
from anybit.graph.constants import constant, has_default
from anybit.graph.editor import EditResult
from anybit.graph.names import all_values, unknown_tensor
from anybit.graph.walk import all_nodes, inner_graphs, label, shape_of

_Sizes = tuple[int | None, ...] | None
# By operator, the axis of X that must be as long as an axis of the weights, the input that these are, and their axis:
# onnx's shape inference does not look at it.
_WEIGHTS = {
    "Conv": (1, 1, 1), "ConvInteger": (1, 1, 1), "QLinearConv": (1, 3, 1), "ConvTranspose": (1, 1, 0),
    "BatchNormalization": (1, 1, 0), "InstanceNormalization": (1, 1, 0), "LayerNormalization": (-1, 1, -1),
    "GRU": (2, 1, 2), "LSTM": (2, 1, 2), "RNN": (2, 1, 2),
}  # fmt: skip


@dataclass(frozen=True)
class SetInputShape(ir.passes.InPlacePass):
    """Gives inputs other shapes, and all other tensors the shapes that follow.

    Before: ``float[1,3,32,32] x``; after ``SetInputShape({"x": (1, 3, "H", "W")})``: ``float[1,3,H,W] x``. Where the
    first dimension is a number and becomes another, `SetBatch` changes the batch of all inputs. A node that cannot
    compute the new shapes, such as a Reshape to the old size, is an error; one that fixes a size that is now free is
    noted. Nothing is changed on an error.

    Attributes:
        shapes: By name of an input, numbers and names of free dimensions.
    """

    shapes: Mapping[str, Sequence[int | str]]

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Applies the pass.

        Raises:
            UsageError: No input has the name, or a dimension is neither a positive number nor a name.
            InvalidModelError: The rank differs, a node contradicts the shapes, or the batch cannot be changed.
        """
        if all(_is(v, self.shapes.get(str(v.name))) for v in model.graph.inputs) and self._known(model.graph):
            return ir.passes.PassResult(model, modified=False)
        self._apply(model.clone())  # raises before anything is changed
        return EditResult(model, modified=True, notes=self._apply(model))

    def _known(self, graph: ir.Graph) -> bool:
        inputs = {str(v.name): v for v in graph.inputs}
        for name, shape in self.shapes.items():
            if name not in inputs:
                raise unknown_tensor(name, inputs)
            if not all((isinstance(d, int) and d > 0) or (isinstance(d, str) and d) for d in shape):
                raise UsageError(
                    "shape", node=f"input '{name}'", got=tuple(shape), expected="positive numbers, or names"
                )
            old = inputs[name].shape
            default = inputs[name].const_value if has_default(inputs[name]) else None
            pairs = () if default is None else zip(shape, default.shape.numpy(), strict=False)
            if default is not None and any(isinstance(d, int) and d != n for d, n in pairs):
                raise InvalidModelError(
                    "the shape is not that of the input's default",
                    node=f"input '{name}'",
                    got=tuple(shape),
                    expected=str(default.shape),
                    hint="make it a constant with fix-defaults, or another default",
                )
            if old is not None and len(old) != len(shape):
                got = f"{tuple(shape)}, {len(shape)} dimensions"
                raise InvalidModelError("rank", node=f"input '{name}'", got=got, expected=f"{len(old)}, as in {old}")
        return True

    def _apply(self, model: ir.Model) -> tuple[Finding, ...]:
        """Sets the shapes, and says which nodes fix a size that is now free."""
        notes: list[Finding] = []
        self._known(model.graph)
        InferShapes()(model)
        before = {v: shape_of(v) for v in all_values(model.graph)}
        batch = self._set(model.graph)
        for value in _following(model.graph):
            value.shape = None
        InferShapes()(model)
        for node in all_nodes(model.graph):
            problem = _contradiction(node, before)
            if problem is not None:
                raise InvalidModelError(
                    "the node cannot compute the new shapes", node=label(node), got=problem, hint="choose other shapes"
                )
            notes += _fixed(node, before)
        if batch is not None:
            SetBatch(batch)(model)
        return tuple(notes)

    def _set(self, graph: ir.Graph) -> int | str | None:
        """Sets all but the batch; returns the batch to set, None if it stays."""
        batch: int | str | None = None
        stated: dict[int | str, str] = {}
        for value in graph.inputs:
            shape = self.shapes.get(str(value.name))
            if not shape:
                continue
            stated[shape[0]] = str(value.name)
            old = None if value.shape is None else value.shape[0]
            if isinstance(old, int) and old != shape[0]:
                batch = shape[0]
            value.shape = ir.Shape(shape if batch is None or not isinstance(old, int) else [old, *shape[1:]])
        if batch is not None and len(stated) > 1:
            raise InvalidModelError("inputs of different batch", got=stated, expected="one batch for all inputs")
        return batch


def _is(value: ir.Value, shape: Sequence[int | str] | None) -> bool:
    return shape is None or (value.shape is not None and value.shape == ir.Shape(shape))


def _following(graph: ir.Graph) -> list[ir.Value]:
    """Values whose shape follows from the inputs'."""
    inner = [v for g in inner_graphs(graph) for v in g.inputs]
    return [*inner, *(o for node in all_nodes(graph) for o in node.outputs)]


def _contradiction(node: ir.Node, before: Mapping[ir.Value, _Sizes]) -> str | None:
    """What is wrong with the shapes that a node is given; None as far as it can be told."""
    if not node.inputs or node.inputs[0] is None or not node.outputs:
        return None
    given = [None if v is None else shape_of(v) for v in node.inputs]
    known = all(s is not None for s, v in zip(given, node.inputs, strict=True) if v is not None)
    if known and shape_of(node.outputs[0]) is None and before.get(node.outputs[0]) is not None:
        return f"inputs of shapes {', '.join(_text(s) for s in given)}"
    if node.domain != "" or given[0] is None:
        return None
    if node.op_type == "Reshape":
        return _reshape(node, given[0], before)
    if node.op_type not in _WEIGHTS:
        return None
    axis, index, own = _WEIGHTS[node.op_type]
    weights = given[index] if index < len(given) else None
    size, wanted = _size(given[0], axis), _size(weights, own)
    if size is None or wanted is None:
        return None
    wanted *= node.attributes.get_int("group", 1) if own == 1 else 1
    return None if size == wanted else f"{size} where the weights have {wanted}"


def _size(shape: _Sizes, axis: int) -> int | None:
    return shape[axis] if shape and axis < len(shape) else None


def _reshape(node: ir.Node, given: tuple[int | None, ...], before: Mapping[ir.Value, _Sizes]) -> str | None:
    made, old, source = shape_of(node.outputs[0]), before.get(node.outputs[0]), node.inputs[0]
    target = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if made is None or target is None or source is None or None in given:
        return None
    text = f"{_text(given)} to {target.tolist()}"
    if None not in made and _count(given) != _count(made):
        return text
    was = before.get(source)
    moved = bool(made) and old is not None and was is not None and old[0] != made[0] and was[:1] == given[:1]
    return f"{text}, which mixes samples" if moved else None


def _fixed(node: ir.Node, before: Mapping[ir.Value, _Sizes]) -> Iterator[Finding]:
    """A Reshape to fixed sizes of a tensor whose size was fixed and is now free."""
    if node.domain != "" or node.op_type != "Reshape" or len(node.inputs) < 2 or node.inputs[0] is None:
        return
    target, source = constant(node.inputs[1]), node.inputs[0]
    was, now = before.get(source), shape_of(source)
    if target is None or was is None or now is None or None in was or None not in now or (target < 0).any():
        return
    yield Finding(
        rule="set-input-shape",
        problem="the target fixes a size that is now free: only the old one works",
        node=label(node),
        got=str(target.tolist()),
        expected="-1 in one place",
        severity=Severity.WARNING,
    )


def _count(shape: tuple[int | None, ...]) -> int:
    count = 1
    for size in shape:
        count *= size or 0
    return count


def _text(shape: _Sizes) -> str:
    return "[-]" if shape is None else str(["?" if d is None else d for d in shape])
